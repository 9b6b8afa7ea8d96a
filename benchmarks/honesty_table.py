"""The table that honesty.py prints, and the goals, from what is in the bank."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from edgeopt.benchmarks.honesty_accuracy import (
    CANDIDATES,
    LEDGER,
    LOOP_RULES,
    TOLERANCE,
    Greens,
    Resampled,
    Statuses,
)
from edgeopt.benchmarks.honesty_counts import Count, Goal, few, frequent, percent, rare
from edgeopt.benchmarks.honesty_latency import Observation
from edgeopt.benchmarks.honesty_plan import LOADS
from edgeopt.benchmarks.honesty_planted import Planted
from edgeopt.benchmarks.honesty_rivals import RULES, Rule, Verdict
from edgeopt.contract.record import Record

# A comparison's time is promised for a model of 2 ms; a slower one has longer blocks.
PROMISED_MS = 2.5
ONE_THREAD_S, TWO_THREADS_S = 30, 60
TWO_THREADS_RUNS = 40
WORSE = 0.022
_LABEL = 44

# What a method says of a comparison; None where it took no part in it.
Method = Callable[[Observation], Verdict | None]


class PlantedIn(Record):
    """The slowdown that was asked for in a model, and what was planted."""

    model: str
    asked: float
    planted: Planted


@dataclass(frozen=True)
class Results:
    """All that was measured."""

    observations: Sequence[Observation]
    planted: Sequence[PlantedIn]
    first_looks: Sequence[Statuses]
    loops: Sequence[Greens]
    resampled: Sequence[Resampled]

    def of(self, threads: int, slowdown: float, load: str | None = None) -> list[Observation]:
        """Comparisons of one kind."""
        return [
            o
            for o in self.observations
            if o.unit.threads == threads and o.unit.slowdown == slowdown and load in (None, o.unit.load)
        ]


def called(observations: Sequence[Observation], verdict: Method, what: str) -> Count:
    """How often a method said `what` (different: faster or slower), of the comparisons that it took part in."""
    said = [found for o in observations if (found := verdict(o))]
    return Count.where(found != "undecided" if what == "different" else found == what for found in said)


def ours(observation: Observation) -> Verdict:
    """What the product said."""
    return observation.ours.verdict


def methods() -> dict[str, Method]:
    """Ours and the others' rules by label."""
    return {"edgeopt": ours} | {rule.label: _method(rule) for rule in RULES}


def _method(rule: Rule) -> Method:
    return lambda o: rule.verdict(o.rivals[rule.rival]) if rule.rival in o.rivals else None


def table(results: Results) -> list[str]:
    """The figures, all methods side by side; intervals are two-sided at 95 %."""
    return [
        *_identical(results),
        *_slower(results),
        *_durations(results),
        *_verdicts(results),
        *_loops(results),
        *_bootstrap(results),
    ]


def _counting(observations: Sequence[Observation], what: str) -> Callable[[Method], Count]:
    return lambda verdict: called(observations, verdict, what)


def _rows(head: str, columns: dict[str, Callable[[Method], Count]]) -> list[str]:
    lines = [f"{head:{_LABEL}}" + "".join(f"{column:30}" for column in columns)]
    for label, verdict in methods().items():
        cells = "".join(f"{count(verdict)!s:30}" for count in columns.values())
        lines.append(f"  {label:{_LABEL - 2}}{cells}".rstrip())
    return [*lines, ""]


def _identical(results: Results) -> list[str]:
    kinds = {f"1 thread, {load}": results.of(1, 0, load) for load in LOADS} | {"2 threads": results.of(2, 0)}
    columns = {name: _counting(found, "different") for name, found in kinds.items() if found}
    return _rows("Identical models called different", columns)


def _slower(results: Results) -> list[str]:
    lines = []
    for asked in sorted({p.asked for p in results.planted}):
        columns = {load: _counting(results.of(1, asked, load), "slower") for load in LOADS}
        lines += _rows(f"Slower by {percent(asked)}, called slower (1 thread)", columns)[:-1]
        realised = [f"{p.model} {_percent(p.planted)}" for p in results.planted if p.asked == asked]
        lines += [f"  realised: {', '.join(realised)}", ""]
    return lines


def _percent(planted: Planted) -> str:
    low, high = planted.interval
    return f"{100 * planted.slowdown:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def _durations(results: Results) -> list[str]:
    kinds: dict[tuple[int, str, str], list[Observation]] = defaultdict(list)
    for o in results.observations:
        kinds[o.unit.threads, o.unit.model, o.unit.load].append(o)
    lines = [f"{'Comparisons: median and most':{_LABEL}}seconds       processes"]
    for (threads, model, load), found in sorted(kinds.items()):
        ms = statistics.median(o.ours.baseline_ms for o in found)
        label = f"{model}, {ms:.2f} ms, {threads} thread{'s' * (threads > 1)}, {load}"
        seconds, processes = [o.ours.seconds for o in found], [o.ours.processes for o in found]
        lines.append(f"  {label:{_LABEL - 2}}{_spread(seconds)}   {_spread(processes)}")
    return [*lines, ""]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):5.1f} {max(values):5.1f}"


