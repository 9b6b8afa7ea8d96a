"""How one input of a model is looked at: as an image, a series or codes; and the small vector that stands for a sample.

Everything is taken from what the model is fed, and from both sets in the same way. Labels are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...contract.measures import TensorInfo

# Distances at which values are compared: fine noise differs from data at the first, coarse noise at the last.
LAGS = (1, 2, 4, 8)

# Values that are left of an axis.
_IMAGE_BINS, _SERIES_BINS, _CODE_BINS = 8, 256, 256
# An axis this short is a list of channels, not a space in which values have neighbours.
_LONG = 8
# Correlations are taken over a window in the middle: more values say nothing new.
_WINDOW = {1: 4096, 2: 96, 3: 32}
# Corners this alike, in the sample's own range, are a fill and not a picture.
_FLAT = 0.01
# What is left of a constant sample without its mean, in float32.
_ROUNDING = 1e-5

_HASH = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class View:
    """`axes`: those along which values have neighbours (of a sample, without the batch axis); `bins`: values left of each.

    image: two axes or more; series: a signal or a list of features, one axis or none; codes: token ids or categories.
    """

    name: str
    kind: Literal["image", "series", "codes"]
    axes: tuple[int, ...] = ()
    bins: tuple[int, ...] = ()

    def pooled(self, sample: np.ndarray) -> np.ndarray:
        """float32: a few means that stand for the sample; of an image without its brightness and contrast. Of codes, which
        of them follow which, hashed."""
        if self.kind == "codes":
            present = np.zeros(_CODE_BINS, np.float32)
            present[(self.words(sample)[1] >> np.uint64(56)).astype(np.int64)] = 1
            return present
        values = np.nan_to_num(sample.astype(np.float32), posinf=0, neginf=0)
        for axis, bins in zip(self.axes, self.bins, strict=True):
            values = _pool(values, axis, bins)
        return _without_contrast(values, self.axes) if self.kind == "image" else values

    def words(self, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The different codes, and the different pairs of a code and the one before it: uint64 hashes."""
        codes = np.concatenate([[0], sample.ravel()]).astype(np.uint64) + np.uint64(1)
        singles, pairs = codes[1:] * _HASH, (codes[1:] * _HASH ^ codes[:-1]) * _HASH
        return np.unique(singles), np.unique(pairs)

    def correlations(self, sample: np.ndarray) -> list[float]:
        """Of values with those 1, 2, 4 and 8 further along the axes; NaN where a sample is constant or too short.

        1 - E[(x(t + lag) - x(t))^2] / (2 var): the semivariogram's form, which is exact at the borders.
        """
        values = self._window(sample).astype(np.float32)
        values = values - values.mean(axis=self.axes, keepdims=True)
        variance = float(np.mean(values**2))
        if not variance > _ROUNDING**2 * float(np.abs(sample).max()) ** 2:
            return [float("nan")] * len(LAGS)
        found = []
        for lag in LAGS:
            ways = [np.moveaxis(values, axis, 0) for axis in self.axes if values.shape[axis] >= 2 * lag]
            moves = [float(np.mean((way[lag:] - way[:-lag]) ** 2)) for way in ways]
            found.append(1 - float(np.mean(moves)) / (2 * variance) if moves else float("nan"))
        return found

    def _window(self, sample: np.ndarray) -> np.ndarray:
        cuts, most = [slice(None)] * sample.ndim, _WINDOW.get(len(self.axes), 16)
        for axis in self.axes:
            start = max(0, (sample.shape[axis] - most) // 2)
            cuts[axis] = slice(start, start + most)
        return sample[tuple(cuts)]

    def has_fill(self, sample: np.ndarray) -> bool:
        """Whether two corners or more of an image are flat and have the same value, as rotations and shifts leave them."""
        image = np.moveaxis(sample.astype(np.float32), self.axes[-2:], (0, 1))
        image = image.reshape(*image.shape[:2], -1)
        high, wide = (max(2, length // 16) for length in image.shape[:2])
        limit = _FLAT * float(np.ptp(image))
        if limit == 0:
            return False  # constant altogether: nothing was filled in
        corners = (image[:high, :wide], image[:high, -wide:], image[-high:, :wide], image[-high:, -wide:])
        flat = [corner.mean(axis=(0, 1)) for corner in corners if np.ptp(corner, axis=(0, 1)).max() <= limit]
        return any(np.abs(one - other).max() <= limit for at, one in enumerate(flat) for other in flat[at + 1 :])


def views(sample: Mapping[str, np.ndarray], inputs: Sequence[TensorInfo]) -> list[View]:
    """How the inputs of this sample (with its batch axis), and so of all, are looked at. Masks of zeros and ones, and
    truth values, are left to the digests."""
    found = []
    for info in inputs:
        values = sample[info.name]
        if values.dtype.kind in "iu" and values.dtype.itemsize >= 4:
            if values.max(initial=0) > 1:
                found.append(View(info.name, "codes"))
        elif values.dtype.kind in "iuf":
            found.append(_numbers(info, values.shape[1:]))
    return found


def _numbers(info: TensorInfo, shape: tuple[int, ...]) -> View:
    free = [length is None for length in info.shape[1:]]
    axes = tuple(axis for axis, length in enumerate(shape) if free[axis] or length >= _LONG)
    if len(axes) > 1:
        return View(info.name, "image", axes, (_IMAGE_BINS,) * len(axes))
    channels = math.prod(length for axis, length in enumerate(shape) if axis not in axes)
    most = max(1, _SERIES_BINS // max(1, channels))
    bins = tuple(most if free[axis] else min(most, shape[axis]) for axis in axes)
    return View(info.name, "series", axes, bins)


def _pool(values: np.ndarray, axis: int, bins: int) -> np.ndarray:
    """Means of `bins` equal stretches, the same from both ends; a shorter axis repeats values, so that samples of any
    length are comparable."""
    edges = np.rint(np.linspace(0, values.shape[axis], bins + 1)).astype(int)
    starts, lengths = np.minimum(edges[:-1], values.shape[axis] - 1), np.maximum(np.diff(edges), 1)
    shape = [-1 if at == axis else 1 for at in range(values.ndim)]
    return np.add.reduceat(values, starts, axis=axis) / lengths.reshape(shape).astype(np.float32)


def _without_contrast(values: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """With the mean 0 in each channel, and the length 1 or, where the image is constant, 0."""
    centred = values - values.mean(axis=axes, keepdims=True)
    length = float(np.linalg.norm(centred))
    return centred / length if length > _ROUNDING * float(np.linalg.norm(values)) else np.zeros_like(centred)
