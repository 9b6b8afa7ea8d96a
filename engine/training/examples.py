"""The training set as it is used: what is in the evaluation set left out, each sample once, a tenth held out to judge by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...contract.measures import Interface
from ..bench import Bench
from ..calibration.finding import percent
from ..calibration.leakage import overlaps, too_many
from ..calibration.neighbours import Space, yardstick
from ..calibration.sketch import Sketches, sketch
from ..calibration.views import views
from ..data.dataset import Dataset, open_dataset
from ..data.labels import check_labels
from ..jobs import Optimize
from ..problems import JobProblem

# Less than a hundred leaves no tenth that says anything of accuracy.
FEWEST = 100
_HELD_OUT = 0.1
_SEED = 20261121
# Preprocessed samples that are kept in memory; of larger sets each is read again whenever it is needed.
_KEPT_BYTES = 512 * 2**20

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Examples:
    """`learned`: the samples that are trained on; `held_out`: those by which checkpoints are judged. Indices of `dataset`,
    int64; no sample is in both, none is in the evaluation set."""

    dataset: Dataset
    learned: np.ndarray
    held_out: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        assert self.dataset.labels is not None, "a training set is labelled"
        return self.dataset.labels


class Rows:
    """Reads chosen samples, from memory where the set is small enough."""

    def __init__(self, examples: Examples):
        self._dataset = examples.dataset
        one = sum(values.nbytes for values in examples.dataset.feeds(0, 1).values())
        self._keeps = one * len(examples.dataset) <= _KEPT_BYTES
        self._kept: dict[int, Arrays] = {}

    def __call__(self, indices: np.ndarray) -> Arrays:
        rows = [self._row(int(index)) for index in indices]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _row(self, index: int) -> Arrays:
        if index in self._kept:
            return self._kept[index]
        row = self._dataset.feeds(index, index + 1)
        if self._keeps:
            self._kept[index] = row
        return row


def open_examples(
    task: Optimize, interface: Interface, evaluation: Dataset, bench: Bench
) -> tuple[Examples, list[str]]:
    """The training set of a task, and what is to be said of it.

    Samples that are in the evaluation set, identical or nearly, are left out: what is measured must not have been learned,
    and each of them is known. Where they are many the set is refused, for then others are likely to be altered ones, which
    no comparison finds.

    Raises JobProblem: TRAINING_REQUIRED, TRAINING_UNFIT, BAD_FILE.
    """
    if task.training_path is None:
        raise JobProblem(
            "TRAINING_REQUIRED", f"{task.step.technique} trains: open a session with training_path, a labelled set"
        )
    dataset = open_dataset(
        task.training_path, evaluation.preprocessing, interface.inputs, labelled=True, roots=bench.roots
    )
    if task.training_digest is not None and dataset.info.digest != task.training_digest:
        raise JobProblem(
            "TRAINING_UNFIT",
            f"the training set {task.training_path} is not the one that the session was opened with: its samples have"
            " changed since. Put them back, or open a new session",
        )
    check_labels(dataset, evaluation)
    if dataset.labels is None or dataset.group > 1:
        raise JobProblem(
            "UNAVAILABLE",
            "training is built for sets with one label a sample, and one row of inputs a sample; this one has boxes, or"
            " samples of several rows. Take a step that does not train (int8_static, float16)",
        )
    bench.report(0.01, "comparing the training set with the evaluation set")
    usable, notes = _usable(dataset, evaluation, interface)
    learned, held_out = _split(dataset.labels, usable)
    notes.append(
        f"trained on {len(learned)} samples; checkpoints were judged on {len(held_out)} others, held out of the training set"
        " (never on the evaluation set); no augmentation"
    )
    return Examples(dataset, learned, held_out), notes


def _usable(dataset: Dataset, evaluation: Dataset, interface: Interface) -> tuple[np.ndarray, list[str]]:
    """The samples that may be trained on, and how many were left out for what."""
    looked_at = views(evaluation.feeds(0, 1), interface.inputs)
    ours, theirs = (sketch(of, range(len(of)), looked_at) for of in (dataset, evaluation))
    space = Space(theirs)
    points = space.points(ours), space.points(theirs)
    same, near, close = overlaps(ours, theirs, points, yardstick(points[1]))
    leaked = f"{near.ours.sum()} of {len(dataset)} samples are in the evaluation set ({same.ours.sum()} identical)"
    if too_many(near, close):
        raise JobProblem(
            "TRAINING_UNFIT",
            f"the training set is not apart from the evaluation set: {leaked}, and {percent(float(close.ours.mean()))} are"
            " closer to an evaluation sample than these are to one another. A model that learned the samples it is measured"
            " on proves nothing. Take a set from elsewhere, or split by source, and open a session with it as training_path",
        )
    first = _first_of_each(ours)
    usable = np.flatnonzero(first & ~near.ours)
    if len(usable) < FEWEST:
        raise JobProblem(
            "TRAINING_UNFIT",
            f"the training set has {len(usable)} different samples that are not in the evaluation set, and at least {FEWEST}"
            " are needed to train and to hold some out. Label more",
        )
    notes = [f"{leaked}: left out of training"] if near.ours.any() else []
    if not first.all():
        notes.append(f"{int((~first).sum())} samples of the training set repeat others: each was used once")
    return usable, notes


def _first_of_each(samples: Sketches) -> np.ndarray:
    """bool (samples,): whether no identical sample comes before. A copy on the other side of a split would be known there."""
    first = np.zeros(len(samples.digests), np.bool_)
    first[list({digest: index for index, digest in reversed(list(enumerate(samples.digests)))}.values())] = True
    return first


def _split(labels: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A tenth to hold out, of each class alike (of values: from each stretch of their order); the same for the same set."""
    order = np.random.default_rng(_SEED).permutation(usable)
    keys = labels[order].reshape(len(order), -1)[:, 0]
    ordered = order[np.argsort(keys, kind="stable")]
    every = round(1 / _HELD_OUT)
    chosen = np.arange(len(ordered)) % every == every // 2
    return np.sort(ordered[~chosen]), np.sort(ordered[chosen])
