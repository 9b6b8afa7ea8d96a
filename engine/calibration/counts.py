"""How many samples there are, once copies and near copies of one another count as one."""

from __future__ import annotations

import numpy as np

from .finding import Finding, percent
from .neighbours import Yardstick, groups
from .sketch import Sketches

# Of n samples from one source, the largest value is as likely in any of them: the next sample leaves the range that the
# n span with probability 2 / (n + 1), above or below. Under 32 samples that is more than 6 %.
FEWEST = 32
ENOUGH = 200
# Below these shares of samples that are no copy of another.
_PADDED, _COPIED = 0.5, 0.9
# More of the set with fill in its corners than of the evaluation set.
_MORE_FILL = 0.25


def leaves_range(samples: int) -> float:
    """The probability that one more sample leaves the range of this many: order statistics of exchangeable values."""
    return min(1.0, 2 / (samples + 1))


def count(samples: Sketches, rule: Yardstick, size: int, used: int) -> list[Finding]:
    """Whether there are enough different ones. `size`: samples in the set; `used`: those that the step takes."""
    looked_at, different = len(samples.digests), len(np.unique(groups(samples, rule)))
    distinct = len(set(samples.digests))
    found = []
    if different < FEWEST:
        found.append(
            Finding(
                True,
                f"count: too few different samples, {different}; at least {FEWEST} are needed, and {ENOUGH} or more"
                f" recommended. A range found on {different} is left by the next sample with a probability of up to"
                f" {percent(leaves_range(different))} (2 / (n + 1)). Add samples from the source of the evaluation set",
            )
        )
    elif different < ENOUGH:
        found.append(
            Finding(
                False,
                f"count: {different} different samples, {ENOUGH} or more are recommended: a range found on {different} is"
                f" left by the next sample with a probability of up to {percent(leaves_range(different))} (2 / (n + 1))",
            )
        )
    if different < _COPIED * looked_at:
        found.append(
            Finding(
                different < _PADDED * looked_at,
                f"copies: of {looked_at} samples, {different} differ ({looked_at - distinct} are exact copies,"
                f" {distinct - different} near copies: mirrored, recompressed, or with a little noise). Copies add nothing"
                " to a range: give each sample once, without augmentation",
            )
        )
    if min(used, size) < min(FEWEST, size):
        found.append(
            Finding(
                False,
                f"count: the step takes {used} of {size} samples; raise calibration_samples to {min(size, ENOUGH)} or more",
            )
        )
    return found


def fill(samples: Sketches, evaluation: Sketches) -> list[Finding]:
    """Whether images have the constant corners that rotations and shifts leave, and those of the evaluation set have not."""
    if samples.filled - evaluation.filled <= _MORE_FILL:
        return []
    return [
        Finding(
            False,
            f"augmentation: {percent(samples.filled)} of the images have constant corners, {percent(evaluation.filled)} in"
            " the evaluation set. Rotated or shifted training images have ranges of their own: use them as they are",
        )
    ]
