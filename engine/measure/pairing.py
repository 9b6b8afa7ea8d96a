"""The paired design: two models timed against each other in fresh processes, as many as the noise asks for.

Timing one model after the other called two identical models different, by over 2 %, in 50 to 71 % of runs on a shared
machine. Here both are in every process, in alternating blocks, and the processes swap their roles: what the machine
does, it does to both.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from ...contract.measures import Latency, Noise, Speedup
from ...contract.record import Record
from . import pair_process
from .fresh_process import ask
from .latency import half_width, is_settled, speedup, summarize, trimmed_mean
from .machine import Load

# With 6 processes 2 % of identical pairs were called different, with 10 none of 63, and 5 % was called in 63 of 63.
TYPICAL = 10
FEWEST = 6
MOST = 30
NARROW = 0.015

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
    """One process' answer: a log(baseline / variant) for each quad, every timed call in ms, the machine meanwhile."""

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
    """Times the pair until its speedup is known to 1.5 % and settled, within about `seconds`.

    Each model's latency is over at least `iterations` timed calls and each comparison over at least 6 processes: for slow
    models these two, not `seconds`, set the end.
    """
    least_calls = math.ceil(iterations / (TYPICAL * pair_process.QUADS * 2))
    started = time.monotonic()
    runs: list[PairTimes] = []
    while not enough(runs, iterations, seconds, time.monotonic() - started):
        task = PairTask(**pair.model_dump(), index=len(runs), least_calls=least_calls)
        runs.append(ask(pair_process.__name__, task, PairTimes, tmp))
        report(_done(runs, seconds, time.monotonic() - started), _progress(runs))
    effect = _speedup(runs)
    return Paired(
        baseline=summarize([ms for run in runs for ms in run.baseline_ms]),
        variant=summarize([ms for run in runs for ms in run.variant_ms]),
        speedup=effect,
        noise=Noise(
            half_width=half_width(effect),
            processes=len(runs),
            disturbed=sum((run.load for run in runs), Load()).disturbed,
        ),
    )


def enough(runs: list[PairTimes], iterations: int, seconds: float, elapsed: float) -> bool:
    """Whether to stop: with a narrow interval that is settled, or out of processes or time.

    Only at even numbers: the roles are swapped from one process to the next. An effect that is over 1 % by its estimate
    and not yet by its interval is worth more processes.
    """
    if len(runs) < FEWEST or len(runs) % 2 or _timed_calls(runs) < iterations:
        return False
    next_two = 2 * elapsed / len(runs)
    if len(runs) >= MOST or elapsed + next_two > seconds:
        return True
    effect = _speedup(runs)
    return len(runs) >= TYPICAL and half_width(effect) <= NARROW and is_settled(effect)


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


def _progress(runs: list[PairTimes]) -> str:
    n = len(runs)
    count = (
        f"process {n} of about {TYPICAL}"
        if n <= TYPICAL
        else f"process {n} of at most {MOST} (noise, or a small effect)"
    )
    if n < 2:
        return count
    effect = _speedup(runs)
    return f"{count}: speedup {effect.value:.2f} ± {half_width(effect) * effect.value:.2f}"
