"""Data sets as models take them: opened by kind, preprocessed batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ...contract.evaluation import Evaluation, Preprocessing
from ...contract.measures import DataInfo, TensorInfo
from ..problems import JobProblem
from ..runtimes.fitting import convert
from .coco import CocoSource, coco_file, open_coco
from .csv_file import open_csv
from .folder import open_folder
from .npz import NpzSource, open_npz
from .preprocessing import apply
from .resolving import resolve
from .source import Source, add_array, allowed


class Dataset:
    """Rows that the model is fed, and the samples' labels, or `objects` instead of labels. A sample is one row, or `group`
    rows that follow each other. `preprocessing` is complete; folders, CSV and COCO sets are read batch by batch."""

    def __init__(self, source: Source, preprocessing: Preprocessing, inputs: Sequence[TensorInfo]):
        self.preprocessing = preprocessing
        self.labels = source.labels
        self.objects = source.objects if isinstance(source, CocoSource) else None
        self.ordered_classes = source.ordered_classes
        self.group = source.group if isinstance(source, NpzSource) else 1
        self._source = source
        self._inputs = inputs

    def __len__(self) -> int:
        """Rows."""
        return len(self._source)

    @property
    def samples(self) -> int:
        return len(self) // self.group

    @cached_property
    def info(self) -> DataInfo:
        """What the set is. `classes` is the number of different labels where they are whole numbers, or of categories that
        occur. Reads every byte once."""
        labels = self.labels if self.objects is None else self.objects.category
        whole = labels is not None and labels.ndim == 1 and labels.dtype.kind in "biu"
        return DataInfo(
            samples=self.samples,
            classes=len(np.unique(labels)) if labels is not None and whole else None,
            digest=self._source.digest(),
            kind=self._source.kind,
        )

    def feeds(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Rows start to stop (clipped to the set) by input name: preprocessed, in the model's dtype and layout."""
        batch = self._source.read(start, stop)
        if len(self._inputs) == 1:
            (info,), (values,) = self._inputs, batch.values()
            return {info.name: convert(apply(values, self.preprocessing), info)}
        return {info.name: convert(np.asarray(batch[info.name]), info) for info in self._inputs}

    def raw(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The same rows before preprocessing, as {"inputs": uint8 (N, H, W, C)} or by input name.

        Images of different sizes can be had one at a time only (JobProblem BAD_FILE).
        """
        nothing = Preprocessing()
        return {name: apply(values, nothing) for name, values in self._source.read(start, stop).items()}

    def sample_digests(self) -> list[str]:
        """sha256 of each row's stored values (decoded pixels), without its label: to find samples that sets share."""
        return [self._sample_digest(index) for index in range(len(self))]

    def _sample_digest(self, index: int) -> str:
        digest = hashlib.sha256()
        for name, values in sorted(self.raw(index, index + 1).items()):
            add_array(digest, name if len(self._inputs) > 1 else "", values)
        return digest.hexdigest()


def open_dataset(
    path: str,
    preprocessing: Preprocessing,
    inputs: Sequence[TensorInfo],
    *,
    labelled: bool,
    roots: Sequence[str] | None = None,
) -> Dataset:
    """A data set with a complete preprocessing. `labelled`: labels are required, else they may be absent.

    Raises JobProblem: BAD_FILE with the file, the sample and the reason; PATH_NOT_ALLOWED where `roots` are given and
    a sample lies outside them.
    """
    return Dataset(open_source(path, inputs, labelled, roots), preprocessing, inputs)


def open_evaluation(
    evaluation: Evaluation, inputs: Sequence[TensorInfo], roots: Sequence[str] | None = None
) -> Dataset:
    """The labelled evaluation set, its preprocessing completed for the model (`resolving.resolve`).

    Raises JobProblem as `open_dataset` and `resolve` do.
    """
    source = open_source(evaluation.dataset_path, inputs, True, roots)
    return Dataset(source, resolve(evaluation, inputs, _first(source)), inputs)


def open_source(path: str, inputs: Sequence[TensorInfo], labelled: bool, roots: Sequence[str] | None) -> Source:
    """The samples of a data set as they are stored; of `inputs` only the names count. Raises as `open_dataset`."""
    place = Path(path)
    allowed(place, roots)
    if not place.exists():
        raise JobProblem("BAD_FILE", f"the data set {place} does not exist")
    suffix, coco = place.suffix.lower(), coco_file(place)
    if not place.is_dir() and suffix == ".npz":
        return open_npz(place, inputs, labelled=labelled)
    if len(inputs) != 1 and (place.is_dir() or suffix in (".csv", ".json")):
        names = [info.name for info in inputs]
        raise JobProblem(
            "BAD_FILE", f"the model has the inputs {names}: give its data as an .npz with arrays of these names"
        )
    if coco is not None:
        return open_coco(coco, labelled=labelled, roots=roots)
    if place.is_dir():
        return open_folder(place, labelled=labelled, roots=roots)
    if suffix == ".csv":
        return open_csv(place, labelled=labelled, roots=roots)
    raise JobProblem(
        "BAD_FILE",
        f"the data set {place} is not an .npz, a folder of class folders, a .csv of path,label or a COCO .json",
    )


def _first(source: Source) -> np.ndarray:
    return next(iter(source.read(0, 1).values()))[0]
