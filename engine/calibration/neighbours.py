"""How far samples lie from one another, and how near is too near: measured on the evaluation set itself.

Simple images (handwritten digits, say) all look alike; what is near for one data set is far for another. So the yardstick
is the distance from each evaluation sample to the nearest other one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sketch import Look, Sketches

# Rows of a matrix of distances that are in memory at a time.
_CHUNK = 256
# Vectors that differ by rounding.
_ZERO = 1e-5


@dataclass(frozen=True)
class Points:
    """n samples in the space of the evaluation set: float64 (n, d). `mirrored`: None where nothing is an image."""

    plain: np.ndarray
    mirrored: np.ndarray | None

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, chosen: slice | np.ndarray) -> Points:
        return Points(self.plain[chosen], None if self.mirrored is None else self.mirrored[chosen])


class Space:
    """Of the evaluation set: its mean is the origin, and its samples are 1 from there in the quadratic mean of each input.

    Columns of a series (features may have any units) are scaled each for itself, those of images and codes together.
    """

    def __init__(self, evaluation: Sketches):
        self._frames = [_frame(look) for look in evaluation.looks]

    def points(self, samples: Sketches) -> Points:
        plain, mirrored = [np.zeros((len(samples.digests), 0))], [np.zeros((len(samples.digests), 0))]
        for look, (mean, scale) in zip(samples.looks, self._frames, strict=True):
            plain.append((np.array(look.vectors) - mean) / scale)
            mirrored.append((np.array(look.mirrored) - mean) / scale if look.mirrored else plain[-1])
        images = any(look.mirrored for look in samples.looks)
        return Points(np.hstack(plain), np.hstack(mirrored) if images else None)


def _frame(look: Look) -> tuple[np.ndarray, np.ndarray]:
    vectors = np.array(look.vectors, np.float64)
    spread = deviation(vectors)
    if look.view.kind == "series":
        spread = spread * np.sqrt(np.count_nonzero(spread))
    else:
        spread = np.full_like(spread, np.linalg.norm(spread))
    return vectors.mean(axis=0), np.where(spread > 0, spread, 1.0)


def deviation(vectors: np.ndarray) -> np.ndarray:
    """The standard deviation of each column; 0 where it is rounding of float32."""
    spread = vectors.std(axis=0)
    return np.where(spread > 1e-6 * np.abs(vectors).max(axis=0, initial=0), spread, 0.0)


@dataclass(frozen=True)
class Yardstick:
    """What the evaluation set says of itself. `within`: the distance from each sample to the nearest other one.

    `close`: the 1 % quantile of these between different samples: one honest sample in a hundred is closer to its nearest
    neighbour. `near`: less than half of it, and as far below it as it is below the median. In d dimensions the share of
    samples with a neighbour within r grows as r^d, so whatever d is, 1 in 5,000 honest samples is so near (1 % * 1 % / 50 %).
    """

    within: np.ndarray
    close: float
    near: float


def yardstick(evaluation: Points) -> Yardstick:
    within = nearest(evaluation, evaluation, itself=True)
    different = within[np.isfinite(within) & (within > _ZERO)]
    close, middle = np.quantile(different, [0.01, 0.5]) if len(different) else (0.0, 1.0)
    return Yardstick(within, float(close), max(_ZERO, float(close * min(0.5, close / middle))))


def nearest(samples: Points, others: Points, *, itself: bool = False) -> np.ndarray:
    """(n,): the distance of each sample, as it is or mirrored, to the nearest of the others. `itself`: they are the same
    set, and no sample is its own neighbour."""
    found = np.full(len(samples), np.inf)
    for start in range(0, len(samples), _CHUNK):
        between = distances(samples[start : start + _CHUNK], others)
        if itself:
            np.fill_diagonal(between[:, start:], np.inf)
        found[start : start + _CHUNK] = between.min(axis=1, initial=np.inf)
    return found


def distances(samples: Points, others: Points) -> np.ndarray:
    """(n, m): Euclidean, of the samples as they are or mirrored, whichever is less; infinite where nothing is compared."""
    if not samples.plain.shape[1]:
        return np.full((len(samples), len(others)), np.inf)
    there = np.sum(others.plain**2, axis=1)
    square = np.full((len(samples), len(others)), np.inf)
    for here in (samples.plain, samples.mirrored):
        if here is not None:
            square = np.minimum(square, np.sum(here**2, axis=1)[:, np.newaxis] + there - 2 * here @ others.plain.T)
    return np.sqrt(np.maximum(square, 0))


def different(samples: Points, near: float) -> int:
    """How many samples remain when each takes those that are near it out of the count."""
    alike = distances(samples, samples) < near
    left = np.ones(len(samples), np.bool_)
    count = 0
    while left.any():
        first = int(np.argmax(left))
        left &= ~alike[first]
        left[first] = False
        count += 1
    return count
