"""Whether calibration samples look like evaluation samples: noise, blur, wrong scaling and foreign data do not.

Each statistic of a sample is compared between the two sets twice. Separation (Cliff's delta, 2 AUC - 1) says whether the
sets as a whole differ; the share outside the evaluation set's own 99 % says whether a part of the set does. Both must
come with a difference that matters: in very uniform data, any two batches can be told apart.

Source: N. Cliff, "Dominance statistics: ordinal analyses to answer ordinal questions", Psychological Bulletin 114 (1993).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv
from scipy.stats import rankdata

from ...contract.text import untrusted
from .finding import Finding, percent
from .neighbours import Distances, Yardstick
from .sketch import LEVEL, SPREAD, Sketches

# A random calibration sample is beyond a random evaluation sample 97 times in 100 (refused), 90 in 100 (told).
_APART, _DIFFERENT = 0.94, 0.8
# Shares of the set that are beyond what 99 % of the evaluation samples span.
_MANY_OUTSIDE, _SOME_OUTSIDE = 0.25, 0.12
# Of one source, the share of samples outside the range of n others is Beta(2, n - 1) distributed, whatever the statistic's
# own distribution is (Wilks 1941, "Determination of sample sizes for setting tolerance limits"): chance ends here.
_SURE = 0.999
# Differences that matter: of a correlation, of a level in standard deviations, of a spread in octaves (a bit of eight
# each), of a distance to the nearest evaluation sample in parts of the usual one. A set that holds more than the
# evaluation set does is no worse for it: a part of it is held against it only where it is plainly broken.
_LEAST = {"correlation": 0.1, LEVEL: 0.5, SPREAD: 1.0, "novelty": 0.12}
_BROKEN = {"correlation": 0.3, LEVEL: 2.0, SPREAD: 2.0, "novelty": math.inf}


@dataclass(frozen=True)
class Contrast:
    """One statistic in both sets, by its medians. `outside`: the share of samples outside the evaluation set's 99 %, less
    what chance may give. `difference`: of the medians; where a part of the set is the reason, of that part's median."""

    kind: str
    what: str
    calibration: float
    evaluation: float
    separation: float
    outside: float
    difference: float

    @property
    def as_a_whole(self) -> bool:
        return abs(self.separation) >= _DIFFERENT

    @property
    def unfit(self) -> bool:
        broken = self.outside >= _MANY_OUTSIDE and abs(self.difference) >= _BROKEN[self.kind]
        return self.notable and (abs(self.separation) >= _APART or broken)

    @property
    def notable(self) -> bool:
        return abs(self.difference) >= _LEAST[self.kind] and (self.as_a_whole or self.outside >= _SOME_OUTSIDE)

    @property
    def weight(self) -> tuple[bool, float, float]:
        return self.unfit, abs(self.separation), self.outside


def resemblance(samples: Sketches, evaluation: Sketches, distances: Distances, rule: Yardstick) -> list[Finding]:
    """One finding at most: the statistics are of the same samples, and they differ together."""
    contrasts = [*_of_values(samples, evaluation), _of_places(distances, rule)]
    strongest: dict[str, Contrast] = {}
    for contrast in sorted((c for c in contrasts if c and c.notable), key=lambda c: c.weight, reverse=True):
        strongest.setdefault(contrast.kind, contrast)
    if not strongest:
        return []
    evidence = "; ".join(_evidence(contrast) for contrast in strongest.values())
    first = next(iter(strongest.values()))
    who = "the samples" if first.as_a_whole else "some samples"
    text = f"{_reading(strongest, who)}: {evidence}. Take samples from the source of the evaluation set"
    return [Finding(first.unfit, text)]


def _of_values(samples: Sketches, evaluation: Sketches) -> list[Contrast | None]:
    common = [key for key in samples.statistics if key in evaluation.statistics]
    several = len({name for name, _ in common}) > 1
    found = []
    for name, statistic in common:
        ours, theirs = samples.statistics[name, statistic], evaluation.statistics[name, statistic]
        of = f" of {untrusted(name)}" if several else ""
        unit = _unit(evaluation, name)
        if statistic == LEVEL:
            found.append(_contrast(LEVEL, f"mean{of} in standard deviations", ours / unit, theirs / unit))
        elif statistic == SPREAD:
            # Octaves; a constant sample is some twenty below the others.
            octaves = (np.log2(np.maximum(values / unit, 1e-6)) for values in (ours, theirs))
            found.append(_contrast(SPREAD, f"standard deviation{of} as a power of two", *octaves))
        else:
            found.append(_contrast("correlation", f"correlation{of} of values {statistic} apart", ours, theirs))
    return found


def _unit(evaluation: Sketches, name: str) -> float:
    """The usual standard deviation in an evaluation sample; where samples are single numbers, that between them."""
    within = float(np.median(evaluation.statistics[name, SPREAD]))
    return max(within, float(np.std(evaluation.statistics[name, LEVEL])), 1e-30)


def _of_places(distances: Distances, rule: Yardstick) -> Contrast | None:
    """Novelty: how far calibration samples are from the nearest evaluation sample. Nearness is leakage's business."""
    usual = float(np.median(rule.within.plain))
    if not np.isfinite(usual) or usual <= 0:
        return None
    what = "distance to the nearest evaluation sample (1 is usual)"
    found = _contrast("novelty", what, distances.plain / usual, rule.within.plain / usual)
    return found if found is not None and found.difference > 0 else None


def _contrast(kind: str, what: str, ours: np.ndarray, theirs: np.ndarray) -> Contrast | None:
    ours, theirs = ours[np.isfinite(ours)], theirs[np.isfinite(theirs)]
    if len(ours) < 2 or len(theirs) < 2:
        return None
    low, high = np.quantile(theirs, [0.005, 0.995])
    beyond = (ours < low) | (ours > high)
    chance = max(0.01, float(betaincinv(2, len(theirs) - 1, _SURE)))
    middle, usual = float(np.median(ours)), float(np.median(theirs))
    apart = separation(ours, theirs)
    stray = float(np.median(ours[beyond])) if abs(apart) < _DIFFERENT and beyond.any() else middle
    return Contrast(kind, what, middle, usual, apart, max(0.0, float(beyond.mean()) - chance), stray - usual)


def separation(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Cliff's delta: P(ours > theirs) - P(ours < theirs), from -1 to 1."""
    ranks = rankdata(np.concatenate([ours, theirs]))
    n, m = len(ours), len(theirs)
    return float(2 * (ranks[:n].sum() - n * (n + 1) / 2) / (n * m) - 1)


def _evidence(contrast: Contrast) -> str:
    return (
        f"{contrast.what} {contrast.calibration:.2f} in the middle, {contrast.evaluation:.2f} in the evaluation set"
        f" (separation {abs(contrast.separation):.2f} of 1; {percent(contrast.outside)} beyond its 99 %)"
    )


def _reading(strongest: dict[str, Contrast], who: str) -> str:
    """What such differences usually mean."""
    correlated = strongest["correlation"].difference if "correlation" in strongest else 0.0
    if correlated < 0:
        return f"noise: {who} are noisier than those of the evaluation set"
    if LEVEL in strongest or SPREAD in strongest:
        return f"scale: {who} are scaled or shifted otherwise than in the evaluation set (another preprocessing?)"
    if correlated > 0:
        return f"blur: {who} are smoother than those of the evaluation set"
    return f"foreign: {who} resemble none of the evaluation set"
