"""Whether the product's verdicts can be believed, measured on this machine, beside what others do. Prints one table.

    python benchmarks/honesty.py                 about three hours; goes on where it was stopped
    python benchmarks/honesty.py --part PART     a part of it: verdicts, hostile, or quiet, which needs the machine alone
    python benchmarks/honesty.py --quick         two minutes at most, for CI
    python benchmarks/honesty.py --show          the table of what is in the bank, without measuring

Latency. Identical models (one file under two names) and models that are slower by a known share are compared by the
product's own `pairing.compare`, and in the same minutes, in an order drawn for each comparison, as Olive (10 + 20 runs),
ModelOpt (median of ten), 100 + 100 runs and trtexec (3 s each) would: on three models, on a quiet machine and under a
hostile load. Accuracy. The product's own `noninferiority.judge` and `ledger.look_alpha` judge drawn outcomes whose true
drop is known, beside the point rule.

Every result is appended to the bank, under a digest of the code that decides it: after a change of the measurement its
results are measured anew and the verdicts' are not, and the other way round. The table and the goals are computed from
the bank. It exits with 1 where a goal is missed or the run is unfinished.

What --quick supports. It proves no goal of latency: six comparisons of identical models without an error bound the
false alarms at 39 %, and four slowdowns of which all are called bound the power at 47 % from below. It fails only where
a goal is refuted with 99 % confidence: three false alarms of six, one or none of four slowdowns called. So it finds a design
that is broken (a lost swap of roles, an interval that is too narrow by half), not one that has become a little worse.
Comparisons get 12 s in place of the product's 25; two threads, durations, the 3 % slowdown and trtexec are left out, and
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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

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
from edgeopt.benchmarks.honesty_bank import Bank, ForeignBank, design, sources, this_machine
from edgeopt.benchmarks.honesty_counts import Goal
from edgeopt.benchmarks.honesty_latency import Arena, Observation
from edgeopt.benchmarks.honesty_models import Subject
from edgeopt.benchmarks.honesty_plan import FULL, LOADS, QUICK, Load, Sizes, Unit, plan
from edgeopt.benchmarks.honesty_planted import HASTY, THOROUGH, Effort, plant
from edgeopt.benchmarks.honesty_table import WORSE, PlantedIn, Results, goals, table
from edgeopt.contract.record import Record
from edgeopt.engine.measure.machine import MOST_FOREIGN

R = TypeVar("R", bound=Record)
Part = Literal["verdicts"] | Load
PARTS: tuple[Part, ...] = ("verdicts", *LOADS)
# A key of the bank, and how its result is come by.
Work = tuple[str, Callable[[], Record]]

# What decides the results of each kind: these modules and what they import. The plan only says how many there are.
_WITHIN = ("edgeopt.benchmarks.honesty_", "edgeopt.engine.measure", "edgeopt.state.ledger")
TIMED = sources(["edgeopt.benchmarks.honesty_latency"], _WITHIN)
JUDGED = sources(["edgeopt.benchmarks.honesty_accuracy"], _WITHIN)
_PLAN = "honesty_plan.py"
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
    Hard(metric="rmse", samples=200, share=0.02),
    Hard(metric="rmse", samples=1000, share=0.02),
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
        code = [source for source in TIMED if source.name != _PLAN]
        self.timed = design(code, [s.path for s in subjects], repr((scale.sizes.seconds, scale.effort)))
        self.judged = design(JUDGED, [], repr((scale.look_times, scale.loop_times, scale.bootstrap_times)))

    def measure(self, parts: Sequence[Part]) -> None:
        """Planting is first: it is what a machine that is too busy fails at."""
        loads: list[Load] = [load for load in LOADS if load in parts]
        if loads:
            self._do(self._plantings())
        if "verdicts" in parts:
            self._do(self._verdicts())
        if loads:
            self._compare(loads)

    def _do(self, works: Iterable[Work]) -> None:
        for key, work in works:
            if key not in self._bank:
                begin = time.monotonic()
                self._bank.add(key, work().model_dump(mode="json"))
                _say(f"{key}: {time.monotonic() - begin:.1f} s")

    def _slowdowns(self) -> list[tuple[str, float]]:
        return sorted({(unit.model, unit.slowdown) for unit in self.units if unit.slowdown})

    def _plantings(self) -> list[Work]:
        return [(self._planted(*wanted), partial(self._plant, *wanted)) for wanted in self._slowdowns()]

    def _verdicts(self) -> list[Work]:
        scale = self._scale
        return [
            *((self._cell("look", p), partial(first_looks, p, scale.look_times)) for p in scale.looks),
            *((self._cell("loop", p), partial(loops, p, scale.loop_times)) for p in scale.loops),
            *((self._cell("bootstrap", h), partial(resampled, h, scale.bootstrap_times)) for h in scale.bootstrapped),
        ]

    def _plant(self, model: str, slowdown: float) -> PlantedIn:
        planted = plant(self._arena.subjects[model], slowdown, self._scale.effort, self._arena.folder)
        return PlantedIn(model=model, asked=slowdown, planted=planted)

    def _planted(self, model: str, slowdown: float) -> str:
        return f"{self.timed}/planted/{model}/{slowdown:.2f}"

    def _cell(self, kind: str, cell: Population | Hard) -> str:
        return f"{self.judged}/{kind}/{'/'.join(str(value) for value in cell.model_dump().values())}"

    def _pair(self, unit: Unit) -> str:
        return f"{self.timed}/{unit.key}"

    def _compare(self, loads: Sequence[Load]) -> None:
        for model, slowdown in self._slowdowns():
            planted = PlantedIn(**self._bank[self._planted(model, slowdown)]).planted
            self._arena.add(model, slowdown, planted)
        left = [unit for unit in self.units if unit.load in loads and self._pair(unit) not in self._bank]
        took: list[float] = []
        for number, unit in enumerate(left, 1):
            begin = time.monotonic()
            if begin - self._began + 1.5 * statistics.fmean(took or [10]) > self._scale.limit_s:
                _say(f"out of time: {len(left) - number + 1} comparisons are left out")
                return
            observation = self._arena.observe(unit)
            self._bank.add(self._pair(unit), observation.model_dump(mode="json"))
            took.append(time.monotonic() - begin)
            minutes = statistics.fmean(took) * (len(left) - number) / 60
            _say(f"{unit.key}: {observation.ours.verdict}, {took[-1]:.1f} s; about {minutes:.0f} min left")

    @property
    def finished(self) -> bool:
        """All that was planned is in the bank; what a quick run has no time for was not planned."""
        wanted = [key for key, _ in [*self._plantings(), *self._verdicts()]]
        if self._scale.limit_s == float("inf"):
            wanted += [self._pair(unit) for unit in self.units]
        return all(key in self._bank for key in wanted)

    def results(self) -> Results:
        return Results(
            observations=self._found(f"{self.timed}/pair/", Observation),
            planted=self._found(f"{self.timed}/planted/", PlantedIn),
            first_looks=self._found(f"{self.judged}/look/", Statuses),
            loops=self._found(f"{self.judged}/loop/", Greens),
            resampled=self._found(f"{self.judged}/bootstrap/", Resampled),
        )

    def _found(self, prefix: str, kind: type[R]) -> list[R]:
        return [kind.model_validate(value) for value in self._bank.below(prefix)]


def _say(line: str) -> None:
    """Progress: apart from the table."""
    print(line, file=sys.stderr, flush=True)


def head(scale: Scale, run: Run, results: Results, machine: dict[str, str]) -> list[str]:
    """When, where, and how busy the machine was."""
    at = sorted(o.at for o in results.observations)
    span = f"{at[0]} to {at[-1]}" if at else datetime.now(UTC).isoformat(timespec="seconds")
    lines = [
        f"edgeopt honesty, {scale.name} run, comparisons of {span}",
        f"{machine['processor']}, {machine['CPUs']} CPUs, Linux {machine['kernel']}; code {run.timed}, {run.judged}",
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
    parser.add_argument("--part", choices=PARTS, help="do this part only; default: all")
    parser.add_argument(
        "--bank", type=Path, help="default: honesty.jsonl in the user's cache; of a quick run, none is kept"
    )
    options = parser.parse_args()
    scale, began = QUICK_RUN if options.quick else FULL_RUN, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="edgeopt-honesty-") as scratch:
        folder = Path(scratch)
        subjects = honesty_models.make(folder)[: scale.models]
        machine = this_machine()
        try:
            bank = Bank(options.bank or _default_bank(scale, folder), {"run": scale.name, "machine": machine})
        except ForeignBank as refused:
            _say(str(refused))
            return 2
        run = Run(scale, bank, subjects, folder, began)
        try:
            if not options.show:
                run.measure([options.part] if options.part else PARTS)
        except KeyboardInterrupt:
            _say("interrupted")
        results = run.results()
        judged = goals(results, options.quick)
        finished = run.finished
    last, code = conclusion(scale, judged, finished)
    print("\n".join([*head(scale, run, results, machine), *table(results), "Goals"]))
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
