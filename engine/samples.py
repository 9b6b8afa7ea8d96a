"""Chosen samples of a data set, in the batches that a model takes: one at a time unless its batch axis is fixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..contract.measures import TensorInfo
from .data.dataset import Dataset
from .measure.accuracy import batch_size


def evenly(size: int, count: int) -> list[int]:
    """Up to `count` different indices below `size`, from the first to the last at equal distances."""
    return np.linspace(0, size - 1, min(size, count)).astype(int).tolist()


def whole_batches(indices: Sequence[int], size: int) -> list[list[int]]:
    """The indices in batches of exactly `size`; a last one that falls short is filled up from the beginning."""
    count = -(-len(indices) // size)
    return np.resize(np.asarray(indices, dtype=np.int64), (count, size)).tolist()


def batches(dataset: Dataset, inputs: list[TensorInfo], indices: Sequence[int]) -> Iterator[dict[str, np.ndarray]]:
    """Feeds for these samples, read as they are asked for."""
    for group in whole_batches(indices, batch_size(inputs)):
        samples = [dataset.feeds(index, index + 1) for index in group]
        yield {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}
