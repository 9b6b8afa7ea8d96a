"""Whether the classes of the evaluation set are in the calibration set: by labels, or by the model's own answers.

Labels are compared with labels and answers with answers; whether an answer is right is never looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.dataset import Dataset
from .finding import Finding, percent

# A class is covered by this part of the samples that its share of the evaluation set would give it; of answers, by more:
# some are mistakes.
_DUE, _DUE_ANSWERS = 0.1, 0.25
# Of what random evaluation samples would cover: refused below, told below. Answers of a model are weaker evidence.
_BY_LABELS, _BY_ANSWERS, _NOTABLE = 2 / 3, 0.5, 0.9
_DRAWS, _SEED = 64, 0

_MEND = "Add samples of these classes"


@dataclass(frozen=True)
class Spread:
    """What the calibration set covers of what as many random evaluation samples would, and which classes are `missing`."""

    covered: float
    missing: np.ndarray


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
    labelled = _labels(calibration, evaluation, classes)
    by_label = spread(*labelled, classes, _DUE) if labelled else None
    by_answer = spread(*answers, classes, _DUE_ANSWERS) if answers else None
    if by_label and by_label.covered < _NOTABLE:
        contradicted = by_answer is not None and by_answer.covered >= _NOTABLE
        mend = "The model's answers cover them: are the labels placeholders?" if contradicted else _MEND
        unfit = by_label.covered < _BY_LABELS and not contradicted
        return [Finding(unfit, _said(by_label, "labels", _BY_LABELS, mend))]
    if by_answer and by_answer.covered < _NOTABLE:
        mend = "The labels cover them: do the samples look as the evaluation set's do?" if by_label else _MEND
        unfit = by_answer.covered < _BY_ANSWERS
        return [Finding(unfit, _said(by_answer, "the answers of the model", _BY_ANSWERS, mend))]
    if len(calibration) < classes:
        return [Finding(False, f"classes: {len(calibration)} samples for {classes} classes: most are not in the set")]
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


def spread(ours: np.ndarray, theirs: np.ndarray, classes: int, due: float) -> Spread:
    """Both sets as class numbers below `classes`, one a sample.

    Covered is the share of the evaluation set whose classes are covered, or how many classes are, whichever is more: a
    class that is missing may be rare, and of a thousand classes small sets hold different ones.
    """
    counts, shares = np.bincount(ours, minlength=classes), np.bincount(theirs, minlength=classes) / len(theirs)
    draws = np.random.default_rng(_SEED).multinomial(len(ours), shares, size=_DRAWS)
    least = np.maximum(1, due * len(ours) * shares)
    drawn = np.array([_covered(draw >= least, shares) for draw in draws])
    found = _covered(counts >= least, shares)
    by_chance = bool(np.any(found >= drawn.min(axis=0)))
    covered = 1.0 if by_chance else float(np.max(found / drawn.mean(axis=0)))
    return Spread(covered, np.flatnonzero((shares > 0) & (counts < least)))


def _covered(classes: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The share of the evaluation set that is of these classes, and how many they are."""
    return np.array([shares[classes].sum(), classes.sum()])


def _said(found: Spread, by: str, needed: float, mend: str) -> str:
    some = ", ".join(map(str, found.missing[:8])) + (" ..." if len(found.missing) > 8 else "")
    return (
        f"classes: by {by}, the set covers {percent(found.covered)} of what as many evaluation samples would"
        f" ({percent(needed)} are needed); (nearly) missing: {some or 'none'}. {mend}"
    )
