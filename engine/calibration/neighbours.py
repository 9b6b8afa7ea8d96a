"""How far samples lie from one another, and how near is too near: measured on the evaluation set itself.

Simple images (handwritten digits, say) all look alike; what is near for one data set is far for another. So the yardstick
is the distance from each evaluation sample to the nearest other one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .sketch import Sketches

# Rows of a matrix of similarities that are in memory at a time.
_CHUNK = 256
# Identical embeddings, up to float32 rounding of 2 - 2 cos.
_ZERO = 2e-3


@dataclass(frozen=True)
class Distances:
    """Of n samples to their nearest neighbours: as they are, and mirrored (all infinite where nothing is an image)."""

    plain: np.ndarray
    mirrored: np.ndarray


@dataclass(frozen=True)
class Yardstick:
    """What the evaluation set says of itself: `within` are its own leave-one-out distances.

    `close`: the 1 % quantile of the distances between different samples: one honest sample in a hundred is closer to its
    nearest neighbour. `near`: half of it, in both views: no honest sample is expected there, whatever the data are.
    """

    within: Distances
    close: float
    near: float
    near_mirrored: float

    def is_near(self, distances: Distances) -> np.ndarray:
        return (distances.plain < self.near) | (distances.mirrored < self.near_mirrored)

    def is_close(self, distances: Distances) -> np.ndarray:
        return distances.plain < self.close


def yardstick(evaluation: Sketches) -> Yardstick:
    within = nearest(evaluation, None)
    close, close_mirrored = _quantile(within.plain), _quantile(within.mirrored)
    return Yardstick(within, close, max(_ZERO, close / 2), close_mirrored / 2)


def _quantile(distances: np.ndarray) -> float:
    """The 1 % quantile over samples without a twin; 0 where there is none."""
    different = distances[np.isfinite(distances) & (distances > _ZERO)]
    return float(np.quantile(different, 0.01)) if len(different) else 0.0


def nearest(samples: Sketches, others: Sketches | None) -> Distances:
    """The Euclidean distance of each sample's embedding to the nearest of the others'; None: of the same set."""
    there, same = (samples if others is None else others).embedding, others is None
    plain = _nearest(samples.embedding, there, same)
    if samples.mirror is None:
        return Distances(plain, np.full(len(plain), np.inf))
    return Distances(plain, _nearest(samples.embedding[:, samples.mirror], there, same))


def _nearest(some: np.ndarray, others: np.ndarray, same: bool) -> np.ndarray:
    """Infinite where a row, or every other row, is constant: such samples are compared by their digests."""
    found = np.full(len(some), np.inf)
    if not some.shape[1]:
        return found
    usable = others.any(axis=1)
    for start in range(0, len(some), _CHUNK):
        rows = some[start : start + _CHUNK]
        alike = rows @ others.T
        alike[:, ~usable] = -np.inf
        if same:
            alike[np.arange(len(rows)), start + np.arange(len(rows))] = -np.inf
        best = np.sqrt(np.maximum(2 - 2 * alike.max(axis=1, initial=-np.inf), 0))
        found[start : start + _CHUNK] = np.where(rows.any(axis=1), best, np.inf)
    return found


def groups(samples: Sketches, rule: Yardstick) -> np.ndarray:
    """A number for each sample, the same for samples that are identical or near: connected components."""
    first = {digest: index for index, digest in reversed(list(enumerate(samples.digests)))}
    group = np.array([first[digest] for digest in samples.digests])
    views = [(samples.embedding, rule.near)]
    if samples.mirror is not None:
        views.append((samples.embedding[:, samples.mirror], rule.near_mirrored))
    for view, near in views:
        # Merged chunk by chunk: where all samples are alike, all pairs at once would not fit.
        for start in range(0, len(view), _CHUNK):
            alike = view[start : start + _CHUNK] @ samples.embedding.T
            rows, columns = np.nonzero(2 - 2 * alike < near**2)
            group = _merged(group, rows + start, columns)
    return group


def _merged(group: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The groups after these pairs of samples were put together."""
    joined = np.ones(len(rows), np.bool_), (group[rows], group[columns])
    _, component = connected_components(coo_array(joined, shape=(len(group), len(group))), directed=False)
    return component[group]
