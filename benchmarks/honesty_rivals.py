"""How others time a model before and after: their counts of calls, their figure, and what is read off it.

Olive warms up 10 times and takes the mean of 20 calls (`WARMUP_NUM`, `REPEAT_TEST_NUM`); ModelOpt's autotune warms up 5
times and takes the median of 10; trtexec warms up for 200 ms and takes the mean over 3 s, in a process for each model;
10 + 100 calls and a median is what many write themselves. All time one model after the other. None of them says when a
difference is none: ModelOpt alone has a threshold, 1.02, which is given to all of them here.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeopt.benchmarks.honesty_process import InSequence, measure
from edgeopt.contract.record import Record
from edgeopt.engine.measure.pairing import Pair
from scipy.stats import ttest_ind_from_stats

Verdict = Literal["faster", "slower", "undecided"]

THRESHOLD = 1.02


class Figures(Record):
    """The number that the tool states for each model, in ms; `p`: Welch's t test over all timed calls."""

    baseline_ms: float
    variant_ms: float
    p: float


@dataclass(frozen=True)
class Rival:
    """`lengthy`: it takes several times as long as the others, and is run less often."""

    name: str
    warm_calls: int
    warm_ms: float
    calls: int
    ms: float
    figure: Callable[[list[float]], float]
    own_processes: bool = False
    lengthy: bool = False

    def figures(self, pair: Pair, tmp: Path) -> Figures:
        """Times the baseline, then the variant."""
        models = [pair.baseline, pair.variant]
        runs = [[model] for model in models] if self.own_processes else [models]
        times = [times for run in runs for times in measure(self._task(run, pair), tmp).times_ms]
        baseline, variant = map(self.figure, times)
        return Figures(baseline_ms=baseline, variant_ms=variant, p=_welch(*times))

    def _task(self, models: list[str], pair: Pair) -> InSequence:
        return InSequence(
            models=models,
            inputs=pair.baseline_inputs,
            threads=pair.threads,
            warm_calls=self.warm_calls,
            warm_ms=self.warm_ms,
            calls=self.calls,
            ms=self.ms,
        )


def _welch(first: list[float], second: list[float]) -> float:
    """The p-value of Welch's t test."""
    one, other = ((statistics.fmean(times), statistics.stdev(times), len(times)) for times in (first, second))
    _, p = ttest_ind_from_stats(*one, *other, equal_var=False)
    return float(p)


RIVALS = (
    Rival("Olive 10+20", 10, 0, 20, 0, statistics.fmean),
    Rival("ModelOpt 5+10", 5, 0, 10, 0, statistics.median),
    Rival("100+100", 10, 0, 100, 0, statistics.median),
    Rival("trtexec 3 s", 0, 200, 10, 3000, statistics.fmean, own_processes=True, lengthy=True),
)


def by_threshold(figures: Figures) -> Verdict:
    """What a difference of over 2 % is called."""
    ratio = figures.baseline_ms / figures.variant_ms
    if ratio > THRESHOLD:
        return "faster"
    return "slower" if ratio < 1 / THRESHOLD else "undecided"


def by_welch(figures: Figures) -> Verdict:
    """What a difference is called that Welch's t test at 5 % takes for one."""
    if figures.p >= 0.05:
        return "undecided"
    return "faster" if figures.baseline_ms > figures.variant_ms else "slower"


@dataclass(frozen=True)
class Rule:
    """A row of the table: a rival's figures and how they are read."""

    label: str
    rival: str
    verdict: Callable[[Figures], Verdict]


RULES = (
    Rule("Olive: mean of 20, over 2 %", "Olive 10+20", by_threshold),
    Rule("ModelOpt: median of 10, over 2 %", "ModelOpt 5+10", by_threshold),
    Rule("100 + 100: medians, over 2 %", "100+100", by_threshold),
    Rule("100 + 100: Welch's t test", "100+100", by_welch),
    Rule("trtexec: 3 s each, over 2 %", "trtexec 3 s", by_threshold),
)
