"""Whether the ranges found on the calibration set are settled, and whether they hold for the evaluation set's inputs."""

from __future__ import annotations

import numpy as np

from .counts import leaves_range
from .finding import Finding, percent
from .probe import Seen

# A value this far outside a range, as a share of its width, is clipped by 32 of 256 steps.
_FAR = 1 / 8
# Evaluation samples so far outside the range of the typical tensor: refused, told; and at least as multiples of the chance
# of being outside at all.
_CLIPPED, _CHANCES = (0.10, 0.02), (1.0, 0.5)
# Octaves by which the typical range is too wide; each costs one of eight bits: refused, told.
_TOO_WIDE = (2.0, 1.0)
# A scale that still moves this much with the second half of the samples is not settled.
_UNSETTLED = 0.05
_SMALL, _SUBSETS, _SEED = 64, 16, 0


def ranges(ours: Seen, theirs: Seen) -> list[Finding]:
    """`ours`: the model on calibration samples; `theirs`: on evaluation samples."""
    finite = np.isfinite(ours.ranges).all(axis=(0, 2)) & np.isfinite(theirs.ranges).all(axis=(0, 2))
    a, b = ours.ranges[:, finite], theirs.ranges[:, finite]
    varies = (width(a) > 0) & (width(b) > 0)
    a, b = a[:, varies], b[:, varies]
    if not a.shape[1] or len(a) < 2:
        return []
    return [*_clipping(a, b), *_width(a, b), _sufficiency(a)]


def width(values: np.ndarray) -> np.ndarray:
    """What the scale of each tensor is proportional to: its range with 0 in it. (inferences, tensors, 2) to (tensors,)."""
    return np.maximum(values[..., 1].max(axis=0), 0) - np.minimum(values[..., 0].min(axis=0), 0)


def outside(a: np.ndarray, b: np.ndarray) -> float:
    """The share of the samples of `b` that leave the range of `a` by far, on average over the tensors."""
    low, high, far = a[..., 0].min(axis=0), a[..., 1].max(axis=0), _FAR * width(a)
    return float(np.mean((b[..., 1] > high + far) | (b[..., 0] < low - far)))


def _clipping(a: np.ndarray, b: np.ndarray) -> list[Finding]:
    share, chance = outside(a, b), leaves_range(len(a))
    refused, told = (share >= max(limit, times * chance) for limit, times in zip(_CLIPPED, _CHANCES, strict=True))
    if not told:
        return []
    return [
        Finding(
            refused,
            f"ranges: {percent(share)} of the evaluation inputs leave the calibrated range of a tensor by more than an"
            f" eighth of its width (mean over {a.shape[1]} tensors; at most {percent(chance)} would be chance for {len(a)}"
            f" samples, {percent(_CLIPPED[0])} are tolerated): they would be clipped. Take samples from the source of the"
            " evaluation set, which hold what the model will see",
        )
    ]


def _width(a: np.ndarray, b: np.ndarray) -> list[Finding]:
    octaves = float(np.median(np.log2(width(a) / width(b))))
    if octaves < _TOO_WIDE[1]:
        return []
    return [
        Finding(
            octaves >= _TOO_WIDE[0],
            f"ranges: the calibrated range of the middle tensor is {2**octaves:.3g} times that of the evaluation inputs:"
            f" {octaves:.1f} of 8 bits are lost. Look for samples with another scaling, or for a few with huge values",
        )
    ]


def movement(values: np.ndarray, samples: int) -> float:
    """By how much the second half of `samples` moves the scale of the middle tensor: mean over random nested subsets."""
    rng = np.random.default_rng(_SEED)
    moved = []
    for _ in range(_SUBSETS):
        chosen = values[rng.permutation(len(values))[:samples]]
        moved.append(np.median(1 - width(chosen[: samples // 2]) / np.maximum(width(chosen), 1e-30)))
    return float(np.mean(moved))


def _sufficiency(a: np.ndarray) -> Finding:
    """Never a reason to refuse: what is used is used, and validation measures what came of it."""
    sizes = [_SMALL, len(a)] if len(a) > _SMALL else [len(a)]
    moved = [movement(a, size) for size in sizes]
    steps = " and ".join(
        f"{percent(share)} from {size // 2} to {size} samples" for size, share in zip(sizes, moved, strict=True)
    )
    end = "; more samples would move them further" if moved[-1] > _UNSETTLED else ""
    return Finding(False, f"ranges: the scale of the middle tensor moves {steps}{end}")
