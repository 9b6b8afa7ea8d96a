"""Whether the ranges found on the calibration set are settled, and whether they hold for the evaluation set's inputs."""

from __future__ import annotations

import numpy as np

from .finding import Finding, percent
from .probe import Seen

# Evaluation samples that leave the calibrated range by more than this share of its width are clipped badly.
_FAR = 0.5
# Of the evaluation samples: refused, told, in the mean over the tensors; refused, of an input.
_CLIPPED, _CLIPPED_LITTLE, _INPUTS_CLIPPED = 0.10, 0.02, 0.5
# Octaves by which the typical calibration sample is too wide; each costs one of eight bits: refused, told.
_TOO_WIDE, _TOO_WIDE_LITTLE = 2.0, 1.0
# A scale that still moves this much with the last half of the samples is not settled.
_UNSETTLED = 0.05
_SMALL, _SUBSETS, _SEED = 64, 16, 0


def ranges(ours: Seen, theirs: Seen) -> list[Finding]:
    """`ours`: the model on calibration samples; `theirs`: on evaluation samples."""
    finite = np.isfinite(ours.ranges).all(axis=(0, 2)) & np.isfinite(theirs.ranges).all(axis=(0, 2))
    varies = finite & (_width(ours.ranges) > 0) & (_width(theirs.ranges) > 0)
    if not varies.any() or len(ours.ranges) < 2:
        return []
    a, b = ours.ranges[:, varies], theirs.ranges[:, varies]
    inputs = int(np.count_nonzero(varies[: ours.inputs]))
    return [*_clipping(a, b, inputs), *_excess(a, b, inputs), _sufficiency(a)]


def _clipping(a: np.ndarray, b: np.ndarray, inputs: int) -> list[Finding]:
    """The tensors that are the model's inputs come first."""
    low, high, far = a[..., 0].min(axis=0), a[..., 1].max(axis=0), _FAR * _width(a)
    shares = np.mean((b[..., 1] > high + far) | (b[..., 0] < low - far), axis=0)
    share, of_inputs = float(shares.mean()), float(shares[:inputs].max(initial=0))
    chance = 2 / (len(a) + 1)  # of heavy-tailed values, whose extremes lie far apart
    unfit = share >= _CLIPPED + chance or of_inputs >= _INPUTS_CLIPPED
    if not unfit and share < _CLIPPED_LITTLE + chance:
        return []
    return [
        Finding(
            unfit,
            f"ranges: {percent(share)} of the evaluation samples leave the calibrated range of a tensor by more than half"
            f" its width, in the mean over {a.shape[1]} tensors ({percent(_CLIPPED + chance)} are refused), and"
            f" {percent(of_inputs)} that of an input ({percent(_INPUTS_CLIPPED)} are refused): they would be clipped. Are"
            " the samples scaled as the evaluation set's are? Take them from its source",
        )
    ]


def _excess(a: np.ndarray, b: np.ndarray, inputs: int) -> list[Finding]:
    """Too wide: where the typical sample is as well, the set is at fault; where a few samples are, they may be right."""
    widest = np.log2(_width(a) / _width(b))
    typical = np.minimum(widest, np.log2(_typical(a) / _typical(b)))
    middle, by_few = float(np.median(typical)), float(np.median(widest))
    of_inputs = float(typical[:inputs].max(initial=0))
    if max(middle, of_inputs) >= _TOO_WIDE_LITTLE:
        text = (
            f"the typical sample spans {2**middle:.3g} times what the typical evaluation sample does (middle of"
            f" {a.shape[1]} tensors; {2**of_inputs:.3g} times for an input; {2**_TOO_WIDE:.3g} is refused): each doubling"
            " costs one of 8 bits. Are the samples scaled as the evaluation set's are? Take them from its source"
        )
    elif by_few >= _TOO_WIDE_LITTLE:
        text = (
            f"a few samples make the ranges {2**by_few:.3g} times as wide as those of the evaluation set (middle of"
            f" {a.shape[1]} tensors), which costs {by_few:.1f} of 8 bits: are they mistakes?"
        )
    else:
        return []
    return [Finding(max(middle, of_inputs) >= _TOO_WIDE, f"ranges: {text}")]


def _width(values: np.ndarray) -> np.ndarray:
    """What the scale of each tensor is proportional to: its range with 0 in it. (inferences, tensors, 2) to (tensors,)."""
    return _spans(values.max(axis=0)[..., 1], values.min(axis=0)[..., 0])


def _typical(values: np.ndarray) -> np.ndarray:
    """The same of each inference alone, the middle one: (tensors,)."""
    return np.maximum(np.median(_spans(values[..., 1], values[..., 0]), axis=0), 1e-30)


def _spans(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    return np.maximum(high, 0) - np.minimum(low, 0)


def _sufficiency(a: np.ndarray) -> Finding:
    """Never a reason to refuse: what is used is used, and validation measures what came of it."""
    sizes = [_SMALL, len(a)] if len(a) > _SMALL else [len(a)]
    moved = [_movement(a, size) for size in sizes]
    steps = ", ".join(
        f"with {size} {'samples the scales still move ' if at == 0 else ''}{percent(share)}"
        for at, (size, share) in enumerate(zip(sizes, moved, strict=True))
    )
    end = ". More samples would move them further" if moved[-1] > _UNSETTLED else ""
    return Finding(False, f"ranges: {steps} (by the second half of them; median of {a.shape[1]} tensors){end}")


def _movement(values: np.ndarray, samples: int) -> float:
    """By how much the second half of `samples` moves the scale of the middle tensor: mean over random subsets."""
    rng = np.random.default_rng(_SEED)
    moved = []
    for _ in range(_SUBSETS):
        chosen = values[rng.permutation(len(values))[:samples]]
        moved.append(np.median(1 - _width(chosen[: samples // 2]) / np.maximum(_width(chosen), 1e-30)))
    return float(np.mean(moved))
