"""A model that is a folder: which files it is made of. The server asks, so: stdlib, nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ...contract.text import untrusted
from ..problems import JobProblem

# A SavedModel has a handful; all are hashed at every call, and copied for every job.
MOST_FILES = 1000


def members(folder: Path, roots: Iterable[Path] | None = None) -> list[Path]:
    """Every file below the folder, in the order of their names, each by its place there: a link is not resolved.

    A link to a file may lead anywhere below the `roots` or the folder; where there are no `roots`, nobody asks.
    Raises JobProblem: BAD_FILE for what no model's folder holds, PATH_NOT_ALLOWED for a link that leads out.
    """
    allowed = None if roots is None else [folder.resolve(), *(Path(root).resolve() for root in roots)]
    found: list[Path] = []
    for place, names, files in os.walk(folder):
        for name in names:
            if Path(place, name).is_symlink():
                raise _unfit(folder, name, "a linked folder: put the folder itself in its place")
        for name in files:
            path = Path(place, name)
            _check(folder, path, allowed)
            found.append(path)
            if len(found) > MOST_FILES:
                raise _unfit(folder, "", f"over {MOST_FILES} files: put the model into a folder of its own")
    return sorted(found)


def _check(folder: Path, path: Path, allowed: list[Path] | None) -> None:
    name = str(path.relative_to(folder))
    if not name.isprintable():
        raise _unfit(folder, name, "a file whose name cannot be shown: rename it")
    if not path.is_file():
        raise _unfit(folder, name, "no regular file: remove it")
    target = path.resolve()
    if allowed is not None and not any(target.is_relative_to(place) for place in allowed):
        raise JobProblem(
            "PATH_NOT_ALLOWED",
            f"in the model's folder {untrusted(folder.name)}, {untrusted(name)} is a link to {untrusted(str(target), 300)},"
            " outside the allowed roots: put the file itself in its place, or ask the operator to start the server with"
            " --allow-root",
        )


def _unfit(folder: Path, name: str, what: str) -> JobProblem:
    where = f"{untrusted(name)} is " if name else "there are "
    return JobProblem("BAD_FILE", f"in the model's folder {untrusted(folder.name)}, {where}{what}")
