"""A constant load: whether a model is still as fast at its end as at its beginning, or the machine gets hot and slow."""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Literal

import numpy as np

from ...contract.measures import Interval, Sustained
from ..runtimes.opening import open_session
from . import inputs, machine
from .condition import Condition
from .cores import cores_for
from .latency import LEAST_EFFECT
from .lock import one_at_a_time
from .machine import Load
from .statistics import t_quantile
from .timing import Call, no_collection, time_calls, warm_up
from .watch import condition

WINDOW_S = 60.0
# Calls that follow each other are alike, sixths of a minute hardly: the spread is taken between these.
PARTS = 6
# All of the interval below this is called steady.
STEADY = math.log(1.05)

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Window:
    """The first or the last part of the load: the times of its calls (ms) in the parts of its span, and its machine."""

    parts: list[array[float]]
    load: Load

    @property
    def logs(self) -> list[float]:
        """The logarithm of each part's median."""
        return [math.log(np.median(part)) for part in self.parts]

    @property
    def median_ms(self) -> float:
        return float(np.median(np.concatenate(self.parts)))

    @property
    def disturbed(self) -> bool:
        """By other work or the hypervisor. Throttling is what a constant load is to show: it disturbs nothing."""
        return self.load.foreign > machine.MOST_FOREIGN or self.load.steal > machine.MOST_STEAL


class ConstantLoad:
    """Calls without a pause, from the moment that this is made."""

    def __init__(self, calls: Iterator[Call], seconds: float, report: Report):
        self._calls = calls
        self._seconds = seconds
        self._report = report
        self._began = time.monotonic()
        self.count = 0

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    def until(self, second: float) -> array[float]:
        """Goes on until then, for one call at least; returns the times of the calls in milliseconds."""
        times = array("d")
        told = -math.inf
        while not times or self.elapsed < second:
            if self.elapsed > told + 1:
                told = self.elapsed
                self._report(told / self._seconds, f"constant load: {told:.0f} of {self._seconds:.0f} s")
            times.extend(time_calls(self._calls, 1))
        self.count += len(times)
        return times

    def window(self, length: float) -> Window:
        start, before = self.elapsed, machine.read()
        parts = [self.until(start + length * part / PARTS) for part in range(1, PARTS + 1)]
        return Window(parts, before.until(machine.read()))


def sustain(path: str, inputs_file: Path, threads: int, seconds: float, report: Report) -> Sustained:
    """Runs the model without a pause for `seconds`, alone on the machine, and compares the last minute with the first; the
    last quarter where that is shorter. Slow models take longer: each window has six calls at least."""
    window = min(WINDOW_S, seconds / 4)
    with one_at_a_time(lambda why: report(0.0, why)), cores_for(threads) as cores, no_collection():
        session = open_session(path, threads, cores)
        calls = cycle([session.call(batch) for batch in inputs.load(inputs_file)])
        warm_up(calls, least_calls=5, least_ms=100)
        condition_before, before = Condition.read(), machine.read()
        load = ConstantLoad(calls, seconds, report)
        first = load.window(window)
        while load.elapsed < seconds - window:
            load.until(min(load.elapsed + 1, seconds - window))
        last = load.window(window)
        elapsed, after, condition_after = load.elapsed, machine.read(), Condition.read()
    slowdown, interval = slowdown_of(first.logs, last.logs)
    disturbed = first.disturbed or last.disturbed
    return Sustained(
        seconds=elapsed,
        calls=load.count,
        window_s=window,
        first_ms=first.median_ms,
        last_ms=last.median_ms,
        slowdown=slowdown,
        ci95=interval,
        verdict="undecided" if disturbed else verdict_of(interval),
        disturbed=disturbed,
        machine=condition(condition_before, condition_after, before.until(after)),
    )


def slowdown_of(first: Sequence[float], last: Sequence[float]) -> tuple[float, Interval]:
    """Last / first - 1 with its 95 % interval, from the logarithms of the parts of both windows, two at least of each.

    Welch's interval over batch means: calls of one part are not independent, its median is one observation. Noise that
    lasts longer than a part (ten seconds of a minute) is not in it. Source of batch means: A. M. Law and W. D. Kelton,
    Simulation Modeling and Analysis; of the degrees of freedom: B. L. Welch, Biometrika 34 (1947) 28-35.
    """
    difference = float(np.mean(last) - np.mean(first))
    parts = [(float(np.var(window, ddof=1)) / len(window), len(window) - 1) for window in (first, last)]
    variance = sum(square for square, _ in parts)
    if variance == 0:
        return math.expm1(difference), (math.expm1(difference), math.expm1(difference))
    df = 1 / sum((square / variance) ** 2 / free for square, free in parts)
    half = t_quantile(0.975, df) * math.sqrt(variance)
    return math.expm1(difference), (math.expm1(difference - half), math.expm1(difference + half))


def verdict_of(interval: Interval) -> Literal["steady", "slower", "undecided"]:
    """slower where all of the interval is over 1 %, steady where all of it is under 5 %."""
    low, high = interval
    if math.log1p(low) > LEAST_EFFECT:
        return "slower"
    return "steady" if math.log1p(high) < STEADY else "undecided"
