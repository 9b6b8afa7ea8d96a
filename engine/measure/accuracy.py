"""Running a model over a data set, and what comes out for each sample."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ...contract.evaluation import DETECTION, Decoding, UserCode
from ...contract.measures import TensorInfo
from ..data.dataset import Dataset
from ..data.objects import Objects
from ..detection.detector import Decode, Detector, adapter_decoder, decoder, require_objects
from ..problems import JobProblem
from ..runtimes.runner import Runner
from . import metrics
from .custom import Custom, UserMetric
from .outcomes import Outcomes
from .user_code import Adapter, UserFunction, load

Report = Callable[[float, str], None]
Arrays = dict[str, np.ndarray]

# Samples read and preprocessed together. Inference takes one at a time, as devices do: a dynamically quantized model
# scales its activations over the whole batch, so the other samples in it would change its answer.
_READ = 32


def batch_size(inputs: list[TensorInfo]) -> int:
    """Samples in one inference: the fixed batch axis, else 1. JobProblem INVALID_ARGUMENT where inputs disagree."""
    fixed = {info.shape[0] for info in inputs if info.shape and info.shape[0] is not None}
    if len(fixed) > 1:
        raise JobProblem("INVALID_ARGUMENT", f"the model's inputs have different batch axes: {sorted(map(str, fixed))}")
    return next(iter(fixed), None) or 1


def evaluate(
    runner: Runner,
    dataset: Dataset,
    metric: str,
    report: Report,
    user_code: UserCode | None = None,
    *,
    adapter: UserCode | None = None,
    decoding: Decoding | None = None,
) -> Outcomes:
    """Runs the model on every sample of a labelled set. `user_code` is the function of the metric `custom`; `adapter` makes
    of one sample's outputs what the metric reads; `decoding` says the same of a detector's.

    Raises JobProblem: BAD_FILE where labels are missing, or do not fit the metric or the model's classes;
    INVALID_ARGUMENT where the outputs do not fit the metric or user code fails; SAME_DATASET where the file of the user
    code has changed; NOT_RUNNABLE where the model fails.
    """
    if metric in DETECTION:
        objects = require_objects(dataset.objects, metric)
        decode, clip = decode_with(objects, adapter, decoding), decoding is not None and decoding.clip
        detector = Detector(metric, objects, dataset.preprocessing, decode, clip=clip)
        keys = [objects.digest(image) for image in range(len(dataset))]

        def add(_start: int, inferred: Inferred) -> None:
            for outputs in inferred.each():
                detector.add(outputs)

        return detector.outcomes(_unique(runner, dataset, report, keys, add))
    labels = dataset.labels
    if labels is None:
        raise JobProblem("BAD_FILE", without_labels(dataset, metric), ["labels"])
    check_grouped(dataset, adapter)
    judge = _gatherer(metric, labels, dataset.ordered_classes, user_code)
    read = Inferred.joined if adapter is None else adapted(load(adapter, "adapter"))
    keys = [row.tobytes() for row in labels]
    return judge.outcomes(
        _unique(runner, dataset, report, keys, lambda at, found: judge.add(at, at + found.samples, read(found)))
    )


def judged(metric: str, dataset: Dataset, indices: np.ndarray, outputs: Arrays) -> Outcomes:
    """What a model made of the chosen samples of a labelled set, by outputs that it gave elsewhere (in training, say).

    Raises JobProblem as `evaluate` does.
    """
    if dataset.labels is None:
        raise JobProblem("BAD_FILE", without_labels(dataset, metric), ["labels"])
    judge = _gatherer(metric, dataset.labels[indices], dataset.ordered_classes, None)
    judge.add(0, len(indices), outputs)
    return judge.outcomes(np.arange(len(indices)))


def check_grouped(dataset: Dataset, adapter: UserCode | None) -> None:
    """JobProblem INVALID_ARGUMENT where samples are several rows, and nobody says what to make of their outputs."""
    if dataset.group > 1 and adapter is None:
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"each sample of the evaluation set is {dataset.group} rows of the model's inputs, so the outputs of a sample are"
            f" {dataset.group} rows too: give evaluation.adapter='file.py:function', which makes of them what the metric"
            " reads (as the cosine of two embeddings), or arrays with one row a sample",
            ["evaluation.adapter"],
        )


def without_labels(dataset: Dataset, metric: str) -> str:
    """What to say of a data set that has no labels for this metric."""
    if dataset.objects is not None:
        return f"the metric {metric!r} compares labels, and the data set holds boxes: the metrics map and map50 do that"
    return f"the metric {metric!r} needs labels, and the data set has none"


def decode_with(objects: Objects, adapter: UserCode | None, decoding: Decoding | None) -> Decode:
    """How a detector's outputs become boxes. JobProblem INVALID_ARGUMENT where nobody said, or user code does not load."""
    if adapter is not None:
        return adapter_decoder(Adapter(load(adapter, "adapter")).rows, objects)
    if decoding is None:
        raise JobProblem(
            "INVALID_ARGUMENT",
            "how do the model's outputs describe boxes? Give evaluation.decoding (kind boxes, rows or grid) or"
            " evaluation.adapter",
            ["evaluation.decoding"],
        )
    return decoder(decoding, objects)


