"""Whether two models compute the same: for conversions that claim to be exact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..data.dataset import Dataset
from ..runtimes.runner import Runner
from .accuracy import Arrays, Report, inferences

# Of the largest output: float32 arithmetic in another order differs by 1e-7 to 1e-5, a changed computation by far more.
BOUND = 1e-4


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference of an output on any sample, and the baseline's largest absolute value of it; of the
    output in which that is the larger share."""

    largest: float
    scale: float

    def share(self) -> float:
        """The difference as a share of the scale."""
        return 0.0 if self.largest == 0 else np.inf if self.scale == 0 else self.largest / self.scale

    def with_more(self, old: np.ndarray, new: np.ndarray) -> Difference:
        """This and the difference of two arrays of one shape; NaN differs infinitely."""
        if not old.size:
            return self
        old, new = old.astype(np.float64), new.astype(np.float64)
        gap = np.abs(new - old)
        largest = float(np.max(gap)) if np.isfinite(gap).all() else np.inf
        return Difference(max(self.largest, largest), max(self.scale, float(np.max(np.abs(old)))))

    @property
    def within_bound(self) -> bool:
        return self.largest < np.inf and self.largest <= BOUND * self.scale


def difference(baseline: Runner, variant: Runner, dataset: Dataset, report: Report) -> Difference:
    """Runs both models on every sample and compares all outputs in their order; NaN or a missing output differs infinitely."""
    by_output: dict[int, Difference] = {}
    pairs = zip(_outputs(baseline, dataset, report), _outputs(variant, dataset, _silent), strict=True)
    for before, now in pairs:
        if [values.shape for values in before.values()] != [values.shape for values in now.values()] or not before:
            return Difference(largest=np.inf, scale=0.0)
        for place, (old, new) in enumerate(zip(before.values(), now.values(), strict=True)):
            by_output[place] = by_output.get(place, Difference(0.0, 0.0)).with_more(old, new)
    return max(by_output.values(), key=Difference.share, default=Difference(0.0, 0.0))


def _outputs(runner: Runner, dataset: Dataset, report: Report) -> Iterator[Arrays]:
    for _, _, inferred in inferences(runner, dataset, report):
        yield from inferred.parts


def _silent(done: float, message: str) -> None:
    """The other of the two models reports the progress of both."""
