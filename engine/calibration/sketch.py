"""What the audit keeps of a set: of each sample a digest, a small vector for each input, and how its values hang together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..data.dataset import Dataset
from .views import View

Words = tuple[np.ndarray, np.ndarray]


@dataclass
class Look:
    """n samples of one input: `vectors` and `mirrored` (of the mirrored images) are n rows of d values, `correlations` n
    rows of one value a lag, `words` n pairs: the different codes, and the different pairs of codes."""

    view: View
    vectors: list[np.ndarray] = field(default_factory=list)
    mirrored: list[np.ndarray] = field(default_factory=list)
    correlations: list[list[float]] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)

    @property
    def lagged(self) -> np.ndarray:
        """(lags, n); (0,) where values have no neighbours."""
        return np.array(self.correlations).T

    def add(self, sample: np.ndarray) -> None:
        pooled = self.view.pooled(sample)
        self.vectors.append(pooled.ravel())
        if self.view.kind == "codes":
            self.words.append(self.view.words(sample))
        elif self.view.axes:
            self.correlations.append(self.view.correlations(sample))
        if self.view.kind == "image":
            self.mirrored.append(np.flip(pooled, self.view.axes[-1]).ravel())


@dataclass(frozen=True)
class Sketches:
    """Of n samples: `digests` of all that the model is fed; `looks` at each input; `filled`: the share of images with
    constant corners."""

    digests: list[str]
    looks: list[Look]
    filled: float


def sketch(dataset: Dataset, indices: Sequence[int], looked_at: Sequence[View]) -> Sketches:
    """Of these samples of a set, one after the other. `looked_at`: `views` of the evaluation set, for both sets."""
    digests: list[str] = []
    looks = [Look(view) for view in looked_at]
    filled = 0
    for index in indices:
        feeds = dataset.feeds(index, index + 1)
        digests.append(_digest(feeds))
        for look in looks:
            look.add(feeds[look.view.name][0])
        filled += any(view.has_fill(feeds[view.name][0]) for view in looked_at if view.kind == "image")
    return Sketches(digests, looks, filled / len(digests))


def _digest(feeds: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, values in sorted(feeds.items()):
        digest.update(f"{name}|{values.shape}|{values.dtype.str}|".encode() + values.tobytes())
    return digest.hexdigest()
