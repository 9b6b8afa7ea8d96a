"""Samples that are files of their own: an image or an .npy array each, read when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from ..problems import JobProblem
from .images import SUFFIXES as IMAGE_SUFFIXES
from .images import read_image
from .source import Batch, add_array, numeric, regular_file


class FileSource:
    """A list of files with the names under which they count, and their labels."""

    def __init__(
        self,
        kind: Literal["folder", "csv", "coco"],
        files: Sequence[tuple[str, Path]],
        labels: np.ndarray | None,
        ordered_classes: int | None = None,
    ):
        self.kind: Literal["folder", "csv", "coco"] = kind
        self.labels = labels
        self.ordered_classes = ordered_classes
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def read(self, start: int, stop: int) -> Batch:
        return {"inputs": [_read_sample(path) for _, path in self._files[start:stop]]}

    def digest(self) -> str:
        """Over the files' names and bytes in order, and the labels."""
        digest = hashlib.sha256()
        for name, path in self._files:
            with path.open("rb") as file:
                digest.update(f"{name}|{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        if self.labels is not None:
            add_array(digest, "labels", self.labels)
        return digest.hexdigest()


def check_sample_file(path: Path, where: str) -> None:
    """JobProblem BAD_FILE where this is not a file that can be a sample; `where` says who named it."""
    if path.suffix.lower() not in IMAGE_SUFFIXES | {".npy"}:
        raise JobProblem(
            "BAD_FILE", f"{where}: {path.name!r} is no sample; samples are .jpg, .jpeg, .png or .npy files"
        )
    regular_file(path, where)


def _read_sample(path: Path) -> np.ndarray:
    if path.suffix.lower() != ".npy":
        return read_image(path)
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise JobProblem("BAD_FILE", f"the sample {path} cannot be read: {error}") from error
    return numeric(array, f"the sample {path}")
