"""What a model made of a data set, sample by sample, so that two models can be compared in pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ...contract.evaluation import CORRECT_OR_WRONG, DETECTION
from ...contract.measures import Accuracy
from ..detection.average_precision import average_precision
from . import metrics
from .statistics import above_chance, bootstrap, drawn, wilson, z_quantile

Statistic = Callable[[np.ndarray], float]

# No trained detector finds so little of what it was trained to find.
_LEAST_AP = 0.01


@dataclass(frozen=True)
class Outcomes:
    """What a model made of every sample.

    labels, decisions: int64 (samples,) class numbers, or float64 (samples, values) for rmse and mae. For auc and spearman
    the labels are (samples,) and the decisions (samples, 1): scores, predictions. For custom the labels are as the data
    set has them, and the decisions (samples, 1) what user code gave each sample. For map and map50 the labels are (images,
    categories), the objects to find, and the decisions one row a detection, as `average_precision` takes them.
    correct: bool (samples,), empty but for classes. lead: the decided class's score over the runner-up's, likewise.
    finite: bool (samples,), False where an output was NaN or infinite (such a sample counts as wrong, its class is -1).
    unique: int64, the first sample of each group of exact duplicates, by what the model was fed and the label.
    chance: the value that decisions unrelated to the labels would get (for rmse and mae: the best constant; custom: none).
    computed: only where user code gives one number for many samples: of all samples, of the `unique` ones, and of each
    bootstrap draw of those; then there are no decisions.
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
    computed: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.labels)

    def statistic(self) -> Statistic:
        """The metric of the samples with the given indices (with repeats, as a bootstrap draws them)."""
        if self.metric in CORRECT_OR_WRONG:
            return lambda index: float(np.mean(self.correct[index]))
        if self.metric == "f1_macro":
            return lambda index: metrics.f1_macro(self.labels[index], self.decisions[index])
        if self.metric in metrics.RANKING:
            rank = metrics.auc if self.metric == "auc" else metrics.spearman
            labels = self.labels if self.metric == "auc" else metrics.places(self.labels)
            places = metrics.places(self.decisions[:, 0])
            return lambda index: rank(labels[index], places[index])
        if self.metric in DETECTION:
            return lambda index: float(self._average_precision(index[np.newaxis])[0])
        if self.metric == "custom":
            return lambda index: float(np.mean(self.decisions[index]))
        per_sample = metrics.errors(self.metric, self.labels, self.decisions)
        return lambda index: metrics.of_errors(self.metric, per_sample[index])

    def _average_precision(self, indices: np.ndarray) -> np.ndarray:
        """AP for every row of images, with repeats: (rows,)."""
        weights = [np.bincount(index, minlength=len(self)) for index in indices]
        return average_precision(self.labels, self.decisions, np.array(weights, np.float64))

    def value(self) -> float:
        """The metric over all samples."""
        return float(self.computed[0]) if self.computed.size else self.statistic()(np.arange(len(self)))

    def value_of_unique(self) -> float:
        """The metric over the different samples."""
        return float(self.computed[1]) if self.computed.size else self.statistic()(self.unique)

    def draws(self, resamples: int, again: int | None = None) -> np.ndarray:
        """The metric of bootstrap draws of the different samples: the same draws for every model on the same samples.

        As many as `resamples`; for user code that gives one number as many as were computed, which may be fewer. `again`: a
        sample that is among those that are drawn from once more.
        """
        if self.computed.size:
            return self.computed[2 : 2 + resamples]
        pool = self.unique if again is None else np.append(self.unique, again)
        if self.metric in DETECTION:
            blocks = drawn(len(pool), resamples)
            return np.concatenate([self._average_precision(pool[block]) for block in blocks])
        statistic = self.statistic()
        return bootstrap(lambda index: statistic(pool[index]), len(pool), resamples)

    def rests_on(self) -> int:
        """The number of different samples that the value rests on: for auc those of the rarer class, for map and map50 the
        images that have objects."""
        if self.metric == "auc":
            return int(np.bincount(self.labels[self.unique], minlength=2).min())
        if self.metric in DETECTION:
            return int(np.sum(self.labels[self.unique].any(axis=1)))
        return len(self.unique)

    def accuracy(self) -> Accuracy:
        """The value over all samples; its 95 % interval counts exact duplicates once.

        Wilson's interval for top1 and top5, a percentile bootstrap (fixed seed) for the others.
        """
        value = self.value()
        if self.metric in CORRECT_OR_WRONG:
            interval = wilson(value * len(self.unique), len(self.unique))
        else:
            low, high = np.quantile(self.draws(2000), [0.025, 0.975])
            interval = (min(float(low), value), max(float(high), value))
        return Accuracy(metric=self.metric, value=value, n=len(self), ci95=interval)

    def implausible(self) -> str | None:
        """Why this cannot be the baseline of a trained model, usually for wrong preprocessing; None where it can."""
        if not self.finite.all():
            return f"{int((~self.finite).sum())} of {len(self)} samples give NaN or infinite outputs"
        value = self.value()
        if self.metric in DETECTION and not len(self.decisions):
            return self._implausible_detections(value)
        if not self.varies and len(self.unique) > 1:
            return "the outputs are the same for every sample"
        if self.metric in metrics.REGRESSION:
            return self._implausible_error(value)
        if self.metric in metrics.RANKING:
            return self._implausible_ranking(value)
        if self.metric in DETECTION:
            return self._implausible_detections(value)
        if self.metric == "custom":
            return None  # what chance would give, only its author knows
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

    def _implausible_ranking(self, value: float) -> str | None:
        """The rank statistics' own test of no relation, by their normal approximation at 5 %."""
        if self.metric == "spearman" and np.array_equal(self.labels, self.decisions[:, 0]):
            return "the predictions are exactly the labels: those are the model's own outputs, not measured values"
        n, rarer = len(self.unique), self.rests_on()
        if rarer < 2:
            return f"{rarer} different samples are too few to tell the order from chance"
        variance = (n + 1) / (12 * rarer * (n - rarer)) if self.metric == "auc" else 1 / (n - 1)
        if value > self.chance + z_quantile(0.95) * variance**0.5:
            return None
        return f"{self.metric} is {value:.4g} on {n} different samples, which is not above chance ({self.chance:g})"

    def _implausible_detections(self, value: float) -> str | None:
        if value >= _LEAST_AP and value > self.chance:
            return None
        return (
            f"{self.metric} is {value:.4f} for {len(self.decisions)} detections on {len(self)} images, and detections that"
            f" were made on other images get {self.chance:.4f}: the boxes may be in another format, other units or of"
            " another output than evaluation.decoding (or the adapter) says, or the classes in another order"
        )

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