def _verdicts(results: Results) -> list[str]:
    lines = [
        f"One look at {percent(TOLERANCE)} relative tolerance, top-1: PASS / INCONCLUSIVE / FAIL in %",
        f"  {'samples, accuracy, true drop, disagreement':{_LABEL}}{'edgeopt':26}point rule",
    ]
    for cell in results.first_looks:
        p = cell.population
        label = f"{p.samples:5}, {percent(p.baseline)}, {percent(p.drop)}, {percent(p.disagree)}"
        lines.append(f"  {label:{_LABEL}}{_shares(cell.ours):26}{_shares(cell.point)}")
    return [*lines, ""]


def _shares(tally: dict[str, int]) -> str:
    total = sum(tally.values())
    return " / ".join(f"{100 * tally[status] / total:5.2f}" for status in ("PASS", "INCONCLUSIVE", "FAIL"))


def _loops(results: Results) -> list[str]:
    cells = [
        f"{g.population.samples}, {percent(g.population.disagree)}, {percent(g.population.drop)}" for g in results.loops
    ]
    lines = [
        f"Until green: an agent with {CANDIDATES} variants, all worse than is tolerated, gets one through, in %",
        f"  {'samples, disagreement, true drop:':{_LABEL}}" + "".join(f"{cell:18}" for cell in cells),
    ]
    for name in LOOP_RULES:
        shares = "".join(f"{100 * g.passed[name] / g.of:<18.2f}" for g in results.loops)
        lines.append(f"  {name:{_LABEL}}{shares}".rstrip())
    return [*lines, ""]


def _bootstrap(results: Results) -> list[str]:
    lines = [
        f"Metrics that are judged by the bootstrap, PASS at a true drop of exactly {percent(TOLERANCE)}",
        f"  {'':{_LABEL}}{'edgeopt':30}point rule",
    ]
    for cell in results.resampled:
        source = cell.source
        share = f"{percent(source.share)} " + (
            "decided differently" if source.metric == "f1_macro" else "predicted worse"
        )
        label = f"{source.metric}, {source.samples}, {share}"
        lines.append(f"  {label:{_LABEL}}{Count(cell.ours, cell.of)!s:30}{Count(cell.point, cell.of)!s}")
    return [*lines, ""]


def goals(results: Results, quick: bool) -> list[Goal]:
    """What the project promises, and whether this run proves it (a quick run: whether it refutes it)."""
    same, two = results.of(1, 0), results.of(2, 0)
    looks = [Count(s.ours["PASS"], sum(s.ours.values())) for s in results.first_looks if s.population.drop == TOLERANCE]
    spread = [Count(r.ours, r.of) for r in results.resampled]
    loops = [Count(g.passed[LEDGER], g.of) for g in results.loops if g.population.drop == WORSE]
    at_tolerance = f"PASS at a drop of exactly {percent(TOLERANCE)}"
    found = [
        rare("identical models called different, 1 thread: at most 5 %", called(same, ours, "different"), 0.05, quick),
        frequent(
            "slower by 5 % called, 1 thread: at least 90 %", called(results.of(1, 0.05), ours, "slower"), 0.9, quick
        ),
        rare(f"{at_tolerance}, top1, worst cell: at most 5 %", _worst(looks), 0.05, quick),
        rare(f"{at_tolerance}, f1_macro and rmse, worst cell: at most 5 %", _worst(spread), 0.05, quick),
        rare(f"until green, all {percent(WORSE)} worse, worst cell: at most 5 %", _worst(loops), 0.05, quick),
    ]
    if quick:
        return found
    return [
        *found,
        few(
            f"identical models called different, 2 threads: at most 1 of {TWO_THREADS_RUNS}",
            called(two, ours, "different"),
            1,
            TWO_THREADS_RUNS,
        ),
        _within("a comparison of a model of 2 ms, 1 thread", same, ONE_THREAD_S),
        _within("a comparison of a model of 2 ms, 2 threads", two, TWO_THREADS_S),
    ]


def _worst(counts: Iterable[Count]) -> Count:
    return max(counts, key=lambda count: count.share, default=Count(0, 0))


def _within(text: str, observations: Sequence[Observation], most_s: float) -> Goal:
    seconds = [o.ours.seconds for o in observations if o.ours.baseline_ms <= PROMISED_MS]
    text = f"{text}: {most_s} s at most"
    if not seconds:
        return Goal(text, "not tried", "MISSED")
    result = f"most {max(seconds):.1f} s, median {statistics.median(seconds):.1f} s, of {len(seconds)}"
    return Goal(text, result, "met" if max(seconds) <= most_s else "MISSED")
