"""Data sets in one .npz file: `inputs` and `labels`, or arrays named after the model's inputs and `labels`.

Arrays with one axis more than the inputs hold several rows for each sample, a pair of sentences for instance: (samples,
rows, ...). The model is run on each row, and the rows' outputs belong to one label.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ...contract.measures import TensorInfo
from ..problems import JobProblem
from .source import Batch, add_array, numeric, regular_file


class NpzSource:
    """Arrays of equal length, loaded once; `group` rows of them are a sample."""

    ordered_classes = None

    def __init__(
        self,
        kind: Literal["npz", "npz_named"],
        arrays: dict[str, np.ndarray],
        labels: np.ndarray | None,
        group: int = 1,
    ):
        self.kind: Literal["npz", "npz_named"] = kind
        self.labels = labels
        self.group = group
        self._arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values())))

    def read(self, start: int, stop: int) -> Batch:
        return {name: array[start:stop] for name, array in self._arrays.items()}

    def digest(self) -> str:
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays.items()):
            add_array(digest, name, array)
        if self.labels is not None:
            add_array(digest, "labels", self.labels)
        return digest.hexdigest()


def open_npz(path: Path, inputs: Sequence[TensorInfo], *, labelled: bool) -> NpzSource:
    """Reads the arrays that the model's inputs and the labels need; others are left alone. JobProblem BAD_FILE with the reason."""
    regular_file(path, "the data set")
    if not zipfile.is_zipfile(path):
        raise JobProblem("BAD_FILE", f"the data set {path} is not a whole .npz (zip) file: it is cut or something else")
    try:
        with np.load(path, allow_pickle=False) as file:
            return _read(file, path, inputs, labelled)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise JobProblem("BAD_FILE", f"the data set {path} cannot be read: {error}") from error


def _read(file: np.lib.npyio.NpzFile, path: Path, inputs: Sequence[TensorInfo], labelled: bool) -> NpzSource:
    names = [info.name for info in inputs]
    if all(name in file.files for name in names) and names != ["inputs"]:
        kind, wanted = "npz_named", names
    elif "inputs" in file.files and len(names) == 1:
        kind, wanted = "npz", ["inputs"]
    else:
        raise JobProblem(
            "BAD_FILE",
            f"the data set {path} holds the arrays {sorted(file.files)[:20]}; expected "
            + ("`inputs` and `labels`, or " if len(names) == 1 else "")
            + f"arrays named after the model's inputs {names} and `labels`",
            [name for name in names if name not in file.files],
        )
    arrays = {name: numeric(file[name], f"the array {name!r} of {path}") for name in wanted}
    labels = numeric(file["labels"], f"the array 'labels' of {path}") if "labels" in file.files else None
    if labelled and labels is None:
        raise JobProblem("BAD_FILE", f"the data set {path} has no array 'labels'", ["labels"])
    _check_lengths(arrays | ({} if labels is None else {"labels": labels}), path)
    group = _group(list(arrays.values()), inputs)
    if group > 1:
        arrays = {name: array.reshape(-1, *array.shape[2:]) for name, array in arrays.items()}
    return NpzSource(kind, arrays, labels, group)


def _group(arrays: Sequence[np.ndarray], inputs: Sequence[TensorInfo]) -> int:
    """The rows of a sample: 1, unless every array has one axis more than its input and they agree on its length."""
    more = all(info.shape and a.ndim == len(info.shape) + 1 for a, info in zip(arrays, inputs, strict=True))
    sizes = {array.shape[1] for array in arrays if array.ndim > 1}
    return sizes.pop() or 1 if more and len(sizes) == 1 else 1


def _check_lengths(arrays: dict[str, np.ndarray], path: Path) -> None:
    lengths = {name: len(array) if array.ndim else None for name, array in arrays.items()}
    if None in lengths.values() or len(set(lengths.values())) > 1:
        raise JobProblem("BAD_FILE", f"the arrays of {path} differ in length (None is a scalar): {lengths}")
    if 0 in lengths.values():
        raise JobProblem("BAD_FILE", f"the data set {path} has no samples")
