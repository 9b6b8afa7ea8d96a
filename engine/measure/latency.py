"""What is said of times: a latency's summary and a speedup's verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr

from ...contract.measures import Latency, Speedup
from .statistics import t_quantile

# The least n of which even the largest value bounds the P99 with 95 % confidence: 0.99 ** 299 < 0.05.
P99_NEEDS = 299
# An effect under 1 % is called nothing, however narrow its interval.
LEAST_EFFECT = math.log(1.01)


def summarize(times_ms: Sequence[float]) -> Latency:
    """Mean, percentiles (linear between order statistics) and sample standard deviation of times in milliseconds.

    From 299 times on, `p99` is the upper 95 % confidence bound of the P99, and `p99_is_bound` says so. Below that the
    sample has no such bound, and `p99` is its own percentile.
    """
    times = np.sort(np.asarray(times_ms, dtype=np.float64))
    n = len(times)
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return Latency(
        mean=float(times.mean()),
        p50=float(p50),
        p95=float(p95),
        p99=float(times[bound_rank(n, 0.99) - 1] if n >= P99_NEEDS else p99),
        std=float(times.std(ddof=1)),
        n=n,
        p99_is_bound=n >= P99_NEEDS,
    )


def bound_rank(n: int, p: float, confidence: float = 0.95) -> int:
    """The least k of which the k-th smallest of n independent values is over the p-quantile with this confidence.

    P(X(k) > quantile) = P(Binomial(n, p) < k). Source: G. J. Hahn and W. Q. Meeker, Statistical Intervals (1991), 5.2.3.
    n + 1 where not even the largest is.
    """
    ranks = np.arange(1, n + 1)
    return int(np.searchsorted(bdtr(ranks - 1, n, p), confidence)) + 1


def trimmed_mean(values: Sequence[float], share: float = 0.2) -> float:
    """The mean without the lowest and the highest `share` of the values."""
    cut = int(share * len(values))
    return float(np.mean(np.sort(values)[cut : len(values) - cut]))


def speedup(log_ratios: Sequence[float]) -> Speedup:
    """The speedup of independent processes' logarithms of baseline time / variant time, two at least.

    The interval is Student's, over processes. faster or slower only where all of it is beyond 1 %: two files of one network
    that differ by a needless node measure 1.009, and calling that faster half of the time helps nobody.
    """
    n = len(log_ratios)
    mean = float(np.mean(log_ratios))
    half = t_quantile(0.975, n - 1) * float(np.std(log_ratios, ddof=1)) / math.sqrt(n)
    verdict = "undecided"
    if mean - half > LEAST_EFFECT:
        verdict = "faster"
    elif mean + half < -LEAST_EFFECT:
        verdict = "slower"
    return Speedup(value=math.exp(mean), ci95=(math.exp(mean - half), math.exp(mean + half)), verdict=verdict)


def half_width(effect: Speedup) -> float:
    """Half the width of the speedup's interval, relative to the speedup."""
    low, high = effect.ci95
    return (high - low) / (2 * effect.value)


def is_settled(effect: Speedup) -> bool:
    """Decided, or an effect of under 1 %: more processes would not change what is said of it."""
    return effect.verdict != "undecided" or abs(math.log(effect.value)) <= LEAST_EFFECT
