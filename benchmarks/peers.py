"""What edgeopt recommends against what a user gets by hand from the same runtimes, on this machine. Prints a table a model.

    python benchmarks/peers.py                   all of it; goes on where it was stopped
    python benchmarks/peers.py --phase make      the artifacts and their accuracy: hours; other work may run beside it
    python benchmarks/peers.py --phase measure   their speed: about 10 minutes, which need the machine alone
    python benchmarks/peers.py --only MODEL      one model; `--remake TOOL`: its artifact anew (edgeopt: what is recommended)
    python benchmarks/peers.py --show            the tables of what is in the bank
    python benchmarks/peers.py --quick           minutes: one model, few tools, no goals; that it runs

The models are of ../shared/data (or EDGEOPT_DATA). LiteRT needs the toolchain onnx2tf, and so does what edgeopt tries
there (`edgeopt toolchain install onnx2tf`, EDGEOPT_TOOLCHAINS). How fair it is, and to whom: docs/peers.md. It exits with 1
where a goal is missed or the run is unfinished; the last line is the geometric mean of the best peers' latencies over ours.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
from edgeopt.benchmarks.honesty_bank import Bank, ForeignBank, this_machine
from edgeopt.benchmarks.peers_accuracy import Behind, Judge, Judged
from edgeopt.benchmarks.peers_models import Model, models, opened
from edgeopt.benchmarks.peers_ours import TOLERANCE, Recommended, recommend
from edgeopt.benchmarks.peers_speed import Compared, Length, Track, finalists
from edgeopt.benchmarks.peers_table import Peer, Row, circumstances, geometric_mean, goals, table
from edgeopt.benchmarks.peers_tools import NOT_RUN, TOOLS, Made, Making, make
from edgeopt.engine.digests import file_digest
from edgeopt.engine.measure.machine import MOST_FOREIGN
from edgeopt.engine.measure.subject import file_size_bytes
from edgeopt.engine.problems import JobProblem

HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeopt" / "peers"
DATA = Path(os.environ.get("EDGEOPT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")).resolve()
OURS = "edgeopt"
QUICK_MODEL = "ResNet-20"
QUICK_TOOLS = ("onnxruntime float32", "onnxruntime static U8S8", "OpenVINO by NNCF")
QUICK_BUDGET_S = 150
LIBRARIES = ("onnxruntime", "openvino", "nncf", "ai-edge-litert", "ai-edge-quantizer")


@dataclass(frozen=True)
class Scale:
    """How much of everything: of which models and tools, and how long edgeopt may search."""

    models: tuple[str, ...]
    tools: tuple[str, ...]
    budget_s: float | None


class Run:
    """One run on one bank: what is not in it is made, judged and timed. `home`: where artifacts stay.

    Of accuracy and speed the bank's keys name files by their digests: what is made anew is measured anew.
    """

    def __init__(self, scale: Scale, bank: Bank, home: Path, threads: int):
        self.scale, self._bank, self._home, self._threads = scale, bank, home, threads

    def make(self, name: str, again: str) -> None:
        """The artifacts of one model, and their accuracy."""
        model = self._model(name)
        for tool in (*self.scale.tools, OURS):
            key = f"made/{name}/{tool}"
            if (not self._is_made(name, tool) or tool == again) and (made := self._made(model, tool)):
                self._bank.add(key, made)
                _say(f"{name}, {tool}: {made}")
        judge = Judge(model)
        ours = self._file(name, OURS)
        for tool in (*self.scale.tools, OURS):
            if (file := self._file(name, tool)) is None:
                continue
            if (key := _judged(name, file)) not in self._bank:
                self._bank.add(key, judge.against_float(file).model_dump(mode="json"))
                _say(f"{name}, {tool}: {self._bank[key]}")
            if ours and (key := _behind(name, ours, file)) not in self._bank and self._judged(name, file):
                self._bank.add(key, judge.behind(ours, file).model_dump(mode="json"))

    def measure(self, name: str) -> None:
        """Ours against each, shortly, and against those that may be the best, at length."""
        ours, files = self._file(name, OURS), self._files(name)
        if ours is None:
            return
        accurate = {tool for tool, file in files.items() if (judged := self._judged(name, file)) and _bearable(judged)}
        with tempfile.TemporaryDirectory(prefix="edgeopt-peers-") as scratch:
            track = Track(self._model(name), self._threads, Path(scratch))
            looked = {tool: self._compare(track, name, ours, file, "look") for tool, file in files.items()}
            for tool in finalists(looked, accurate):
                self._compare(track, name, ours, files[tool], "final")

    def row(self, name: str) -> Row | None:
        """What is known of a model; None while nothing is recommended."""
        if (ours := self._file(name, OURS)) is None:
            return None
        recommended = self._bank[f"made/{name}/{OURS}"]
        peers = [self._peer(name, tool, ours) for tool in self.scale.tools if f"made/{name}/{tool}" in self._bank]
        return Row(name, recommended["how"], self._peer(name, OURS, ours), peers, recommended["tried"])

    @property
    def finished(self) -> bool:
        rows = [self.row(name) for name in self.scale.models]
        return all(row is not None and row.best is not None for row in rows)

    def _made(self, model: Model, tool: str) -> dict[str, Any] | None:
        """A result, a peer's refusal, or None where edgeopt itself failed: that is not kept."""
        folder = self._home / model.name / tool.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        if tool == OURS:
            return self._recommended(model, folder)
        where = {
            "model": model.name,
            "data": str(DATA),
            "scratch": str(self._scratch(model.name)),
            "folder": str(folder),
        }
        try:
            return make(Making(tool=tool, **where), folder).model_dump(mode="json")
        except JobProblem as problem:
            return {"problem": str(problem)}

    def _recommended(self, model: Model, folder: Path) -> dict[str, Any] | None:
        packages = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
        try:
            with tempfile.TemporaryDirectory(prefix="edgeopt-peers-") as place:
                found = anyio.run(recommend, model, packages, Path(place).resolve(), self.scale.budget_s)
        except (RuntimeError, ExceptionGroup) as error:
            _say(f"{model.name}, {OURS}: FAILED, {error}: {getattr(error, 'exceptions', '')}")
            return None
        return found.model_dump(mode="json")

    def _model(self, name: str) -> Model:
        return opened(name, DATA, self._scratch(name))

    def _scratch(self, name: str) -> Path:
        folder = self._home / name / "data"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _file(self, name: str, tool: str) -> Path | None:
        """What the tool made, if it made something."""
        key = f"made/{name}/{tool}"
        file = self._bank[key].get("file") if key in self._bank else None
        return Path(file) if file else None

    def _is_made(self, name: str, tool: str) -> bool:
        """Made and still there, or refused by the tool."""
        file = self._file(name, tool)
        return file.exists() if file else f"made/{name}/{tool}" in self._bank

    def _files(self, name: str) -> dict[str, Path]:
        return {tool: file for tool in self.scale.tools if (file := self._file(name, tool))}

    def _compare(self, track: Track, name: str, ours: Path, file: Path, length: Length) -> Compared:
        key = self._speed(name, ours, file, length)
        if key not in self._bank:
            compared = track.compare(ours, file, length)
            self._bank.add(key, compared.model_dump(mode="json"))
            busy = ": OTHER WORK WAS GOING ON" if compared.foreign > MOST_FOREIGN else ""
            _say(f"{name}, {file.parent.name}, {length}: {compared}{busy}")
        return Compared.model_validate(self._bank[key])

    def _peer(self, name: str, tool: str, ours: Path) -> Peer:
        made = self._bank[f"made/{name}/{tool}"]
        if "problem" in made:
            return Peer(tool, made["problem"])
        kind = Recommended if tool == OURS else Made
        cost, file = kind.model_validate(made), Path(made["file"])
        behind = _behind(name, ours, file)
        return Peer(
            tool,
            size_mb=file_size_bytes(file) / 2**20,
            seconds=cost.seconds,
            peak_mb=cost.peak_mb,
            judged=self._judged(name, file),
            behind=Behind.model_validate(self._bank[behind]) if behind in self._bank else None,
            compared=None if tool == OURS else self._compared(name, ours, file),
        )

    def _judged(self, name: str, file: Path) -> Judged | None:
        key = _judged(name, file)
        judged = Judged.model_validate(self._bank[key]) if key in self._bank else None
        return None if judged and judged.problem else judged

    def _compared(self, name: str, ours: Path, file: Path) -> Compared | None:
        """Of the longer round, where there is one."""
        lengths: tuple[Length, ...] = ("final", "look")
        keys = [self._speed(name, ours, file, length) for length in lengths]
        return next((Compared.model_validate(self._bank[key]) for key in keys if key in self._bank), None)

    def _speed(self, name: str, ours: Path, file: Path, length: Length) -> str:
        return f"speed/{self._threads}/{length}/{name}/{_digest(ours)}/{_digest(file)}"


