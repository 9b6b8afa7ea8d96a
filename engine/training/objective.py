"""What is learned and how it is judged: the loss and the held-out value of a metric's task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional

from ...contract.evaluation import LOWER_IS_BETTER, Evaluation
from ..measure import metrics
from ..measure.accuracy import judged
from ..measure.outcomes import Outcomes
from ..problems import JobProblem
from .examples import Examples

# Probabilities are learned through their logarithm, which zero has none of.
_LEAST = 1e-7

Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Objective:
    """`output`: the index of the output that is learned; `width`: its values a sample. `probabilities`: it went through a
    softmax inside the model."""

    task: Literal["classes", "values"]
    metric: str
    output: int
    name: str
    width: int
    probabilities: bool

    @property
    def better_sign(self) -> float:
        return -1.0 if self.metric in LOWER_IS_BETTER else 1.0

    def of(self, outputs: Tensors) -> torch.Tensor:
        """The output that is learned, of all that a module gave."""
        return outputs[self.output]

    def answers(self, output: torch.Tensor) -> torch.Tensor:
        """(samples, width): scores of classes as logits (of probabilities their logarithm, which differs by a constant a
        sample), values as they are."""
        rows = output.float().reshape(len(output), self.width)
        return rows.clamp_min(_LEAST).log() if self.probabilities else rows

    def loss(self, output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy of classes, mean squared error of values."""
        answers = self.answers(output)
        if self.task == "classes":
            return functional.cross_entropy(answers, labels)
        return functional.mse_loss(answers, labels)

    def labels(self, labels: np.ndarray) -> torch.Tensor:
        """int64 (samples,) of classes, float32 (samples, width) of values."""
        if self.task == "classes":
            return torch.from_numpy(labels.astype(np.int64))
        return torch.from_numpy(labels.reshape(len(labels), -1).astype(np.float32))

    def judged(self, examples: Examples, indices: np.ndarray, output: np.ndarray) -> Outcomes:
        """By the metric itself. `output`: as the model gives it for these samples."""
        return judged(self.metric, examples.dataset, indices, {self.name: output})


def objective(
    evaluation: Evaluation, examples: Examples, outputs: dict[str, np.ndarray], indices: np.ndarray
) -> Objective:
    """`outputs`: those of the original for the samples `indices`.

    Raises JobProblem: UNAVAILABLE for a metric whose loss is not built, by name; BAD_FILE, INVALID_ARGUMENT where labels or
    outputs do not fit.
    """
    metric = evaluation.metric
    if evaluation.adapter is not None or metric not in metrics.CLASSIFICATION | metrics.REGRESSION:
        built = ", ".join(sorted(metrics.CLASSIFICATION | metrics.REGRESSION))
        what = "outputs that an adapter reads" if evaluation.adapter is not None else f"the metric {metric}"
        raise JobProblem(
            "UNAVAILABLE",
            f"training for {what} is not built in this version: it learns what {built} judge. Take a step that does not train"
            " (int8_static, float16)",
        )
    samples = len(indices)
    if metric in metrics.REGRESSION:
        targets = examples.labels[indices].reshape(samples, -1).astype(np.float64)
        metrics.predictions(outputs, targets)
        found = [n for n, (_, v) in enumerate(outputs.items()) if v.shape[:1] == (samples,) and v.size == targets.size]
        return Objective("values", metric, found[0], list(outputs)[found[0]], targets.shape[1], False)
    scores = metrics.class_scores(outputs, samples)
    metrics.class_labels(examples.labels, scores.shape[1], examples.dataset.ordered_classes)
    place = next(n for n, v in enumerate(outputs.values()) if v.shape[:1] == (samples,) and v.size == scores.size)
    sums = scores.sum(axis=1)
    probabilities = bool((scores >= 0).all() and np.allclose(sums, 1.0, atol=1e-3))
    return Objective("classes", metric, place, list(outputs)[place], scores.shape[1], probabilities)
