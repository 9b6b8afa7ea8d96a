"""What every kind of data set gives, and the rules that hold for all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from ..problems import JobProblem

Kind = Literal["npz", "npz_named", "folder", "csv", "coco"]

# One batch by array name: stacked where the samples lie stacked, else sample by sample (their sizes may differ).
Batch = dict[str, np.ndarray | list[np.ndarray]]


class Source(Protocol):
    """Samples as they are stored, before any preprocessing. Arrays are named `inputs`, or after the model's inputs."""

    @property
    def kind(self) -> Kind: ...

    @property
    def labels(self) -> np.ndarray | None:
        """One row a sample, or None where the set has no labels."""
        ...

    @property
    def ordered_classes(self) -> int | None:
        """The number of classes where labels are positions in an order of names; None where labels are given numbers."""
        ...

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Batch:
        """Samples start to stop (clipped to the set). JobProblem BAD_FILE names the sample that cannot be read."""
        ...

    def digest(self) -> str:
        """sha256 over the contents of the samples and labels."""
        ...


def allowed(path: Path, roots: Sequence[str] | None) -> Path:
    """The path with its links resolved. JobProblem PATH_NOT_ALLOWED where it leads out of every root."""
    real = path.resolve()
    if roots is not None and not any(real.is_relative_to(Path(root).resolve()) for root in roots):
        raise JobProblem(
            "PATH_NOT_ALLOWED",
            f"{path} leads to {real}, outside the allowed roots {list(roots)}: move the data below a root, or ask the"
            " operator to start the server with --allow-root",
        )
    return real


def regular_file(path: Path, what: str) -> Path:
    """The path where it is a regular file that is not empty. JobProblem BAD_FILE that begins with `what`."""
    if not path.is_file():
        raise JobProblem("BAD_FILE", f"{what}: {path} {'is not a file' if path.exists() else 'does not exist'}")
    if path.stat().st_size == 0:
        raise JobProblem("BAD_FILE", f"{what}: {path} is empty")
    return path


def numeric(array: object, what: str) -> np.ndarray:
    """The array where it holds finite numbers. JobProblem BAD_FILE that begins with `what` and names the first bad row."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        held = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise JobProblem("BAD_FILE", f"{what} holds {held}; it must hold numbers")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argwhere(~np.isfinite(array))[0][0]) if array.ndim else 0
        raise JobProblem("BAD_FILE", f"{what} holds NaN or infinity, first in row {row}")
    return array


def add_array(digest: hashlib._Hash, name: str, array: np.ndarray) -> None:
    """Adds an array's name, dtype, shape and bytes to a digest, so that no two different arrays look alike."""
    digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
    digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
