"""What the audit keeps of each sample: a digest, a small embedding and a few statistics. One pass, constant memory.

Everything is taken from what the model is fed, and from the evaluation set in the same way: no threshold of the audit
stands on its own, each comes from how evaluation samples compare with one another. Labels are not looked at here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...contract.measures import TensorInfo
from ..data.dataset import Dataset

Feeds = dict[str, np.ndarray]

# Distances, in values, at which neighbours are compared: noise differs from data at the first, smooth noise at the last.
LAGS = (1, 2, 4, 8)
SPREAD, LEVEL = "spread", "level"

# Pooled values along each axis of an image, and along the one axis of a signal.
_IMAGE_BINS, _SIGNAL_BINS = 8, 64
_CODE_BINS = 256
# An axis this short is a list of channels, not a space in which values have neighbours.
_LONG = 8
# Correlations are taken over a window in the middle: more values say nothing new.
_WINDOW = {1: 4096, 2: 128, 3: 32}
# Corners this alike, in the sample's own range, are a fill and not a picture.
_FLAT = 0.01

_HASH = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class View:
    """How one input is looked at: as numbers, with the axes along which they have neighbours, or as codes (token ids)."""

    name: str
    codes: bool
    axes: tuple[int, ...] = ()

    @property
    def image(self) -> bool:
        return len(self.axes) == 2


@dataclass(frozen=True)
class Sketches:
    """Of n samples. `embedding` is float32 (n, d), each row of length 1, or 0 where the sample is constant; d may be 0.

    `mirror`: the columns in the order that a mirrored image would have them, None where nothing is an image.
    `statistics`: (n,) by (input, name), NaN where a sample has none. `filled`: share with fill in two corners or more.
    """

    digests: list[bytes]
    embedding: np.ndarray
    mirror: np.ndarray | None
    statistics: dict[tuple[str, str], np.ndarray]
    filled: float


def views(feeds: Feeds, inputs: Sequence[TensorInfo]) -> list[View]:
    """How the inputs of this sample (and so of all) are looked at. Masks of zeros and ones are left to the digests."""
    found = []
    for info in inputs:
        values = feeds[info.name]
        if values.dtype.kind in "iu" and values.dtype.itemsize >= 4:
            if values.max(initial=0) > 1:
                found.append(View(info.name, codes=True))
        elif values.dtype.kind in "iuf" and values.ndim > 1:
            dynamic = {axis for axis, length in enumerate(info.shape) if axis and length is None}
            long = dynamic | {axis for axis in range(1, values.ndim) if values.shape[axis] >= _LONG}
            vector = not dynamic and len(long) == 1 and values[0].size <= _SIGNAL_BINS
            found.append(View(info.name, codes=False, axes=() if vector else tuple(sorted(long))))
    return found


def sketch(dataset: Dataset, indices: Sequence[int], looked_at: Sequence[View]) -> Sketches:
    """Of these samples of a set. `looked_at` is `views` of the evaluation set for both sets."""
    digests: list[bytes] = []
    rows: list[np.ndarray] = []
    filled = 0
    statistics: dict[tuple[str, str], list[float]] = {}
    for index in indices:
        feeds = dataset.feeds(index, index + 1)
        digests.append(_digest(feeds))
        parts = [_embed(feeds[view.name][0], view) for view in looked_at]
        rows.append(
            _unit(np.concatenate([_unit(part.ravel()) for part in parts])) if parts else np.zeros(0, np.float32)
        )
        filled += any(view.image and _has_fill(feeds[view.name][0], view.axes) for view in looked_at)
        for view in looked_at:
            if not view.codes:
                for name, value in _statistics(feeds[view.name][0], view.axes).items():
                    statistics.setdefault((view.name, name), []).append(value)
    return Sketches(
        digests,
        np.stack(rows).astype(np.float32),
        _mirror(looked_at, dataset.feeds(indices[0], indices[0] + 1)),
        {key: np.array(values) for key, values in statistics.items()},
        filled / len(digests),
    )


def _digest(feeds: Feeds) -> bytes:
    digest = hashlib.sha256()
    for name, values in sorted(feeds.items()):
        digest.update(f"{name}|{values.shape}|{values.dtype.str}|".encode() + values.tobytes())
    return digest.digest()


def _embed(sample: np.ndarray, view: View) -> np.ndarray:
    """Numbers: pooled along the axes and without their mean there, so that brightness and contrast do not count.
    Codes: which of them occur, hashed."""
    if view.codes:
        present = np.zeros(_CODE_BINS, np.float32)
        present[(sample.ravel().astype(np.uint64) * _HASH >> np.uint64(56)).astype(np.int64)] = 1
        return present
    pooled = sample.astype(np.float32)
    if not view.axes:
        return pooled
    for axis in view.axes:
        pooled = _pool(pooled, axis - 1, _bins(view))
    centred = pooled - pooled.mean(axis=tuple(axis - 1 for axis in view.axes), keepdims=True)
    # What is left of a constant sample is rounding.
    return centred if np.abs(centred).max() > 1e-5 * np.abs(pooled).max() else np.zeros_like(centred)


def _bins(view: View) -> int:
    return _SIGNAL_BINS if len(view.axes) == 1 else _IMAGE_BINS


def _pool(values: np.ndarray, axis: int, bins: int) -> np.ndarray:
    """Means of `bins` equal stretches; a shorter axis repeats values, so that samples of any length are comparable."""
    edges = np.arange(bins) * values.shape[axis] // bins
    lengths = np.maximum(np.diff(np.append(edges, values.shape[axis])), 1)
    shape = [-1 if at == axis else 1 for at in range(values.ndim)]
    return np.add.reduceat(values, edges, axis=axis) / lengths.reshape(shape).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    """The vector with length 1; a constant sample's stays 0."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector


