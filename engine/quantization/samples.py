"""Calibration samples as a model itself is fed: by its own names, axes and types, whatever the session's are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...contract.measures import Interface
from ..data.dataset import Dataset
from ..runtimes.runner import Runner, open_runner
from ..samples import batches

Feeds = dict[str, np.ndarray]
# Of the choice of samples: fixed, so that the same step makes the same file.
_SEED = 0


class Samples:
    """Of a calibration set, for one model. They are read as they are asked for, each time anew."""

    def __init__(self, dataset: Dataset, runner: Runner):
        self._dataset = dataset
        self._runner = runner

    @classmethod
    def open(cls, dataset: Dataset, parent: Path, interface: Interface) -> Samples:
        """JobProblem where the parent does not load or cannot be fed so (`open_runner`)."""
        return cls(dataset, open_runner(parent, interface=interface))

    def __len__(self) -> int:
        return len(self._dataset)

    def feeds(self, indices: Sequence[int]) -> Iterator[Feeds]:
        """One inference each; where the model's batch is fixed, of several samples."""
        for fed in batches(self._dataset, self._runner.inputs, indices):
            yield self._runner.native(fed)


def spread(size: int, count: int) -> list[int]:
    """`count` different indices below `size` (all, where there are fewer): one at random from each of `count` equal
    stretches, so that a set sorted by class gives samples of every class."""
    count = min(size, count)
    edges = np.arange(count + 1) * size // count
    return np.random.default_rng(_SEED).integers(edges[:-1], edges[1:]).tolist()