def adapted(function: UserFunction) -> Callable[[Inferred], Arrays]:
    """Outputs as an adapter gives them, one sample at a time: one array, named `adapted`."""
    adapter = Adapter(function)
    return lambda inferred: {"adapted": adapter.stacked([adapter.value(outputs) for outputs in inferred.each()])}


def _unique(
    runner: Runner, dataset: Dataset, report: Report, keys: Sequence[bytes], add: Callable[[int, Inferred], None]
) -> np.ndarray:
    """Runs the model on everything; the first sample of each group of exact duplicates, by what was fed and its label's
    key: int64."""
    seen: set[bytes] = set()
    unique: list[int] = []
    for first, feeds, inferred in inferences(runner, dataset, report):
        start = first // dataset.group
        add(start, inferred)
        for index, content in enumerate(_contents(feeds, keys[start:], dataset.group), start):
            if content not in seen:
                seen.add(content)
                unique.append(index)
    return np.array(unique, np.int64)


def _gatherer(
    metric: str, labels: np.ndarray, ordered_classes: int | None, user_code: UserCode | None
) -> _Classes | _Values | _Ranking | Custom:
    if metric in metrics.CLASSIFICATION:
        return _Classes(metric, labels, ordered_classes)
    if metric in metrics.RANKING:
        return _Ranking(metric, labels, ordered_classes)
    if metric == "custom":
        return Custom(UserMetric(load(user_code, "metric")), labels)
    return _Values(metric, labels)