def _mirror(looked_at: Sequence[View], feeds: Feeds) -> np.ndarray | None:
    if not any(view.image for view in looked_at):
        return None
    columns, start = [], 0
    for view in looked_at:
        embedded = _embed(feeds[view.name][0], view)
        places = np.arange(start, start + embedded.size).reshape(embedded.shape)
        start += embedded.size
        columns.append((np.flip(places, view.axes[-1] - 1) if view.image else places).ravel())
    return np.concatenate(columns)


def _statistics(sample: np.ndarray, axes: Sequence[int]) -> dict[str, float]:
    """Mean, standard deviation, and how much values correlate with those 1, 2, 4 and 8 further along the axes."""
    values = sample.astype(np.float32)
    found = {LEVEL: float(values.mean()), SPREAD: float(values.std())}
    if not axes:
        return found
    within = tuple(axis - 1 for axis in axes)
    values = _window(values, within)
    centred = values - values.mean(axis=within, keepdims=True)
    variance = float(np.mean(centred**2))
    if variance <= 1e-10 * float(np.mean(values**2)):
        return found | {str(lag): float("nan") for lag in LAGS}
    for lag in LAGS:
        ways = [axis for axis in within if values.shape[axis] >= 2 * lag]
        if ways:
            found[str(lag)] = float(np.mean([_correlation(centred, axis, lag, variance) for axis in ways]))
    return found


def _window(values: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    most = _WINDOW.get(len(axes), 16)
    cuts = [slice(None)] * values.ndim
    for axis in axes:
        start = max(0, (values.shape[axis] - most) // 2)
        cuts[axis] = slice(start, start + most)
    return values[tuple(cuts)]


def _correlation(centred: np.ndarray, axis: int, lag: int, variance: float) -> float:
    """1 - E[(x(t + lag) - x(t))^2] / (2 var): the semivariogram's form, which is exact at the borders."""
    moved = np.moveaxis(centred, axis, 0)
    return 1 - float(np.mean((moved[lag:] - moved[:-lag]) ** 2)) / (2 * variance)


def _has_fill(sample: np.ndarray, axes: Sequence[int]) -> bool:
    """Whether two corners or more are flat and have the same value, as rotations and shifts leave them."""
    image = np.moveaxis(sample.astype(np.float32), [axis - 1 for axis in axes], [0, 1])
    image = image.reshape(*image.shape[:2], -1)
    high, wide = (max(2, length // 16) for length in image.shape[:2])
    limit = _FLAT * float(np.ptp(image))
    if limit == 0:
        return False  # constant altogether: nothing was filled in
    corners = (image[:high, :wide], image[:high, -wide:], image[-high:, :wide], image[-high:, -wide:])
    flat = [corner.mean(axis=(0, 1)) for corner in corners if np.ptp(corner, axis=(0, 1)).max() <= limit]
    return any(
        float(np.abs(one - other).max()) <= limit for place, one in enumerate(flat) for other in flat[place + 1 :]
    )
