"""Whether a variant is proven to lose less than the tolerance: three verdicts from two models' paired outcomes.

Everything here counts exact duplicates among the samples once. The margin is the tolerance, times the baseline's value
on the same samples where it is relative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...contract.evaluation import CORRECT_OR_WRONG, LOWER_IS_BETTER
from .metrics import REGRESSION, errors
from .outcomes import Outcomes
from .statistics import (
    Interval,
    drop_above,
    drop_below,
    fewest_for_proof,
    samples_to_settle,
    tango_interval,
    tango_z,
    z_quantile,
)

Status = Literal["PASS", "FAIL", "INCONCLUSIVE"]

_MOST_RESAMPLES = 20_000
_MOST_TRIED = 1000
# Errors know no bound: a drop that rests on fewer samples than these would be another one with the next large error.
_FEWEST_EFFECTIVE = 10
# Draws that must lie beyond a percentile to place it.
_TAIL = 20


@dataclass(frozen=True)
class Bar:
    """What a variant may lose, and at which one-sided error that is to be proven."""

    tolerance: float
    kind: Literal["relative", "absolute"]
    alpha: float

    def margin(self, baseline: float) -> float:
        """The allowed drop in units of the metric."""
        return self.tolerance * abs(baseline) if self.kind == "relative" else self.tolerance


@dataclass(frozen=True)
class Verdict:
    """`relative_interval` is the two-sided 95 % interval of the relative drop; `samples` the different ones it rests on.

    `samples_needed`: different samples in all that would settle an INCONCLUSIVE, None where no reasonable number would.
    """

    status: Status
    drop: float
    margin: float
    relative_interval: Interval
    samples: int
    samples_needed: int | None
    method: str


def drop(metric: str, baseline: float, variant: float) -> float:
    """What the variant loses, positive when worse, in units of the metric."""
    return variant - baseline if metric in LOWER_IS_BETTER else baseline - variant


def judge(baseline: Outcomes, variant: Outcomes, bar: Bar) -> Verdict:
    """PASS where the drop is proven below the margin, FAIL where it is proven above, else INCONCLUSIVE.

    Tango's paired score test for metrics of right or wrong samples, a paired percentile bootstrap for the others.
    """
    return (
        _by_score_test(baseline, variant, bar)
        if baseline.metric in CORRECT_OR_WRONG
        else _by_bootstrap(baseline, variant, bar)
    )


def _by_score_test(baseline: Outcomes, variant: Outcomes, bar: Bar) -> Verdict:
    before, now = baseline.correct[baseline.unique], variant.correct[baseline.unique]
    n, b, c = len(before), int(np.sum(before & ~now)), int(np.sum(~before & now))
    value = float(np.mean(before))
    margin = min(bar.margin(value), 1.0)
    if drop_below(b, c, n, margin, bar.alpha):
        status: Status = "PASS"
    else:
        status = "FAIL" if drop_above(b, c, n, margin, bar.alpha) else "INCONCLUSIVE"
    low, high = tango_interval(b, c, n)
    return Verdict(
        status=status,
        drop=(b - c) / n,
        margin=margin,
        relative_interval=(low / value, high / value),
        samples=n,
        samples_needed=samples_to_settle(tango_z(b, c, n, margin), n, bar.alpha),
        method=f"Tango's paired score test, {n} samples, {b} lost and {c} won, one-sided alpha {bar.alpha:.2g}",
    )


def _by_bootstrap(baseline: Outcomes, variant: Outcomes, bar: Bar) -> Verdict:
    """A percentile bootstrap sees no change that the samples do not hold: identical decisions on a few samples would
    prove anything, and where a few samples make up the drop, having met one more of them would have changed it. So PASS
    also takes as many samples as the score test would want for a margin of that share, and the sample that hurts most is
    among those that are drawn from once more."""
    value, n = baseline.value_of_unique(), len(baseline.unique)
    margin = bar.margin(value)
    seen = drop(baseline.metric, value, variant.value_of_unique())
    resamples = min(max(2000, math.ceil(_TAIL / bar.alpha)), _MOST_RESAMPLES)
    draws = _paired_draws(baseline, variant, resamples, _worst_sample(baseline, variant))
    share = min(margin / abs(value), 1.0)
    fewest = fewest_for_proof(share, bar.alpha) * n / baseline.rests_on() if share > 0 else math.inf
    fewest = max(fewest, n * _FEWEST_EFFECTIVE / _effective_samples(baseline, variant))
    least, most = _bounds(draws, seen, bar.alpha)
    if n >= fewest and most < margin:
        status: Status = "PASS"
    else:
        status = "FAIL" if least > margin else "INCONCLUSIVE"
    low, high = np.quantile(draws, [0.025, 0.975]) / abs(value)
    return Verdict(
        status=status,
        drop=seen,
        margin=margin,
        relative_interval=(float(low), float(high)),
        samples=n,
        samples_needed=_bootstrap_needs(seen - margin, float(np.std(draws)), n, fewest, bar.alpha),
        method=f"paired bootstrap, {len(draws)} resamples of {n} samples, one-sided alpha {bar.alpha:.2g}",
    )


def _effective_samples(baseline: Outcomes, variant: Outcomes) -> float:
    """How many samples the difference of two regressions rests on: (sum |d|)^2 / sum d^2 of the differences d in what each
    sample adds, which is n where all differ alike and 1 where one alone does (Kish's effective sample size). Infinite for
    metrics in which no single sample can count for much, and where nothing differs."""
    if baseline.metric not in REGRESSION:
        return math.inf
    before, now = (errors(one.metric, one.labels, one.decisions)[baseline.unique] for one in (baseline, variant))
    differences = np.abs(now - before)
    return float(np.sum(differences) ** 2 / np.sum(differences**2)) if differences.any() else math.inf


def _worst_sample(baseline: Outcomes, variant: Outcomes) -> int | None:
    """The sample that raises the drop most where it is counted twice; None where none does, or where user code gives one
    number for all. Of many samples so many are tried, drawn with a fixed seed."""
    if baseline.computed.size:
        return None
    tried = baseline.unique
    if len(tried) > _MOST_TRIED:
        tried = np.random.default_rng(0).choice(tried, _MOST_TRIED, replace=False)
    before, now = baseline.statistic(), variant.statistic()
    seen = drop(baseline.metric, baseline.value_of_unique(), variant.value_of_unique())
    pools = (np.append(baseline.unique, sample) for sample in tried)
    drops = [drop(baseline.metric, before(pool), now(pool)) for pool in pools]
    worst = int(np.argmax(drops))
    return int(tried[worst]) if drops[worst] > seen else None


def _paired_draws(baseline: Outcomes, variant: Outcomes, resamples: int, again: int | None) -> np.ndarray:
    before, now = baseline.draws(resamples, again), variant.draws(resamples, again)
    return now - before if baseline.metric in LOWER_IS_BETTER else before - now


def _bounds(draws: np.ndarray, seen: float, alpha: float) -> Interval:
    """One-sided bounds of the drop at alpha, from below and from above: the draws' percentiles. Where too few draws lie
    beyond those, the normal approximation too, whichever is wider."""
    least, most = (float(bound) for bound in np.quantile(draws, [alpha, 1 - alpha]))
    if len(draws) * alpha >= _TAIL:
        return least, most
    reach = z_quantile(1 - alpha) * float(np.std(draws))
    return min(least, seen - reach), max(most, seen + reach)


def _bootstrap_needs(distance: float, error: float, n: int, fewest: float, alpha: float) -> int | None:
    """As `samples_to_settle`, the distance to the margin taken in standard errors."""
    if math.isinf(fewest):
        return None
    settled = 0 if error == 0 and distance != 0 else samples_to_settle(distance / error if error else 0.0, n, alpha)
    return None if settled is None else max(settled, math.ceil(fewest))
