"""What a model made of a data set, sample by sample, so that two models can be compared in pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...contract.evaluation import CORRECT_OR_WRONG
from ...contract.measures import Accuracy
from . import metrics
from .statistics import above_chance, bootstrap, wilson

Statistic = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Outcomes:
    """What a model made of every sample.

    labels, decisions: int64 (samples,) class numbers, or float64 (samples, values) for rmse and mae.
    correct: bool (samples,), for rmse and mae empty. lead: the decided class's score over the runner-up's, likewise.
    finite: bool (samples,), False where an output was NaN or infinite (such a sample counts as wrong, its class is -1).
    unique: int64, the first sample of each group of exact duplicates, by what the model was fed and the label.
    chance: the value that decisions unrelated to the labels would get (for rmse and mae: the best constant).
    """

    metric: str
    labels: np.ndarray
    decisions: np.ndarray
    correct: np.ndarray
    lead: np.ndarray
    finite: np.ndarray
    unique: np.ndarray
    varies: bool
    chance: float

    def __len__(self) -> int:
        return len(self.labels)

    def statistic(self) -> Statistic:
        """The metric of the samples with the given indices (with repeats, as a bootstrap draws them)."""
        if self.metric in CORRECT_OR_WRONG:
            return lambda index: float(np.mean(self.correct[index]))
        if self.metric == "f1_macro":
            return lambda index: metrics.f1_macro(self.labels[index], self.decisions[index])
        per_sample = metrics.errors(self.metric, self.labels, self.decisions)
        return lambda index: metrics.of_errors(self.metric, per_sample[index])

    def value(self) -> float:
        """The metric over all samples."""
        return self.statistic()(np.arange(len(self)))

    def accuracy(self) -> Accuracy:
        """The value over all samples; its 95 % interval counts exact duplicates once.

        Wilson's interval for top1 and top5, a percentile bootstrap (fixed seed) for the others.
        """
        value = self.value()
        if self.metric in CORRECT_OR_WRONG:
            interval = wilson(value * len(self.unique), len(self.unique))
        else:
            statistic = self.statistic()
            draws = bootstrap(lambda index: statistic(self.unique[index]), len(self.unique))
            low, high = np.quantile(draws, [0.025, 0.975])
            interval = (min(float(low), value), max(float(high), value))
        return Accuracy(metric=self.metric, value=value, n=len(self), ci95=interval)

    def implausible(self) -> str | None:
        """Why this cannot be the baseline of a trained model, usually for wrong preprocessing; None where it can."""
        if not self.finite.all():
            return f"{int((~self.finite).sum())} of {len(self)} samples give NaN or infinite outputs"
        if not self.varies and len(self.unique) > 1:
            return "the outputs are the same for every sample"
        value = self.value()
        if self.metric in metrics.REGRESSION:
            return self._implausible_error(value)
        share = value if self.metric in CORRECT_OR_WRONG else float(np.mean(self.correct))
        if above_chance(share, self.chance, len(self.unique)):
            return None
        return (
            f"{share:.1%} of {len(self.unique)} different samples are right, which is not above chance ({self.chance:.1%}"
            " for decisions that have nothing to do with the labels)"
        )

    def _implausible_error(self, value: float) -> str | None:
        if value == 0:
            return f"{self.metric} is exactly 0: the labels are the model's own outputs, not measured values"
        if value >= self.chance:
            return f"{self.metric} is {value:.4g}, no better than guessing one constant ({self.chance:.4g})"
        return None

    def save(self, path: Path) -> None:
        """Writes an .npz that `load` reads back."""
        with path.open("wb") as file:
            np.savez(file, **asdict(self))

    @classmethod
    def load(cls, path: Path) -> Outcomes:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        scalars = {name: arrays.pop(name).item() for name in ("metric", "varies", "chance")}
        return cls(**arrays, **scalars)
