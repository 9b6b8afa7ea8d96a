"""Whether two sets mean the same by their labels."""

from __future__ import annotations

from ..problems import JobProblem
from .dataset import Dataset


def check_labels(training: Dataset, evaluation: Dataset) -> None:
    """JobProblem BAD_FILE where the labels of the training set are of another kind than the evaluation set's: classes that
    are numbered by their folders' order must be as many, values must be as many a sample."""
    ours, theirs = training.labels, evaluation.labels
    if ours is None or theirs is None:
        if training.objects is not None or evaluation.objects is None:
            return
        raise JobProblem(
            "BAD_FILE", "the training set has labels and the evaluation set boxes: give it as a COCO .json"
        )
    if ours.shape[1:] != theirs.shape[1:]:
        raise JobProblem(
            "BAD_FILE",
            f"a label of the training set has the shape {list(ours.shape[1:])}, of the evaluation set"
            f" {list(theirs.shape[1:])}: label both alike",
        )
    if training.ordered_classes != evaluation.ordered_classes:
        raise JobProblem(
            "BAD_FILE",
            f"the classes of the training set are {_numbered(training)}, of the evaluation set"
            f" {_numbered(evaluation)}: where classes are numbered in the order of their names, both sets must have"
            " them all (or name the folders by their numbers)",
        )


def _numbered(dataset: Dataset) -> str:
    """How the classes are numbered; of given numbers there may be more in one set than in the other."""
    return "numbers" if dataset.ordered_classes is None else f"{dataset.ordered_classes} in the order of their names"
