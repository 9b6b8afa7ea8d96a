"""Data sets as a CSV file of path,label with one file a sample."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..problems import JobProblem
from .files import FileSource, check_sample_file
from .source import allowed, regular_file

Row = tuple[int, list[str]]


def open_csv(path: Path, *, labelled: bool, roots: Sequence[str] | None) -> FileSource:
    """Reads the rows; the samples' files are opened when they are needed.

    Paths are relative to the CSV's folder. A first row whose label is not a number (or that reads `path`) is a header.
    Labels are integers where all of them are written so, else floats.
    Raises JobProblem BAD_FILE that names the line, PATH_NOT_ALLOWED for a path outside the roots.
    """
    regular_file(path, "the data set")
    rows = _rows(path)
    if rows and _is_header(rows[0][1]):
        rows = rows[1:]
    if not rows:
        raise JobProblem("BAD_FILE", f"the data set {path} has no samples")
    width = len(rows[0][1])
    if labelled and width != 2:
        raise JobProblem("BAD_FILE", f"the data set {path}, line {rows[0][0]}: expected path,label")
    for line, cells in rows:
        if len(cells) != width or width > 2:
            raise JobProblem("BAD_FILE", f"the data set {path}, line {line}: {len(cells)} columns, expected path,label")
    files = [(cells[0], _file(path, line, cells[0], roots)) for line, cells in rows]
    labels = _labels(path, [(line, cells[1]) for line, cells in rows]) if width == 2 else None
    return FileSource("csv", files, labels)


def _rows(path: Path) -> list[Row]:
    """The rows that are not blank, with their line numbers."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(map(str.strip, row))]
    except (UnicodeDecodeError, csv.Error) as error:
        raise JobProblem("BAD_FILE", f"the data set {path} is not a CSV file in UTF-8: {error}") from error


def _is_header(cells: list[str]) -> bool:
    return cells[0].lower() == "path" if len(cells) == 1 else _number(cells[1]) is None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _file(csv_path: Path, line: int, name: str, roots: Sequence[str] | None) -> Path:
    where = f"the data set {csv_path}, line {line}"
    if not name or "\0" in name:
        raise JobProblem("BAD_FILE", f"{where}: no path")
    file = allowed(csv_path.parent / name, roots)
    check_sample_file(file, where)
    return file


def _labels(path: Path, cells: list[tuple[int, str]]) -> np.ndarray:
    values = [_number(text) for _, text in cells]
    for (line, text), value in zip(cells, values, strict=True):
        if value is None or not np.isfinite(value):
            raise JobProblem(
                "BAD_FILE",
                f"the data set {path}, line {line}: the label {text!r} is not a finite number (give classes as numbers)",
            )
    try:
        return np.array([int(text) for _, text in cells], np.int64)
    except (ValueError, OverflowError):
        return np.array(values, np.float64)
