"""How many samples there are, once copies and near copies of one another count as one."""

from __future__ import annotations

import numpy as np

from .finding import Finding, percent
from .neighbours import Points, different
from .sketch import Sketches

# Of n samples from one source, the largest value is as likely in any of them: the next sample leaves the range that the
# n span with probability 2 / (n + 1), above or below. Under 32 samples that is more than 6 %.
FEWEST = 32
ENOUGH = 200
# Of the different samples among as many evaluation samples: less is refused, less is told.
_COPIED, _REPEATED = 0.4, 0.9
# Samples among which copies are counted.
_AMONG = 500
_SEED = 0

_MEND = f"Add different samples from the source of the evaluation set, {ENOUGH} or more in all"


def count(size: int, used: int) -> list[Finding]:
    """`size`: samples in the set; `used`: those that the step takes."""
    taken = min(size, used)
    risk = f"a range found on {taken} is left by the next sample with a probability of up to {percent(min(1.0, 2 / (taken + 1)))}"
    if size < FEWEST:
        return [Finding(True, f"count: {size} samples, at least {FEWEST} are needed: {risk}. {_MEND}")]
    if size < ENOUGH:
        return [Finding(False, f"count: {size} samples, {ENOUGH} or more are recommended: {risk}")]
    if taken < FEWEST:
        return [
            Finding(False, f"count: the step takes {taken} of {size} samples, and {risk}: raise calibration_samples")
        ]
    return []


def copies(samples: Sketches, evaluation: Sketches, points: tuple[Points, Points], near: float) -> list[Finding]:
    """Whether the samples are copies of a few. Data of few values (yes or no, small whole numbers) repeat by nature, and
    films do nearly: the evaluation set says how much is usual. `points`: of both sets."""
    among = min(_AMONG, *map(len, points))
    ours, theirs = (_differ(*each, near, among) for each in zip((samples, evaluation), points, strict=True))
    if ours[1] >= _REPEATED * theirs[1]:
        return []
    few = len(set(samples.digests)) < ENOUGH and ours[0] < _COPIED * theirs[0]
    unfit = few or ours[1] < min(FEWEST, _COPIED * theirs[1])
    text = (
        f"copies: of {among} samples {ours[0]} differ, and {ours[1]} by more than a mirror image, a recompression or a"
        f" little noise would; in the evaluation set {theirs[0]} and {theirs[1]} of as many. Copies add nothing to a range."
    )
    return [Finding(unfit, f"{text} {_MEND if unfit else 'Give each sample once, without augmentation'}")]


def _differ(samples: Sketches, points: Points, near: float, among: int) -> tuple[int, int]:
    """How many of some samples are no copies of one another, and no near copies."""
    some = np.random.default_rng(_SEED).permutation(len(points))[:among]
    exact = {samples.digests[at]: at for at in some}
    return len(exact), different(points[np.array(list(exact.values()))], near)
