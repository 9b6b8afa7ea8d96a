"""Fewer samples of a data set, from all over it."""

from __future__ import annotations

import numpy as np

from .dataset import Dataset


class Thinned(Dataset):
    """These samples of a set without boxes, in its own order; its labels and rows are numbered anew."""

    def __init__(self, whole: Dataset, samples: np.ndarray):
        self.preprocessing = whole.preprocessing
        self.labels = None if whole.labels is None else whole.labels[samples]
        self.objects = None
        self.ordered_classes = whole.ordered_classes
        self.group = whole.group
        self._whole = whole
        self._rows = (samples[:, None] * whole.group + np.arange(whole.group)).ravel()

    def __len__(self) -> int:
        return len(self._rows)

    def feeds(self, start: int, stop: int) -> dict[str, np.ndarray]:
        rows = [self._whole.feeds(row, row + 1) for row in self._rows[start:stop].tolist()]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def thinned(whole: Dataset, count: int) -> Dataset:
    """The set with `count` samples at most, evenly spread; a set with boxes as it is."""
    if whole.objects is not None or whole.samples <= count:
        return whole
    return Thinned(whole, np.linspace(0, whole.samples - 1, count).astype(np.int64))
