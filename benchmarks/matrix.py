"""Every source through every conversion that there is, by a real client: what works, what it gives, what is refused by name.

    python benchmarks/matrix.py                 all of ../shared/data; goes on where it was stopped
    python benchmarks/matrix.py --only TEXT     the sources whose name holds TEXT
    python benchmarks/matrix.py --show          the table of what is in the bank

Each source is opened and profiled; its baseline must be the score that was published with it. Each step is taken from the
baseline, benchmarked, validated, and packaged where it may be: this script answers the server's questions as a person
would who keeps everything, so that packages of every format are built and verified; the verdict stands in the table. It
exits with 1 where a score is missed, a step broke, a float32 conversion is not proven, or a package does not verify.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
from edgeopt.benchmarks.matrix_sources import CODE, Source, sources
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import ElicitResult

BANK = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "edgeopt" / "matrix.jsonl"
DATA = Path(os.environ.get("EDGEOPT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))

Step = dict[str, Any]
# By target device, since each takes other formats. Every step is tried on every source: what does not apply is refused.
STEPS: dict[str, list[Step]] = {
    "cpu-generic": [
        {"technique": "export_onnx"},
        {"technique": "graph_optimize"},
        {"technique": "float16"},
        {"technique": "int8_dynamic"},
        {"technique": "int8_static"},
        *({"technique": "openvino", "precision": precision} for precision in ("fp32", "fp16", "int8")),
    ],
    "raspberry-pi-5": [
        {"technique": "tflite", "quantization": quantization}
        for quantization in ("float32", "float16", "dynamic", "int8")
    ],
    "jetson-orin-nano": [{"technique": "tensorrt", "precision": precision} for precision in ("fp16", "int8")],
}
EXACT = ("export_onnx", "graph_optimize", "openvino fp32", "tflite float32")
# Enough for a P95, and every percentile says what it stands on.
ITERATIONS = 100


def plan(source: Source) -> dict[str, list[Step]]:
    """The steps to take, by target device. TensorRT takes ONNX alone: other sources are asked for it in a session that is
    open anyway, to be refused there."""
    if source.model.endswith(".onnx"):
        return STEPS
    cpu, pi, jetson = STEPS
    return {cpu: STEPS[cpu], pi: STEPS[pi] + STEPS[jetson]}


def label(step: Step) -> str:
    return " ".join(map(str, step.values()))


class Broken(Exception):
    """An answer that is neither a result nor a refusal."""


class Agent:
    """Calls tools as an agent does, and waits for their jobs."""

    def __init__(self, client: Client):
        self.client = client

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured answer, a refusal too. Raises Broken where the job failed."""
        answer = await self.client.call_tool(tool, arguments)
        while (data := answer.structured_content or {}).get("status") == "running":
            waiting = {"session_id": arguments["session_id"], "job_id": data["job_id"], "wait_s": 300}
            answer = await self.client.call_tool("wait_for_job", waiting)
        if data.get("status") not in ("ok", "refused"):
            raise Broken(f"{tool}: {data.get('message')}")
        return data


async def keep(context: Any, params: Any) -> ElicitResult:
    """A person who keeps everything."""
    return ElicitResult(action="accept", content={"outcome": "keep", "reason": "kept to build its package"})


async def open_and_profile(agent: Agent, source: Source, device: str, scratch: Path) -> dict[str, Any]:
    """The session and its baseline, or the refusal."""
    calibration = {"calibration_path": source.calibration(DATA, scratch)} if source.calibration else {}
    loader = {"loader": source.loader} if source.loader else {}
    opened = await agent.call(
        "open_session",
        model_path=str(DATA / source.model),
        target_device=device,
        evaluation=source.evaluation(DATA, scratch),
        **calibration,
        **loader,
    )
    if opened["status"] == "refused":
        return {"refused": opened["refusal"]["code"], "why": opened["refusal"]["message"]}
    session = opened["session_id"]
    profiled = await agent.call("profile_model", session_id=session, iterations=ITERATIONS)
    if profiled["status"] == "refused":
        return {"refused": profiled["refusal"]["code"], "why": profiled["refusal"]["message"]}
    baseline = profiled["baseline"]
    return {
        "session": session,
        "score": baseline["accuracy"]["value"],
        "ms": baseline["latency_ms"]["mean"],
        "runtime": baseline["runtime"],
        "format": opened["model"]["format"],
    }


async def take(agent: Agent, session: str, step: Step) -> dict[str, Any]:
    """One step from the baseline to its package: what came of it."""
    made = await agent.call("optimize_model", session_id=session, step=step, parent="baseline")
    if made["status"] == "refused":
        return {"refused": made["refusal"]["code"], "why": made["refusal"]["message"]}
    variant = {"session_id": session, "variant_id": made["variant"]["variant_id"]}
    compared = (await agent.call("benchmark_variant", **variant, iterations=ITERATIONS))["comparison"]
    judged = (await agent.call("validate_variant", **variant))["validation"]
    kept = await agent.call("decide_variant", **variant, outcome="keep", reason="to build its package")
    packaged = await agent.call("package_variant", **variant) if kept["status"] == "ok" else kept
    refusal = packaged.get("refusal") or {}
    return {
        "status": judged["status"],
        "drop": judged["relative_drop"],
        "changed": judged["changed_decisions"],
        "samples": judged["samples"],
        "method": judged["method"],
        "speedup": compared["speedup"]["value"],
        "ci95": compared["speedup"]["ci95"],
        "compression": compared["compression"],
        "runtime": compared["variant"]["runtime"],
        "verified": (packaged.get("package") or {}).get("verified", False),
        "package": refusal.get("code"),
    }


