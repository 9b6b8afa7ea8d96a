"""The paired design: two models timed against each other in fresh processes, as many as the noise asks for.

Timing one model after the other called two identical models different, by over 2 %, in 50 to 71 % of runs on a shared
machine. Here both are in every process, in alternating blocks, and the processes swap their roles: what the machine
does, it does to both. A process that was disturbed all the same is repeated, while there is time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...contract.measures import Latency, Noise, Speedup
from ...contract.record import Record
from . import pair_process
from .condition import Condition
from .fresh_process import ask
from .latency import half_width, is_settled, speedup, summarize, trimmed_mean
from .lock import one_at_a_time
from .machine import Load
from .watch import condition

# With 6 processes 2 % of identical pairs were called different, with 10 none of 63, and 5 % was called in 63 of 63.
TYPICAL = 10
FEWEST = 6
MOST = 30
NARROW = 0.015
# The standard deviation of the quads of a process that nothing disturbed is below this.
MOST_SPREAD = 0.03

Report = Callable[[float, str], None]


class Pair(Record):
    """Two models, each with its file of inputs (`inputs.save`)."""

    baseline: str
    baseline_inputs: str
    variant: str
    variant_inputs: str
    threads: int


class PairTask(Pair):
    """One process' share: its place in the sequence of processes, and the least calls of a block."""

    index: int
    least_calls: int


class PairTimes(Record):
    """One process' answer: the task's index, a log(baseline / variant) for each quad, every timed call in ms, the machine
    meanwhile."""

    index: int
    quads: list[float]
    baseline_ms: list[float]
    variant_ms: list[float]
    load: Load


class Paired(Record):
    baseline: Latency
    variant: Latency
    speedup: Speedup
    noise: Noise


def compare(pair: Pair, iterations: int, seconds: float, tmp: Path, report: Report) -> Paired:
    """Times the pair until its speedup is known to 1.5 % and settled, within about `seconds`, alone on the machine.

    Each model's latency is over at least `iterations` timed calls and each comparison over at least 6 processes: for slow
    models these two, not `seconds`, set the end. `seconds` begin when no other measurement runs on this machine.
    """
    with one_at_a_time(lambda why: report(0.0, why)):
        before = Condition.read()
        runs = _time(pair, iterations, seconds, tmp, report)
        after = Condition.read()
    used = that_count(runs, pair.threads, iterations)
    load = sum((run.load for run in used), Load())
    effect = _speedup(used)
    return Paired(
        baseline=summarize([ms for run in used for ms in run.baseline_ms]),
        variant=summarize([ms for run in used for ms in run.variant_ms]),
        speedup=effect,
        noise=Noise(
            half_width=half_width(effect),
            processes=len(used),
            disturbed=load.disturbed or any(is_flagged(run, pair.threads) for run in used),
            replaced=len(runs) - len(used),
            machine=condition(before, after, load),
        ),
    )


def _time(pair: Pair, iterations: int, seconds: float, tmp: Path, report: Report) -> list[PairTimes]:
    least_calls = math.ceil(iterations / (TYPICAL * pair_process.QUADS * 2))
    started = time.monotonic()
    runs: list[PairTimes] = []
    while not enough(runs, pair.threads, iterations, seconds, time.monotonic() - started):
        task = PairTask(**pair.model_dump(), index=len(runs), least_calls=least_calls)
        runs.append(ask(pair_process.__name__, task, PairTimes, tmp))
        so_far = that_count(runs, pair.threads, iterations)
        report(_done(runs, seconds, time.monotonic() - started), _progress(len(runs), so_far))
    return runs


def is_flagged(run: PairTimes, threads: int) -> bool:
    """Whether a process was disturbed so that it is better repeated, by signs that know nothing of its speedup's sign.

    On several threads: other work, steal, throttling, or quads that scatter by over 3 %. On one thread repeating the first
    and the last took x1.7 processes and bought nothing: there only steal and throttling count.
    """
    if threads == 1:
        return run.load.slowed
    return run.load.disturbed or float(np.std(run.quads, ddof=1)) > MOST_SPREAD


def that_count(runs: list[PairTimes], threads: int, iterations: int) -> list[PairTimes]:
    """The processes that a comparison is made of: those not flagged where they are 6 and the calls suffice, else all."""
    clean = balanced([run for run in runs if not is_flagged(run, threads)])
    return clean if len(clean) >= FEWEST and _timed_calls(clean) >= iterations else balanced(runs)


def balanced(runs: list[PairTimes]) -> list[PairTimes]:
    """As many with the roles swapped as without: of whichever there are more, the last are left out."""
    straight, swapped = ([run for run in runs if run.index % 2 == role] for role in (0, 1))
    of_each = min(len(straight), len(swapped))
    return sorted(straight[:of_each] + swapped[:of_each], key=lambda run: run.index)


def enough(runs: list[PairTimes], threads: int, iterations: int, seconds: float, elapsed: float) -> bool:
    """Whether to stop: with a narrow interval that is settled, or out of processes or time.

    An effect that is over 1 % by its estimate and not yet by its interval is worth more processes.
    """
    if len(runs) % 2:
        return False
    used = that_count(runs, threads, iterations)
    if len(used) < FEWEST or _timed_calls(used) < iterations:
        return False
    next_two = 2 * elapsed / len(runs)
    if len(runs) >= MOST or elapsed + next_two > seconds:
        return True
    if len(used) < TYPICAL or any(is_flagged(run, threads) for run in used):
        return False
    effect = _speedup(used)
    return half_width(effect) <= NARROW and is_settled(effect)


def _timed_calls(runs: list[PairTimes]) -> int:
    """Of the model that has fewer."""
    return min(sum(len(run.baseline_ms) for run in runs), sum(len(run.variant_ms) for run in runs))


def _speedup(runs: list[PairTimes]) -> Speedup:
    return speedup([trimmed_mean(run.quads) for run in runs])


def _done(runs: list[PairTimes], seconds: float, elapsed: float) -> float:
    """Towards ten processes, and past ten towards the most that there can be."""
    if len(runs) <= TYPICAL:
        return 0.9 * len(runs) / TYPICAL
    return 0.9 + 0.1 * min(1.0, max(len(runs) / MOST, elapsed / seconds))


def _progress(n: int, used: list[PairTimes]) -> str:
    count = (
        f"process {n} of about {TYPICAL}"
        if n <= TYPICAL
        else f"process {n} of at most {MOST} (noise, or a small effect)"
    )
    if not used:
        return count
    effect = _speedup(used)
    return f"{count}: speedup {effect.value:.2f} ± {half_width(effect) * effect.value:.2f}"
