"""From the distribution of a tensor to the range that its 8 bits cover: what lies outside is clipped.

A narrower range makes the steps finer and clips more. The four rules are the field's:
min-max (nothing is clipped); percentile (a fixed share is); entropy (the clipped and rounded distribution is the nearest by
Kullback and Leibler's divergence: Migacz, "8-bit inference with TensorRT", 2017); MSE (the mean squared error of rounding and
clipping is the least: among others Banner et al., arXiv:1810.05723). Every range lies within the lowest and highest value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .histogram import Histogram
from .schemes import Scheme

Range = tuple[float, float]
Calibrator = Callable[[Histogram, Scheme], Range]

# Of the values, per cent, that lie in the range by `percentile`; ONNX Runtime's default too.
PERCENTILE = 99.999
# Thresholds that are tried: by entropy; by MSE on each side, in each of some rounds.
_CANDIDATES, _GRID, _ROUNDS = 128, 64, 2
# What stands for nothing where a logarithm is taken: a count far below one value.
_NOTHING = 1e-4


def minmax(seen: Histogram, scheme: Scheme) -> Range:
    return seen.lowest, seen.highest


def percentile(seen: Histogram, scheme: Scheme) -> Range:
    """Half of what may be clipped on each side, to the width of a bin."""
    allowed = int(seen.counts.sum() * (100 - PERCENTILE) / 200)
    below = np.cumsum(seen.counts)
    above = below[-1] - below
    first = int(np.searchsorted(below, allowed, side="right"))
    last = int(np.argmax(above <= allowed))
    return _within(seen, (seen.first + first) * seen.width, (seen.first + last + 1) * seen.width)


def entropy(seen: Histogram, scheme: Scheme) -> Range:
    """One threshold for both signs. As TensorRT does, values near 0 count as often as their neighbours: the many zeros
    behind a ReLU are exact in any range and would outweigh all else."""
    sizes = _by_size(seen)
    levels = 128 if seen.lowest < 0 or scheme.symmetric else 256
    if len(sizes) <= levels:
        return minmax(seen, scheme)
    sizes[0] = sizes[1]
    candidates = np.unique(np.linspace(levels, len(sizes), _CANDIDATES).astype(int))
    divergences = [_divergence(sizes, int(kept), levels) for kept in candidates]
    threshold = float(candidates[int(np.argmin(divergences))]) * seen.width
    return _within(seen, -threshold, threshold)


def mse(seen: Histogram, scheme: Scheme) -> Range:
    """Each side in turn, the other held; bins stand for the values in them."""
    filled = np.flatnonzero(seen.counts)
    values, weights = seen.centres[filled], seen.counts[filled].astype(np.float64)
    low, high = min(seen.lowest, 0.0), max(seen.highest, 0.0)
    shares = np.linspace(1.0, 0.02, _GRID)
    if scheme.symmetric:
        most = max(-low, high)
        errors = [_squared_error(values, weights, -most * share, most * share, scheme) for share in shares]
        best = most * float(shares[int(np.argmin(errors))])
        return _within(seen, -best, best)
    lows, highs = [low], [high]
    for _ in range(_ROUNDS):
        errors = [_squared_error(values, weights, lows[-1], high * share, scheme) for share in shares]
        highs.append(high * float(shares[int(np.argmin(errors))]))
        errors = [_squared_error(values, weights, low * share, highs[-1], scheme) for share in shares]
        lows.append(low * float(shares[int(np.argmin(errors))]))
    return _within(seen, lows[-1], highs[-1])


CALIBRATORS: dict[str, Calibrator] = {"minmax": minmax, "percentile": percentile, "entropy": entropy, "mse": mse}


def _within(seen: Histogram, low: float, high: float) -> Range:
    return max(seen.lowest, min(low, seen.highest)), min(seen.highest, max(high, seen.lowest))


def _by_size(seen: Histogram) -> np.ndarray:
    """How many values are of which size, whatever their sign: bins of the same width from 0 on. Empty ends are cut."""
    at = seen.first + np.arange(len(seen.counts))
    size = np.where(at >= 0, at, -at - 1)
    filled = seen.counts > 0
    return np.bincount(size[filled], weights=seen.counts[filled])


def _divergence(sizes: np.ndarray, kept: int, levels: int) -> float:
    """Of the distribution clipped to the first `kept` bins, from what `levels` steps make of it."""
    clipped = sizes[:kept].copy()
    inside = clipped > 0
    edges = np.arange(levels) * kept // levels
    filled = np.add.reduceat(inside.astype(np.float64), edges)
    means = np.add.reduceat(clipped, edges) / np.maximum(filled, 1)
    rounded = np.repeat(means, np.diff(np.append(edges, kept))) * inside
    clipped[-1] += sizes[kept:].sum()
    rounded = np.where((rounded == 0) & (clipped > 0), _NOTHING, rounded)
    p, q = clipped / clipped.sum(), rounded / rounded.sum()
    present = p > 0
    return float(np.sum(p[present] * np.log(p[present] / q[present])))


def _squared_error(values: np.ndarray, weights: np.ndarray, low: float, high: float, scheme: Scheme) -> float:
    """Of quantizing the values to this range and back, as ONNX Runtime chooses scale and zero point."""
    steps = 254 if scheme.symmetric else 255
    scale = (high - low) / steps or 1.0
    zero = np.rint(-low / scale)
    back = (np.clip(np.rint(values / scale) + zero, 0, steps) - zero) * scale
    return float(weights @ (back - values) ** 2)