class Bank:
    """Results as they come, one JSON object a line."""

    def __init__(self, path: Path):
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.results: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def has(self, source: Source, device: str, step: str) -> bool:
        return any((r["source"], r["device"], r["step"]) == (source.name, device, step) for r in self.results)

    def add(self, source: Source, device: str, step: str, began: float, result: dict[str, Any]) -> None:
        about = {
            "source": source.name,
            "device": device,
            "step": step,
            "when": datetime.now(UTC).isoformat("T", "minutes"),
        }
        self.results.append(about | {"seconds": round(time.monotonic() - began, 1)} | result)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.results[-1]) + "\n")
        print(
            f"{source.name}, {device}: {step}: {cell(self.results[-1])} ({self.results[-1]['seconds']:g} s)", flush=True
        )


async def run(source: Source, device: str, bank: Bank, scratch: Path) -> None:
    """One source for one device. A step that breaks is a result too; the next one is taken all the same."""
    code = [CODE, *([Path(source.loader.rpartition(":")[0])] if source.loader else [])]
    allowed = ["--allow-root", str(DATA), "--allow-root", str(scratch)]
    allowed += [word for file in code for word in ("--allow-user-code", str(file))]
    server = StdioServerParameters(
        command=sys.executable,
        args=["-P", "-m", "edgeopt", "serve", "--workspace", str(scratch / "workspace"), *allowed],
        env=dict(os.environ),
    )
    async with Client(server, elicitation_callback=keep) as client:
        agent, began = Agent(client), time.monotonic()
        try:
            baseline = await open_and_profile(agent, source, device, scratch)
        except Broken as error:
            baseline = {"broke": str(error)}
        if not bank.has(source, device, "baseline"):
            bank.add(
                source, device, "baseline", began, baseline | {"expected": source.score, "within": source.tolerance}
            )
        if "session" not in baseline:
            return
        for step in plan(source)[device]:
            began = time.monotonic()
            if bank.has(source, device, label(step)):
                continue
            try:
                result = await take(agent, baseline["session"], step)
            except Broken as error:
                result = {"broke": str(error)}
            bank.add(source, device, label(step), began, result)


def cell(result: dict[str, Any]) -> str:
    """A result in a few characters."""
    if "broke" in result:
        return f"BROKE: {result['broke'][:200]}"
    if "refused" in result:
        return f"{result['refused']}"
    if result["step"] == "baseline":
        return f"{result['score']:.4f}, {result['ms']:.2f} ms"
    how = "equal" if "parity" in result["method"] else f"{result['drop']:+.1%}"
    package = "" if result["verified"] else ", no package"
    return f"{result['status']} {how}, {result['speedup']:.2f}x{package}"


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a source, a column a step that anything came of; a dash is a step that was refused by name."""
    steps = [label(step) for steps in STEPS.values() for step in steps]
    steps = ["baseline", *(s for s in steps if any(r["step"] == s and "refused" not in r for r in results))]
    lines = ["| source | " + " | ".join(steps) + " |", "|---" * (len(steps) + 1) + "|"]
    for name in dict.fromkeys(r["source"] for r in results):
        found = {r["step"]: _short(r) for r in reversed(results) if r["source"] == name}
        lines.append(f"| {name} | " + " | ".join(found.get(step, "") for step in steps) + " |")
    return "\n".join(lines)


def _short(result: dict[str, Any]) -> str:
    """`=` exact by parity; else the verdict (`?`: not proven on so few samples) with the relative drop; then the speedup."""
    if "status" not in result:
        return "-" if "refused" in result else cell(result)
    if "parity" in result["method"]:
        return f"= {result['speedup']:.2f}x"
    sign = {"PASS": "pass", "INCONCLUSIVE": "?", "FAIL": "fail"}[result["status"]]
    return f"{sign} {result['drop']:+.1%}, {result['speedup']:.2f}x"


def faults(results: list[dict[str, Any]]) -> Iterator[str]:
    """What must not be."""
    exact = {source.name for source in sources(DATA) if source.exact}
    for r in results:
        where = f"{r['source']}, {r['device']}, {r['step']}"
        if "broke" in r:
            yield f"{where}: {r['broke']}"
        elif r["step"] == "baseline" and "refused" not in r:
            if r["expected"] is not None and abs(r["score"] - r["expected"]) > r["within"]:
                yield f"{where}: {r['score']:.4f}, and {r['expected']:.4f} was published"
        elif "status" in r:
            if r["step"] in EXACT and r["status"] != "PASS" and r["source"] in exact:
                yield f"{where}: {r['status']} ({r['method']})"
            if not r["verified"]:
                yield f"{where}: no verified package ({r['package']})"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="the sources whose name holds this")
    parser.add_argument("--device", choices=STEPS, help="the steps for this device alone")
    parser.add_argument("--bank", type=Path, default=BANK)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    if not DATA.is_dir():
        print(f"No data at {DATA}: set EDGEOPT_DATA to a folder like it.")
        return 1
    bank = Bank(options.bank)
    for source in () if options.show else sources(DATA):
        for device, steps in plan(source).items():
            if options.only.lower() not in source.name.lower() or options.device not in (None, device):
                continue
            if all(bank.has(source, device, label(step)) for step in steps):
                continue
            with tempfile.TemporaryDirectory(prefix="edgeopt-matrix-") as scratch:
                anyio.run(run, source, device, bank, Path(scratch).resolve())
    print(table(bank.results))
    wrong = list(faults(bank.results))
    print(*(f"FAULT {fault}" for fault in wrong), sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
