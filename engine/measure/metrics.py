"""The metrics: from a model's outputs and labels to what each sample counts, and from there to one number."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..problems import JobProblem

TOP_K = {"top1": 1, "top5": 5}
CLASSIFICATION = frozenset({"top1", "top5", "f1_macro"})
REGRESSION = frozenset({"rmse", "mae"})
RANKING = frozenset({"auc", "spearman"})


def class_scores(outputs: Mapping[str, np.ndarray], samples: int) -> np.ndarray:
    """The first output that has one score a class: (samples, classes), axes of length 1 between taken out.

    JobProblem INVALID_ARGUMENT where there is none, or where it has one class only.
    """
    for values in outputs.values():
        scores = _without_single_axes(values)
        if scores.ndim == 2 and len(scores) == samples and scores.dtype.kind == "f":
            if scores.shape[1] == 1:
                raise JobProblem(
                    "INVALID_ARGUMENT",
                    "the model gives one value a sample: is it a regression (metric rmse or mae)? A classifier for this"
                    " metric gives one score for each class; export a binary one with two outputs",
                )
            return scores
    raise JobProblem("INVALID_ARGUMENT", f"no output has one score a class; {_shapes(outputs)} for {samples} samples")


def _without_single_axes(values: np.ndarray) -> np.ndarray:
    """(N, C, 1, 1) and (N, 1, 1, C) to (N, C); the batch axis and a last remaining axis stay."""
    for axis in range(values.ndim - 1, 0, -1):
        if values.ndim > 2 and values.shape[axis] == 1:
            values = np.squeeze(values, axis)
    return values


def binary_scores(outputs: Mapping[str, np.ndarray], samples: int) -> np.ndarray:
    """How much each sample looks like class 1: float64 (samples, 1). The first output that has one column, or two: then
    the second less the first, which ranks as the softmax or the sigmoid of them would.

    JobProblem INVALID_ARGUMENT where there is none.
    """
    for values in outputs.values():
        scores = _without_single_axes(values)
        if scores.dtype.kind == "f" and len(scores) == samples and scores.size in (samples, 2 * samples):
            columns = scores.reshape(samples, -1).astype(np.float64)
            with np.errstate(invalid="ignore"):
                return columns[:, 1:] - columns[:, :1] if columns.shape[1] == 2 else columns
    raise JobProblem(
        "INVALID_ARGUMENT",
        f"the metric auc wants one score a sample, or one for each of two classes; {_shapes(outputs)} for {samples} samples",
    )


def binary_labels(labels: np.ndarray, ordered_classes: int | None = None) -> np.ndarray:
    """Labels of two classes: int64 (samples,) of 0 and 1. JobProblem BAD_FILE where they are none, or all the same."""
    whole = class_labels(labels, 2, ordered_classes)
    if len(np.unique(whole)) < 2:
        raise JobProblem(
            "BAD_FILE", f"every label is {whole[0]}: the metric auc needs samples of both classes, 0 and 1"
        )
    return whole


def single_values(labels: np.ndarray) -> np.ndarray:
    """Labels of one value a sample: float64 (samples, 1). JobProblem BAD_FILE where there are more."""
    values = labels.reshape(len(labels), -1).astype(np.float64)
    if values.shape[1] != 1:
        raise JobProblem(
            "BAD_FILE",
            f"the labels have {values.shape[1]} values a sample; the metric spearman orders samples by one value each",
        )
    return values


def predictions(outputs: Mapping[str, np.ndarray], targets: np.ndarray) -> np.ndarray:
    """The first output with as many values a sample as the labels: float64 (samples, values).

    `targets` is (samples, values). JobProblem INVALID_ARGUMENT where no output is so.
    """
    for values in outputs.values():
        if values.dtype.kind in "biuf" and len(values) == len(targets) and values.size == targets.size:
            return values.reshape(targets.shape).astype(np.float64)
    raise JobProblem(
        "INVALID_ARGUMENT",
        f"no output has the {targets.shape[1]} values a sample that the labels have; {_shapes(outputs)}"
        f" for {len(targets)} samples",
    )


def _shapes(outputs: Mapping[str, np.ndarray]) -> str:
    shapes = {name: list(values.shape) for name, values in outputs.items()}
    return f"the model gave outputs of shape {shapes}"


def class_labels(labels: np.ndarray, classes: int, ordered_classes: int | None = None) -> np.ndarray:
    """Labels as class numbers: int64 (samples,), each from 0 to classes - 1.

    `ordered_classes`: the number of class folders where labels are positions in the order of their names.
    JobProblem BAD_FILE names the first sample whose label is none.
    """
    if labels.ndim != 1:
        raise JobProblem(
            "BAD_FILE",
            f"labels have shape {list(labels.shape)}; a class number for each sample is needed (no one-hot rows)",
        )
    if ordered_classes is not None and ordered_classes != classes:
        raise JobProblem(
            "BAD_FILE",
            f"the data set has {ordered_classes} class folders and the model {classes} classes, so the order of the"
            " folders' names says nothing about their classes: name each folder by its class number",
        )
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    bad = np.flatnonzero((whole != labels) | (whole < 0) | (whole >= classes))
    if bad.size:
        raise JobProblem(
            "BAD_FILE",
            f"the label of sample {bad[0]} is {labels[bad[0]]}; the model has {classes} classes, numbered 0 to {classes - 1}"
            f" ({bad.size} labels are not among them)",
        )
    return whole


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """The k best classes of each sample, best first, equal scores in the order of their classes: int64 (samples, k)."""
    return np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]


def f1_macro(labels: np.ndarray, decisions: np.ndarray) -> float:
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN), over the classes that are labelled or decided for.

    A decision of -1 is for no class. Both arrays are integers (samples,).
    """
    size = int(max(labels.max(), decisions.max())) + 1
    right = np.bincount(labels[labels == decisions], minlength=size)
    both = np.bincount(labels, minlength=size) + np.bincount(decisions[decisions >= 0], minlength=size)
    seen = both > 0
    return float(np.mean(2 * right[seen] / both[seen]))


