"""Data sets in one .npz file: `inputs` and `labels`, or arrays named after the model's inputs and `labels`."""

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
    """Arrays of equal length, loaded once."""

    ordered_classes = None

    def __init__(self, kind: Literal["npz", "npz_named"], arrays: dict[str, np.ndarray], labels: np.ndarray | None):
        self.kind: Literal["npz", "npz_named"] = kind
        self.labels = labels
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
            return _read(file, path, [info.name for info in inputs], labelled)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise JobProblem("BAD_FILE", f"the data set {path} cannot be read: {error}") from error


def _read(file: np.lib.npyio.NpzFile, path: Path, names: list[str], labelled: bool) -> NpzSource:
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
    return NpzSource(kind, arrays, labels)


def _check_lengths(arrays: dict[str, np.ndarray], path: Path) -> None:
    lengths = {name: len(array) if array.ndim else None for name, array in arrays.items()}
    if None in lengths.values() or len(set(lengths.values())) > 1:
        raise JobProblem("BAD_FILE", f"the arrays of {path} differ in length (None is a scalar): {lengths}")
    if 0 in lengths.values():
        raise JobProblem("BAD_FILE", f"the data set {path} has no samples")