def _judged(name: str, file: Path) -> str:
    return f"judged/{name}/{_digest(file)}"


def _behind(name: str, ours: Path, file: Path) -> str:
    return f"behind/{name}/{_digest(ours)}/{_digest(file)}"


def _bearable(judged: Judged) -> bool:
    return not judged.problem and judged.drop <= TOLERANCE


def _digest(file: Path) -> str:
    return file_digest(file).sha256[:16]


def _say(line: str) -> None:
    """Progress: apart from the table."""
    print(line, file=sys.stderr, flush=True)


def head(run: Run, rows: list[Row], machine: dict[str, str], threads: int) -> list[str]:
    """Where, with what, and what each tool was told."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return [
        f"edgeopt against its peers; {machine['processor']}, {machine['CPUs']} CPUs, Linux {machine['kernel']}; {threads} thread(s)",
        libraries,
        circumstances(rows),
        *(f"  {tool}: {TOOLS[tool][1]}" for tool in run.scale.tools),
        *(f"  {tool}: NOT RUN, {why}" for tool, why in NOT_RUN.items()),
        "",
    ]


def conclusion(run: Run, rows: list[Row], judged: bool) -> tuple[str, int]:
    """The last line and the exit code."""
    mean = geometric_mean(rows)
    said = f"geometric mean of the best peer's latency / edgeopt's over {len(rows)} models: " + (
        f"{mean:.3f}" if mean else "none yet"
    )
    if not run.finished:
        return f"UNFINISHED: run it again, it goes on where it was; {said}", 1
    missed = judged and any(goal.status == "MISSED" for goal in goals(rows))
    return said, 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phase", choices=("make", "measure"), help="this part only; default: both")
    parser.add_argument("--only", default="", help="the models whose name holds this")
    parser.add_argument(
        "--remake", default="", metavar="TOOL", help=f"make this tool's artifact anew ({OURS}, or as in the table)"
    )
    parser.add_argument("--threads", type=int, default=1, help="of ours and of each peer alike")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--show", action="store_true")
    parser.add_argument(
        "--home",
        type=Path,
        help="artifacts and the bank; default: peers in the user's cache; of a quick run, none is kept",
    )
    options = parser.parse_args()
    if not DATA.is_dir():
        _say(f"No data at {DATA}: set EDGEOPT_DATA to a folder like it.")
        return 2
    here = tuple(name for name in models(DATA) if options.only.lower() in name.lower())
    full, quick = Scale(here, tuple(TOOLS), None), Scale((QUICK_MODEL,), QUICK_TOOLS, QUICK_BUDGET_S)
    scale = quick if options.quick else full
    with tempfile.TemporaryDirectory(prefix="edgeopt-peers-") as scratch:
        home = (options.home or (Path(scratch) if options.quick else HOME)).resolve()
        machine = this_machine()
        try:
            run = Run(scale, Bank(home / "bank.jsonl", {"run": "peers", "machine": machine}), home, options.threads)
        except ForeignBank as refused:
            _say(str(refused))
            return 2
        try:
            for name in () if options.show else scale.models:
                if options.phase in (None, "make"):
                    run.make(name, options.remake)
                if options.phase in (None, "measure"):
                    run.measure(name)
        except KeyboardInterrupt:
            _say("interrupted")
        rows = [row for name in scale.models if (row := run.row(name))]
        last, code = conclusion(run, rows, not options.quick)
        print("\n".join([*head(run, rows, machine, options.threads), *table(rows)]))
        for goal in () if options.quick else goals(rows):
            print(f"{goal.status:7} {goal.text}: {goal.result}")
        print(last)
    return code


if __name__ == "__main__":
    sys.exit(main())
