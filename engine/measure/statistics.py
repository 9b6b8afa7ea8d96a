"""Intervals and tests behind the verdicts: small closed forms on scipy.special, each with its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.special import bdtrc, gammaln, ndtri, stdtrit, xlog1py, xlogy

Interval = tuple[float, float]

# Points at which the exact test looks for the worst rate of gains.
_RATES = 64

# Asking for more labelled samples than this settles nothing in practice.
MOST_SAMPLES = 100_000
_POWER = 0.9

# Indices of a bootstrap that lie in memory at once.
_BLOCK = 500_000


def z_quantile(p: float) -> float:
    """Quantile of the standard normal distribution."""
    return float(ndtri(p))


def t_quantile(p: float, df: float) -> float:
    """Quantile of Student's t distribution with `df` degrees of freedom."""
    return float(stdtrit(df, p))


def wilson(k: float, n: float, alpha: float = 0.05) -> Interval:
    """Two-sided (1 - alpha) score interval of a proportion of k in n (Wilson 1927). k and n may be effective counts."""
    z = z_quantile(1 - alpha / 2)
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, min(middle - half, p)), min(1.0, max(middle + half, p))


def above_chance(value: float, chance: float, n: int, alpha: float = 0.05) -> bool:
    """Whether a share `value` of n samples right is above `chance`: exact one-sided binomial test at alpha."""
    right = round(value * n)
    return right > 0 and float(bdtrc(right - 1, n, chance)) < alpha


def tango_z(b: int, c: int, n: int, drop: float) -> float:
    """Score statistic of H0: the true drop in the share right equals `drop`, for paired samples.

    b: right before and wrong now; c: wrong before and right now; n: all pairs. Rises with the observed drop (b - c) / n.
    The nuisance parameter takes its maximum likelihood under H0, the root of a quadratic. Source: T. Tango, "Equivalence
    test and confidence interval for the difference in proportions for the paired-sample design", Statistics in
    Medicine 17 (1998) 891-908.
    """
    if drop < 0:
        return -tango_z(c, b, n, -drop)
    excess = b - c - n * drop
    variance = n * (2 * _least_likely_gain(b, c, n, drop) + drop * (1 - drop))
    if variance <= 0:
        return 0.0 if excess == 0 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def _least_likely_gain(b: int, c: int, n: int, drop: float) -> float:
    """Maximum likelihood of P(wrong before, right now) where the drop is `drop` >= 0 (Tango 1998)."""
    linear = -b - c + (2 * n - b + c) * drop
    root = math.sqrt(linear * linear + 8 * n * c * drop * (1 - drop))
    # The two forms of one root: each is exact where the other subtracts nearly equal numbers.
    if linear <= 0:
        return (root - linear) / (4 * n)
    return 2 * c * drop * (1 - drop) / (root + linear)


def tango_interval(b: int, c: int, n: int, alpha: float = 0.05) -> Interval:
    """Two-sided (1 - alpha) interval of the true drop: the values that the score test does not reject."""
    z = z_quantile(1 - alpha / 2)
    low = _crossing(lambda drop: tango_z(b, c, n, drop) - z)
    high = _crossing(lambda drop: tango_z(b, c, n, drop) + z)
    return low, high


def _crossing(falling: Callable[[float], float]) -> float:
    """Where a falling function on [-1, 1] crosses zero, by bisection; the nearer end where it does not."""
    low, high = -1.0, 1.0
    if falling(low) <= 0:
        return low
    if falling(high) >= 0:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > 0 else (low, middle)
    return (low + high) / 2


def drop_below(b: int, c: int, n: int, margin: float, alpha: float) -> bool:
    """Whether the drop is proven smaller than the margin: one-sided score test of H0 drop >= margin."""
    return tango_z(b, c, n, margin) <= -z_quantile(1 - alpha)


def drop_above(b: int, c: int, n: int, margin: float, alpha: float) -> bool:
    """Whether the drop is proven larger than the margin: one-sided score test of H0 drop <= margin."""
    return tango_z(b, c, n, margin) >= z_quantile(1 - alpha)


def exact_p_above(b: int, c: int, n: int, margin: float) -> float:
    """p-value of H0: the true drop is at most `margin` (from 0 to below 1), exact for every n and however small it gets.

    The probability of a score statistic (`tango_z`) as large as the seen one, at the rate of gains where that is largest.
    The largest drop of H0 is its worst case, because the statistic rises with b and falls with c. Source: K. Sidik, "Exact
    unconditional tests for testing non-inferiority in matched-pairs design", Statistics in Medicine 22 (2003) 265-278.
    """
    seen = tango_z(b, c, n, margin)
    if seen <= 0:
        return 1.0
    discordant = np.arange(n + 1)
    least = _least_lost(seen, n, margin)
    most = (1 - margin) / 2
    gains = np.concatenate([[0.0], np.geomspace(min(1e-3 / n, most / 2), most, _RATES)])[:, np.newaxis]
    share = np.minimum(2 * gains + margin, 1.0)
    chances = (
        gammaln(n + 1) - gammaln(discordant + 1) - gammaln(n - discordant + 1)
        + xlogy(discordant, share) + xlog1py(n - discordant, -share)
    )  # fmt: skip
    lost = np.divide(gains + margin, share, out=np.ones_like(share), where=share > 0)
    tails = np.sum(np.exp(chances) * bdtrc(least - 1, discordant, lost), axis=1)
    return min(1.0, float(tails.max()))


def _least_lost(z: float, n: int, margin: float) -> np.ndarray:
    """For each number of discordant pairs from 0 to n, the smallest b that gives a statistic of at least z; one more than
    that number where none does. One pair more raises it by at most one."""
    least = np.zeros(n + 1, np.int64)
    b = 0
    for discordant in range(n + 1):
        while b <= discordant and tango_z(b, discordant - b, n, margin) < z:
            b += 1
        least[discordant] = b
    return least


def holm(p_values: Sequence[float], alpha: float) -> list[bool]:
    """Which hypotheses are rejected so that any wrong rejection among them has a chance of at most alpha.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979) 65-70.
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def samples_to_settle(z: float, n: int, alpha: float) -> int | None:
    """Samples in all with which a one-sided test at alpha decides with 90 % power, if the true rates are those seen.

    `z` is the statistic that n samples gave; for fixed rates it grows with the root of n. None where that is more than
    `MOST_SAMPLES` (the true drop may lie at the margin itself, where no number is enough).
    """
    if z == 0:
        return None
    needed = n * ((z_quantile(1 - alpha) + z_quantile(_POWER)) / abs(z)) ** 2
    return math.ceil(needed) if needed <= MOST_SAMPLES else None


def fewest_for_proof(margin: float, alpha: float) -> int:
    """The number of pairs below which not even identical decisions prove a drop smaller than the margin."""
    z = z_quantile(1 - alpha)
    return math.ceil(z * z * (1 - margin) / margin)


def bootstrap(statistic: Callable[[np.ndarray], float], n: int, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """The statistic of `resamples` draws of n indices with replacement (Efron 1979), the same draws for the same seed.

    Paired: the caller applies one draw of indices to both models. Returns float64 (resamples,).
    """
    return np.array([statistic(index) for block in drawn(n, resamples, seed) for index in block])


def drawn(n: int, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """The draws of `bootstrap`, in blocks: int64 (draws, n)."""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // n)
    for first in range(0, resamples, block):
        yield rng.integers(0, n, (min(block, resamples - first), n))
