"""Whether images carry the marks of training augmentation: whoever calibrates on those finds the ranges of those."""

from __future__ import annotations

from .finding import Finding, percent
from .sketch import Sketches

# More of the set with fill in its corners than of the evaluation set.
_MORE_FILL = 0.25


def augmentation(samples: Sketches, evaluation: Sketches) -> list[Finding]:
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
