"""Whether the classes of the evaluation set are all in the calibration set: by labels, and by the model's own answers.

Labels are compared with labels and answers with answers; whether an answer is right is never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.dataset import Dataset
from .finding import Finding, percent

# A class counts as covered with a tenth of the samples that its share of the evaluation set would give it.
_DUE = 0.1
# Of what as many samples from the evaluation set's own classes would give: refused below, told below.
_COVERED = (2 / 3, 0.9)
_VARIETY = (0.5, 0.7)
_DRAWS, _SEED = 64, 0


@dataclass(frozen=True)
class Spread:
    """Samples of the calibration set by class (`counts`), against the classes' shares of the evaluation set.

    `covered`: the share of the evaluation set whose classes are covered; `variety`: the effective number of classes,
    exp(entropy) (Hill's number of order 1). Both are relative to those of random samples of the same number.
    """

    counts: np.ndarray
    shares: np.ndarray
    covered: float
    variety: float
    evaluated: int

    @property
    def enough(self) -> bool:
        """Whether both sets are large enough to hold every class."""
        return min(int(self.counts.sum()), self.evaluated) >= len(self.counts)

    @property
    def unfit(self) -> bool:
        return self.enough and (self.covered < _COVERED[0] or self.variety < _VARIETY[0])

    @property
    def notable(self) -> bool:
        return self.covered < _COVERED[1] or self.variety < _VARIETY[1]


def coverage(
    calibration: Dataset,
    evaluation: Dataset,
    answers: tuple[np.ndarray, np.ndarray] | None,
    classes: int | None,
) -> list[Finding]:
    """One finding at most. `answers`: the classes that the model gives calibration and evaluation samples, None where
    it is no classifier; `classes`: how many it knows."""
    if classes is None:
        return []
    if len(calibration) < classes:
        return [
            Finding(
                False,
                f"classes: {len(calibration)} samples for {classes} classes: most classes are not in the set. Take one"
                " sample a class or more",
            )
        ]
    labelled = _labels(calibration, evaluation, classes)
    by_label = compare(*labelled, classes) if labelled else None
    by_answer = compare(*answers, classes) if answers else None
    if by_label is not None and by_label.notable:
        if by_answer is not None and not by_answer.notable:
            return [Finding(False, f"classes: {_said(by_label, 'labels')}; the model's answers do not bear that out: are the labels placeholders?")]  # fmt: skip
        return [
            Finding(
                by_label.unfit, f"classes: {_said(by_label, 'labels')}. Add samples of the classes that are missing"
            )
        ]
    if by_answer is not None and by_answer.notable:
        return [
            Finding(
                by_answer.unfit,
                f"classes: {_said(by_answer, 'the answers of the model')}. Add samples of every class; where the set has"
                " them, it does not look to the model as the evaluation set does",
            )
        ]
    return []


def _labels(calibration: Dataset, evaluation: Dataset, classes: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The class numbers of both sets where they mean the same classes."""
    ours, theirs = (_class_numbers(labels, classes) for labels in (calibration.labels, evaluation.labels))
    if ours is None or theirs is None or calibration.ordered_classes != evaluation.ordered_classes:
        return None
    return ours, theirs


def _class_numbers(labels: np.ndarray | None, classes: int) -> np.ndarray | None:
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "biu":
        return None
    return labels.astype(np.int64) if labels.min() >= 0 and labels.max() < classes else None


def compare(ours: np.ndarray, theirs: np.ndarray, classes: int) -> Spread:
    """Both sets as class numbers below `classes`, one a sample."""
    counts, shares = np.bincount(ours, minlength=classes), np.bincount(theirs, minlength=classes) / len(theirs)
    draws = np.random.default_rng(_SEED).multinomial(len(ours), shares, size=_DRAWS)
    return Spread(
        counts,
        shares,
        _covered(counts, shares) / float(np.mean([_covered(draw, shares) for draw in draws])),
        _variety(counts) / float(np.mean([_variety(draw) for draw in draws])),
        len(theirs),
    )


def _covered(counts: np.ndarray, shares: np.ndarray) -> float:
    return float(shares[counts >= np.maximum(1, _DUE * counts.sum() * shares)].sum())


def _variety(counts: np.ndarray) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(np.exp(-np.sum(p * np.log(p))))


def _said(found: Spread, by: str) -> str:
    missing = np.flatnonzero((found.shares > 0) & (found.counts < _DUE * found.counts.sum() * found.shares))
    some = ", ".join(str(number) for number in missing[:8]) + (" ..." if len(missing) > 8 else "")
    return (
        f"by {by}, the set covers {percent(min(1.0, found.covered))} of what random samples would"
        f" ({percent(_COVERED[0])} are needed), and its variety is that of {percent(found.variety)} of their classes"
        f" ({percent(_VARIETY[0])} are needed)" + (f"; classes (nearly) missing: {some}" if some else "")
    )
