"""Whether the product's verdicts can be believed, measured on this machine, beside what others do. Prints one table.

    python benchmarks/honesty.py            about two hours; goes on where it was stopped
    python benchmarks/honesty.py --quick    two minutes at most, for CI
    python benchmarks/honesty.py --show     the table of what is in the bank, without measuring

Latency. Identical models (one file under two names) and models that are slower by a known share are compared by the
product's own `pairing.compare`, and in the same minutes, in an order drawn for each comparison, as Olive (10 + 20 runs),
ModelOpt (median of ten), 100 + 100 runs and trtexec (3 s each) would: on a quiet machine and under a hostile load, three
models (four where the developers' data is). Accuracy. The product's own `noninferiority.judge` and `ledger.look_alpha`
judge drawn outcomes whose true drop is known, beside the point rule.

Every result is appended to the bank; the table and the goals are computed from it. It exits with 1 where a goal is
missed or the run is unfinished.

What --quick supports. It proves no goal of latency: six comparisons of identical models without an error bound the
false alarms at 39 %, and four slowdowns of which all are called bound the power at 47 % from below. It fails only where
a goal is refuted with 99 % confidence: three false alarms of six, one or none of four slowdowns called. So it finds a design
that is broken (a lost swap of roles, an interval that is too narrow by half), not one that has become a little worse.
Comparisons get 12 s in place of the product's 60; two threads, durations, the 3 % slowdown and trtexec are left out, and
where the machine is slow some comparisons are too. The verdicts of accuracy are computed, not timed, so there its numbers are
large enough to be quoted, but for the bootstrapped metrics.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeopt.benchmarks import honesty_models
from edgeopt.benchmarks.honesty_accuracy import (
    TOLERANCE,
    Greens,
    Hard,
    Population,
    Resampled,
    Statuses,
    first_looks,
    loops,
    resampled,
)
from edgeopt.benchmarks.honesty_bank import Bank, ForeignBank, design, this_machine
from edgeopt.benchmarks.honesty_counts import Goal
from edgeopt.benchmarks.honesty_latency import FULL, LOADS, QUICK, Arena, Observation, Sizes, plan
from edgeopt.benchmarks.honesty_models import Subject
from edgeopt.benchmarks.honesty_planted import HASTY, THOROUGH, Effort, plant
from edgeopt.benchmarks.honesty_table import BEYOND, WORSE, PlantedIn, Results, goals, table
from edgeopt.engine.measure.machine import MOST_FOREIGN

HERE = Path(__file__).parent
MEASURE = HERE.parent / "engine" / "measure"
# What decides a result; how it is printed does not.
SOURCES = [
    *MEASURE.glob("*.py"),
    HERE.parent / "state" / "ledger.py",
    *(
        HERE / f"honesty_{part}.py"
        for part in ("accuracy", "latency", "load", "models", "planted", "process", "rivals")
    ),
]
QUICK_S = 112

LOOKS = [
    Population(samples=samples, baseline=baseline, drop=drop, disagree=disagree)
    for samples, baseline, disagree in [
        (200, 0.75, 0.04),
        (500, 0.75, 0.04),
        (1000, 0.75, 0.02),
        (1000, 0.75, 0.04),
        (2000, 0.93, 0.04),
        (2000, 0.75, 0.08),
    ]
    for drop in (0.0, TOLERANCE, 2 * TOLERANCE)
    if disagree >= drop * baseline
]
LOOPS = [
    Population(samples=samples, baseline=0.75, drop=drop, disagree=disagree)
    for samples, disagree, drop in [
        (500, 0.04, WORSE),
        (1000, 0.03, WORSE),
        (1000, 0.04, WORSE),
        (2000, 0.03, WORSE),
        (2000, 0.03, TOLERANCE),
    ]
]
BOOTSTRAPPED = [
    Hard(metric="f1_macro", samples=200, share=0.02),
    Hard(metric="f1_macro", samples=1000, share=0.02),
    Hard(metric="rmse", samples=200, share=1.0),
    Hard(metric="rmse", samples=1000, share=1.0),
    *BEYOND,
]


@dataclass(frozen=True)
class Scale:
    """How much of everything a run does. `limit_s`: no comparison is begun that may end later."""

    name: str
    sizes: Sizes
    effort: Effort
    looks: Sequence[Population]
    look_times: int
    loops: Sequence[Population]
    loop_times: int
    bootstrapped: Sequence[Hard]
    bootstrap_times: int
    models: int | None
    limit_s: float


FULL_RUN = Scale("full", FULL, THOROUGH, LOOKS, 20_000, LOOPS, 4000, BOOTSTRAPPED, 2000, None, float("inf"))
QUICK_RUN = Scale("quick", QUICK, HASTY, LOOKS, 2000, LOOPS[1:2], 400, BOOTSTRAPPED[2:3], 60, 3, QUICK_S)


class Run:
    """One run on one bank: what is not in it yet is measured and added."""

    def __init__(self, scale: Scale, bank: Bank, subjects: list[Subject], folder: Path, began: float):
        self._scale, self._bank, self._began = scale, bank, began
        self._arena = Arena({s.name: s for s in subjects}, folder, scale.sizes)
        self.units = plan([s.name for s in subjects], scale.sizes)

    def measure(self) -> None:
        for key, work in self._work():
            if key not in self._bank:
                begin = time.monotonic()
                self._bank.add(key, work().model_dump(mode="json"))
                _say(f"{key}: {time.monotonic() - begin:.1f} s")
        for model, slowdown in self._slowdowns():
            self._arena.add(model, slowdown, PlantedIn(**self._bank[_planted(model, slowdown)]).planted)
        self._compare()

    def _slowdowns(self) -> list[tuple[str, float]]:
        return sorted({(unit.model, unit.slowdown) for unit in self.units if unit.slowdown})

    def _work(self) -> list[tuple[str, Callable[[], Any]]]:
        """Everything before the comparisons. Planting is first: it is what a machine that is too busy fails at."""
        scale = self._scale
        return [
            *((_planted(*wanted), lambda wanted=wanted: self._plant(*wanted)) for wanted in self._slowdowns()),
            *((f"look/{_name(p)}", lambda p=p: first_looks(p, scale.look_times)) for p in scale.looks),
            *((f"loop/{_name(p)}", lambda p=p: loops(p, scale.loop_times)) for p in scale.loops),
            *((f"bootstrap/{_name(h)}", lambda h=h: resampled(h, scale.bootstrap_times)) for h in scale.bootstrapped),
        ]

    def _plant(self, model: str, slowdown: float) -> PlantedIn:
        planted = plant(self._arena.subjects[model], slowdown, self._scale.effort, self._arena.folder)
        return PlantedIn(model=model, asked=slowdown, planted=planted)

    def _compare(self) -> None:
        left = [unit for unit in self.units if unit.key not in self._bank]
        took: list[float] = []
        for number, unit in enumerate(left, 1):
            begin = time.monotonic()
            if begin - self._began + 1.5 * statistics.fmean(took or [10]) > self._scale.limit_s:
                _say(f"out of time: {len(left) - number + 1} comparisons are left out")
                return
            observation = self._arena.observe(unit)
            self._bank.add(unit.key, observation.model_dump(mode="json"))
            took.append(time.monotonic() - begin)
            minutes = statistics.fmean(took) * (len(left) - number) / 60
            _say(f"{unit.key}: {observation.ours.verdict}, {took[-1]:.1f} s; about {minutes:.0f} min left")

    @property
    def finished(self) -> bool:
        """All that was planned is in the bank; what a quick run has no time for was not planned."""
        wanted = [key for key, _ in self._work()]
        if self._scale.limit_s == float("inf"):
            wanted += [unit.key for unit in self.units]
        return all(key in self._bank for key in wanted)

    def results(self) -> Results:
        return Results(
            observations=[Observation.model_validate(value) for value in self._bank.below("pair/")],
            planted=[PlantedIn.model_validate(value) for value in self._bank.below("planted/")],
            first_looks=[Statuses.model_validate(value) for value in self._bank.below("look/")],
            loops=[Greens.model_validate(value) for value in self._bank.below("loop/")],
            resampled=[Resampled.model_validate(value) for value in self._bank.below("bootstrap/")],
        )


def _planted(model: str, slowdown: float) -> str:
    return f"planted/{model}/{slowdown:.2f}"


def _name(cell: Population | Hard) -> str:
    return "/".join(str(value) for value in cell.model_dump().values())


def _say(line: str) -> None:
    """Progress: apart from the table."""
    print(line, file=sys.stderr, flush=True)


def head(scale: Scale, results: Results, header: dict[str, Any]) -> list[str]:
    """When, where, and how busy the machine was."""
    machine, at = header["machine"], sorted(o.at for o in results.observations)
    span = f"{at[0]} to {at[-1]}" if at else datetime.now(UTC).isoformat(timespec="seconds")
    lines = [
        f"edgeopt honesty, {scale.name} run, comparisons of {span}",
        f"{machine['processor']}, {machine['CPUs']} CPUs, Linux {machine['kernel']}; design {header['design']}",
    ]
    for load in LOADS:
        foreign = [o.foreign for o in results.observations if o.unit.load == load]
        if foreign:
            others = f"{load}: others used {statistics.median(foreign):.0%} of the CPU time (most {max(foreign):.0%})"
            noisy = load == "quiet" and statistics.median(foreign) > MOST_FOREIGN
            lines.append(others + (": NOT QUIET, other work was going on" if noisy else ""))
    return [*lines, ""]


def conclusion(scale: Scale, judged: Sequence[Goal], finished: bool) -> tuple[str, int]:
    """The last line and the exit code."""
    missed = [goal.text.partition(":")[0] for goal in judged if goal.status == "MISSED"]
    if not finished:
        return "UNFINISHED: run it again, it goes on where it was; the goals are judged on what there is", 1
    if missed:
        return f"goals MISSED: {'; '.join(missed)}", 1
    if scale is QUICK_RUN:
        return "goals not refuted; n is too small to prove them (the full run does: see --help)", 0
    return f"goals met: all {len(judged)}", 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--show", action="store_true")
    parser.add_argument(
        "--bank", type=Path, help="default: honesty.jsonl in the user's cache; of a quick run, none is kept"
    )
    options = parser.parse_args()
    scale, began = QUICK_RUN if options.quick else FULL_RUN, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgeopt-honesty-") as scratch:
        folder = Path(scratch)
        subjects = honesty_models.make(folder)[: scale.models]
        decided_by = design(SOURCES, [s.path for s in subjects], repr(scale))
        header = {"run": scale.name, "machine": this_machine(), "design": decided_by}
        try:
            bank = Bank(options.bank or _default_bank(scale, folder), header)
        except ForeignBank as refused:
            _say(str(refused))
            return 2
        run = Run(scale, bank, subjects, folder, began)
        try:
            if not options.show:
                run.measure()
        except KeyboardInterrupt:
            _say("interrupted")
        results = run.results()
        judged = goals(results, options.quick)
        finished = run.finished
    last, code = conclusion(scale, judged, finished)
    print("\n".join([*head(scale, results, header), *table(results), "Goals"]))
    for goal in judged:
        print(f"  {goal.status:12} {goal.text}\n  {'':12} {goal.result}")
    print(last)
    return code


def _default_bank(scale: Scale, folder: Path) -> Path:
    if scale is QUICK_RUN:
        return folder / "bank.jsonl"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeopt" / "honesty.jsonl"


if __name__ == "__main__":
    sys.exit(main())
