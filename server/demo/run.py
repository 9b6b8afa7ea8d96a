"""`edgeopt demo`: a real client, a real server, a real model, every phase and every kind of answer."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from rich.console import Console

from ...autopilot.calling import finish, server
from ...autopilot.live import Waiting
from ...autopilot.person import Person
from ...autopilot.screen import show_refusal, show_text
from ...tools.reporting import put_own

HERE = Path(__file__).parent
MODEL = HERE / "digits_net.onnx"
EVALUATION = {
    "dataset_path": str(HERE / "digits_test.npz"),
    "metric": "top1",
    "preprocessing": {"scale": 1 / 255, "mean": [0.5], "std": [0.5], "layout": "NCHW"},
}
CALIBRATION = str(HERE / "digits_calibration.npz")
# INT8 without all that it does by default.
CRUDE = {
    "technique": "int8_static",
    "per_channel": False,
    "calibrator": "minmax",
    "equalize": False,
    "bias_correction": False,
}


class Stopped(Exception):
    """An answer that the demonstration cannot go on from; it has been shown."""


class Stage:
    """What a person sees: each call, its log, its refusals."""

    def __init__(self) -> None:
        self.console = Console()
        self.client: Client | None = None
        self.waiting: Waiting | None = None
        self.report: Path | None = None

    async def call(self, title: str, tool: str, *, may_refuse: bool = False, **arguments: Any) -> dict[str, Any]:
        """Calls a tool as an agent does, waits for its job, shows the answer; gives the structured content.

        Raises:
            Stopped: it failed, or was refused where it should not be.
        """
        if self.client is None:
            raise RuntimeError("the stage has no client yet")
        shown = {k: v for k, v in arguments.items() if k not in ("session_id", "evaluation")}
        self.console.rule(f"[bold]{title}")
        self.console.print(f"agent calls {tool} {shown or ''}", style="dim", highlight=False, markup=False)
        with Waiting(self.console, f"{tool} runs") as self.waiting:
            answer = await finish(self.client, tool, arguments, self.waiting.goes_on)
        if answer.status == "refused":
            show_refusal(self.console, answer.data["refusal"])
        else:
            show_text(self.console, answer.log)
        if not answer.ok and not (may_refuse and answer.status == "refused"):
            raise Stopped(f"{tool} answered {answer.status}")
        return answer.data

    def make_room(self) -> None:
        """For a question to a person."""
        if self.waiting:
            self.waiting.pause()


async def _measured(stage: Stage, session: str, title: str, step: dict[str, Any]) -> tuple[str, str]:
    """One step, benchmarked and validated: the variant's id and its status."""
    made = await stage.call(f"OPTIMIZE: {title}", "optimize_model", session_id=session, step=step, parent="baseline")
    variant = made["variant"]["variant_id"]
    await stage.call(f"BENCHMARK {variant}", "benchmark_variant", session_id=session, variant_id=variant)
    judged = await stage.call(f"VALIDATE {variant}", "validate_variant", session_id=session, variant_id=variant)
    return variant, judged["validation"]["status"]


async def _pipeline(stage: Stage) -> Path | None:
    opened = await stage.call(
        "Pre-flight",
        "open_session",
        model_path=str(MODEL),
        target_device="cpu-generic",
        evaluation=EVALUATION,
        calibration_path=CALIBRATION,
    )
    session = opened["session_id"]
    step = {"technique": "int8_static"}
    await stage.call("Too early", "optimize_model", may_refuse=True, session_id=session, step=step)
    await stage.call("PROFILE", "profile_model", session_id=session)

    crude, status = await _measured(stage, session, "INT8, one scale a tensor", CRUDE)
    if status != "PASS":
        subject = {"session_id": session, "variant_id": crude}
        await stage.call("Shipping it all the same", "package_variant", may_refuse=True, **subject)
        wish = {**subject, "outcome": "keep", "reason": "fast"}
        await stage.call("A person decides", "decide_variant", may_refuse=True, **wish)

    fine, status = await _measured(stage, session, "INT8 as it is by default", step)
    if status == "PASS":
        await stage.call("Keep", "decide_variant", session_id=session, variant_id=fine, outcome="keep", reason="passed")
    packaged = await stage.call("PACKAGE", "package_variant", session_id=session, variant_id=fine)
    shown = await stage.call("Trade-off", "render_report", session_id=session, kind="tradeoff")
    stage.report = next(Path(file) for file in shown["files"] if file.endswith(".html"))
    state = await stage.call("Completion", "get_state", session_id=session)
    complete = packaged["status"] == "ok" and all(c["met"] for c in state["completion"])
    return Path(packaged["package"]["path"]) if complete else None


async def _play(workspace: Path, report: Path | None) -> int:
    stage = Stage()
    async with Client(server(workspace, [HERE]), elicitation_callback=Person(stage.console, stage.make_room)) as client:
        stage.client = client
        try:
            package = await _pipeline(stage)
        except Stopped as error:
            stage.console.print(str(error), style="red")
            package = None
    if package is None:
        stage.console.print("The demo did not come to its end; the answers above say why.", style="red")
        return 1
    stage.console.rule("[bold]Done")
    if report and stage.report and not _copied(stage.report, report, stage.console):
        report = None
    stage.console.print(
        f"The package: {package}\nCheck it anywhere: {sys.argv[0]} verify {package}\n"
        f"The report, with pictures: {report or stage.report}",
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _copied(page: Path, to: Path, console: Console) -> bool:
    """Whether the page could be put where it was wanted; if not, it is said why."""
    try:
        put_own(to, page.read_text(encoding="utf-8"))
    except OSError as error:
        console.print(f"{to} was not written: {error.strerror}.", style="red", markup=False, highlight=False)
        return False
    return True


def run_demo(workspace: Path | None, report: Path | None = None) -> int:
    """Plays the demonstration; 0 where it came to a verified package. `report`: where a copy of the page goes."""
    place = (workspace or Path(tempfile.mkdtemp(prefix="edgeopt-demo-"))).resolve()
    return anyio.run(_play, place, report)
