"""Whether two models compute the same: for conversions that claim to be exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.dataset import Dataset
from ..runtimes.base import Runner
from .accuracy import Report, inferences

# Of the largest output: float32 arithmetic in another order differs by 1e-7 to 1e-5, a changed computation by far more.
BOUND = 1e-4


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference between outputs on any sample, and the baseline's largest absolute output."""

    largest: float
    scale: float

    @property
    def within_bound(self) -> bool:
        return self.largest <= BOUND * self.scale


def difference(baseline: Runner, variant: Runner, dataset: Dataset, report: Report) -> Difference:
    """Runs both models on every sample and compares all outputs in their order; NaN or a missing output differs infinitely."""
    largest = scale = 0.0
    pairs = zip(inferences(baseline, dataset, report), inferences(variant, dataset, _silent), strict=True)
    for (_, _, before), (_, _, now) in pairs:
        if [values.shape for values in before.values()] != [values.shape for values in now.values()] or not before:
            return Difference(largest=np.inf, scale=scale)
        for old, new in zip(before.values(), now.values(), strict=True):
            gap = np.abs(new.astype(np.float64) - old.astype(np.float64))
            largest = max(largest, float(np.max(gap)) if np.isfinite(gap).all() else np.inf)
            scale = max(scale, float(np.max(np.abs(old.astype(np.float64)))))
    return Difference(largest=largest, scale=scale)


def _silent(done: float, message: str) -> None:
    """The other of the two models reports the progress of both."""