def inferences(runner: Runner, dataset: Dataset, report: Report) -> Iterator[tuple[int, Arrays, Inferred]]:
    """Every row once, in order: (index of the first, feeds, what came out) of some consecutive samples at a time.

    The last batch of a fixed size is filled up with its last row.
    """
    size, total = batch_size(runner.inputs), len(dataset)
    whole = math.lcm(size, dataset.group)
    chunk = whole * max(1, _READ // whole)
    for start in range(0, total, chunk):
        feeds = dataset.feeds(start, start + chunk)
        stop = min(start + chunk, total)
        parts = [_run(runner, feeds, at, size) for at in range(0, stop - start, size)]
        yield start, feeds, Inferred(parts, size, stop - start, dataset.group)
        report(stop / total, f"{stop // dataset.group} of {dataset.samples} samples")


@dataclass(frozen=True)
class Inferred:
    """The outputs of some inferences of `size` rows each; together they are of `rows` consecutive rows, of which `group`
    make a sample."""

    parts: list[Arrays]
    size: int
    rows: int
    group: int = 1

    @property
    def samples(self) -> int:
        return self.rows // self.group

    def joined(self) -> Arrays:
        """The outputs as one; those that do not have one row a sample, all alike, are left out."""
        joined = {}
        for name in self.parts[0]:
            shapes = {part[name].shape for part in self.parts}
            if len(shapes) == 1 and shapes.pop()[:1] == (self.size,):
                joined[name] = np.concatenate([part[name] for part in self.parts])[: self.rows]
        return joined

    def each(self) -> Iterator[Arrays]:
        """The outputs of one sample at a time, as the model gives them for a batch of its rows."""
        if self.group == 1:
            yield from self._each_row()
            return
        rows = self._each_row()
        for _ in range(self.samples):
            together = list(islice(rows, self.group))
            yield {name: np.concatenate([row[name] for row in together]) for name in together[0]}

    def _each_row(self) -> Iterator[Arrays]:
        for index in range(self.rows):
            batch, row = divmod(index, self.size)
            part = self.parts[batch]
            if self.size == 1:
                yield part
            else:
                yield {name: v[row : row + 1] for name, v in part.items() if v.shape[:1] == (self.size,)}


def _run(runner: Runner, feeds: Arrays, at: int, size: int) -> Arrays:
    return runner.run({name: _filled(values[at : at + size], size) for name, values in feeds.items()})


def _filled(values: np.ndarray, size: int) -> np.ndarray:
    return (
        np.concatenate([values, np.repeat(values[-1:], size - len(values), axis=0)]) if len(values) < size else values
    )


def _contents(feeds: Arrays, keys: Sequence[bytes], group: int) -> list[bytes]:
    """A digest of what the model was fed for each sample, and of its label's key."""
    contents = []
    for sample in range(len(next(iter(feeds.values()))) // group):
        digest = hashlib.sha256(keys[sample])
        for values in feeds.values():
            digest.update(f"|{values.shape[1:]}|".encode() + values[group * sample : group * (sample + 1)].tobytes())
        contents.append(digest.digest())
    return contents


class _Classes:
    """Gathers the decisions of a classifier."""

    def __init__(self, metric: str, labels: np.ndarray, ordered_classes: int | None):
        self.metric = metric
        self.k = metrics.TOP_K.get(metric, 1)
        self.labels = labels
        self.ordered_classes = ordered_classes
        self.chosen = np.zeros(0, np.int64)
        self.first = np.zeros(0)
        self.varies = False
        self.rows: list[tuple[np.ndarray, ...]] = []

    def add(self, start: int, stop: int, outputs: Arrays) -> None:
        scores = metrics.class_scores(outputs, stop - start)
        if start == 0:
            self._begin(scores)
        finite = np.all(np.isfinite(scores), axis=1)
        scores = np.where(finite[:, np.newaxis], scores, 0).astype(np.float64)
        best = metrics.top_k(scores, max(2, self.k))
        hits = (best[:, : self.k] == self.labels[start:stop, np.newaxis]).any(axis=1) & finite
        ranked = np.take_along_axis(scores, best, axis=1)
        self.rows.append((np.where(finite, best[:, 0], -1), hits, ranked[:, 0] - ranked[:, 1], finite))
        self.varies = self.varies or bool((scores != self.first).any())
        self.chosen += np.bincount(best[finite, : self.k].ravel(), minlength=len(self.chosen))

    def _begin(self, scores: np.ndarray) -> None:
        classes = scores.shape[1]
        if classes <= self.k:
            raise JobProblem(
                "INVALID_ARGUMENT",
                f"{self.metric} of a model with {classes} classes is always right: use the metric top1",
            )
        self.labels = metrics.class_labels(self.labels, classes, self.ordered_classes)
        self.chosen = np.zeros(classes, np.int64)
        self.first = scores[0].astype(np.float64)

    def outcomes(self, unique: np.ndarray) -> Outcomes:
        decisions, correct, lead, finite = (np.concatenate(column) for column in zip(*self.rows, strict=True))
        count = len(self.labels)
        labelled = np.bincount(self.labels, minlength=len(self.chosen))
        return Outcomes(
            metric=self.metric,
            labels=self.labels,
            decisions=decisions,
            correct=correct,
            lead=lead,
            finite=finite,
            unique=unique,
            varies=self.varies,
            chance=float(self.chosen @ labelled) / count**2,
        )


class _Values:
    """Gathers the predictions of a regression model."""

    def __init__(self, metric: str, labels: np.ndarray):
        self.metric = metric
        self.targets = labels.reshape(len(labels), -1).astype(np.float64)
        self.rows: list[np.ndarray] = []

    def add(self, start: int, stop: int, outputs: Arrays) -> None:
        self.rows.append(metrics.predictions(outputs, self.targets[start:stop]))

    def outcomes(self, unique: np.ndarray) -> Outcomes:
        decisions = np.concatenate(self.rows)
        return Outcomes(
            metric=self.metric,
            labels=self.targets,
            decisions=decisions,
            correct=np.zeros(0, np.bool_),
            lead=np.zeros(0),
            finite=np.all(np.isfinite(decisions), axis=1),
            unique=unique,
            varies=bool((decisions != decisions[0]).any()),
            chance=metrics.error_of_constant(self.metric, self.targets),
        )


class _Ranking:
    """Gathers the scores of a binary classifier (auc) or the predictions of one value (spearman)."""

    def __init__(self, metric: str, labels: np.ndarray, ordered_classes: int | None):
        self.metric = metric
        self.labels = (
            metrics.binary_labels(labels, ordered_classes) if metric == "auc" else metrics.single_values(labels)[:, 0]
        )
        self.rows: list[np.ndarray] = []

    def add(self, start: int, stop: int, outputs: Arrays) -> None:
        self.rows.append(
            metrics.binary_scores(outputs, stop - start)
            if self.metric == "auc"
            else metrics.predictions(outputs, self.labels[start:stop, np.newaxis])
        )

    def outcomes(self, unique: np.ndarray) -> Outcomes:
        decisions = np.concatenate(self.rows)
        return Outcomes(
            metric=self.metric,
            labels=self.labels,
            decisions=decisions,
            correct=np.zeros(0, np.bool_),
            lead=np.zeros(0),
            finite=np.isfinite(decisions[:, 0]),
            unique=unique,
            varies=bool((decisions != decisions[0]).any()),
            chance=0.5 if self.metric == "auc" else 0.0,
        )
