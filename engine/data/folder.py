"""Data sets as a folder of class folders with images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..problems import JobProblem
from .files import FileSource, check_sample_file
from .source import allowed


def open_folder(path: Path, *, labelled: bool, roots: Sequence[str] | None) -> FileSource:
    """Lists the images; nothing is decoded yet.

    A class folder whose name is a number has that class index, where all names are numbers; else the index is the
    position in sorted order. Hidden entries are passed over. A set without labels may lie in the folder itself.
    Raises JobProblem BAD_FILE for an empty class or a foreign file, PATH_NOT_ALLOWED for a link out of the roots.
    """
    entries = _visible(path, roots)
    classes = [entry for entry in entries if entry.is_dir()]
    if not classes and not labelled:
        return FileSource("folder", _images(path, path, roots), None)
    if not classes:
        raise JobProblem(
            "BAD_FILE", f"the data set {path} has no class folders: put each class's images in a folder of its own"
        )
    numbered = all(folder.name.isascii() and folder.name.isdecimal() for folder in classes)
    indices = [int(folder.name) for folder in classes] if numbered else list(range(len(classes)))
    if len(set(indices)) < len(indices):
        raise JobProblem("BAD_FILE", f"two class folders of {path} have the same number")
    of_class = [_images(folder, path, roots) for folder in classes]
    labels = np.repeat(np.array(indices, np.int64), [len(files) for files in of_class])
    files = [file for files in of_class for file in files]
    return FileSource("folder", files, labels, ordered_classes=None if numbered else len(classes))


def _images(folder: Path, top: Path, roots: Sequence[str] | None) -> list[tuple[str, Path]]:
    entries = _visible(folder, roots)
    if not entries:
        raise JobProblem("BAD_FILE", f"the folder {folder} holds no images: fill it or take it away")
    for entry in entries:
        check_sample_file(entry, f"the folder {folder}")
    return [(entry.relative_to(top).as_posix(), entry) for entry in entries]


def _visible(folder: Path, roots: Sequence[str] | None) -> list[Path]:
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=lambda e: e.name)
    for entry in entries:
        allowed(entry, roots)
    return entries