def errors(metric: str, labels: np.ndarray, decisions: np.ndarray) -> np.ndarray:
    """What each sample adds to rmse (its mean squared error) or mae (its mean absolute error): float64 (samples,)."""
    difference = decisions - labels
    return np.mean(difference**2 if metric == "rmse" else np.abs(difference), axis=1)


def of_errors(metric: str, per_sample: np.ndarray) -> float:
    """rmse or mae of what the samples add."""
    mean = float(np.mean(per_sample))
    return mean**0.5 if metric == "rmse" else mean


def places(values: np.ndarray) -> np.ndarray:
    """The place of each value among the different values, from 0: int64, in the shape of `values`, which holds no NaN."""
    return np.unique(values, return_inverse=True)[1].reshape(values.shape)


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a sample of class 1 scores above one of class 0, ties as half.

    labels: 0 or 1; scores: `places` of the scores, both (samples,). Of one class alone 0.5: nothing can be ranked.
    Source: J. Hanley and B. McNeil, Radiology 143 (1982) 29-36.
    """
    size = int(scores.max()) + 1
    positive = np.bincount(scores[labels == 1], minlength=size)
    negative = np.bincount(scores[labels == 0], minlength=size)
    pairs = int(positive.sum()) * int(negative.sum())
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below) / pairs if pairs else 0.5


def spearman(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Spearman's rank correlation, ties at their middle rank, of `places` (samples,). 0 where either is constant."""
    one, other = _middle_ranks(labels), _middle_ranks(predictions)
    spread = float(one @ one) * float(other @ other)
    return float(one @ other) / spread**0.5 if spread else 0.0


def _middle_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks of `places`, less their mean."""
    counts = np.bincount(values)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[values]
    return ranks - (len(values) + 1) / 2


def error_of_constant(metric: str, labels: np.ndarray) -> float:
    """rmse or mae of the best constant guess: the mean or the median of each value."""
    guess = np.mean(labels, axis=0) if metric == "rmse" else np.median(labels, axis=0)
    return of_errors(metric, errors(metric, labels, np.broadcast_to(guess, labels.shape)))
