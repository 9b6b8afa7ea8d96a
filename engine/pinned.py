"""A worker's own copies of the files that it works on: the very bytes that were recorded, whatever becomes of their paths
while it works. A digest of a file that is opened by its path afterwards would say nothing of what was opened."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from ..contract.text import untrusted
from .jobs import Pinned, PinnedFile, Task
from .problems import JobProblem

_CHUNK = 1 << 20
_REMEDY = {
    "ORIGINAL_PROTECTED": "put the original back as it was, or open a new session on the new file",
    "VARIANT_CHANGED": "its measurements say nothing about it: make the variant again",
    "BAD_FILE": "open a new session and profile the model again",
}


def on_copies(task: Task, pinned: list[Pinned], folder: Path) -> Task:
    """The task, with the path of every pinned file that it names exchanged for that of a copy below `folder`.

    Raises JobProblem with the pinned file's own code where its bytes are not those that were recorded.
    """
    copies: dict[str, str] = {}
    for number, files in enumerate(pinned):
        first, *others = files.files
        copy = folder / "pinned" / str(number) / Path(first.path).name
        if others and all(Path(other.path).is_relative_to(first.path) for other in others):
            _copy_beside(copy, Path(first.path), others, files.code)  # the model is a folder
        else:
            _copy(first, copy, files.code)
            if others and copy.suffix.lower() == ".onnx":
                _copy_external(copy, Path(first.path).parent, {other.path: other for other in others}, files.code)
            elif others:
                _copy_beside(copy.parent, Path(first.path).parent, others, files.code)
        copies[first.path] = str(copy)
    named = {name: value for name, value in task if isinstance(value, str)}
    return task.model_copy(update={name: copies[value] for name, value in named.items() if value in copies})


def _copy_beside(place: Path, folder: Path, files: list[PinnedFile], code: str) -> None:
    """The files of a model that is a folder, or that lie beside a model, to the same places relative to the copy."""
    place.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = Path(file.path)
        if not path.is_relative_to(folder):
            raise JobProblem("BAD_FILE", "the model keeps files outside its own folder: move them into it")
        _copy(file, place / path.relative_to(folder), code)


def _copy_external(copy: Path, folder: Path, files: dict[str, PinnedFile], code: str) -> None:
    """The weights that a model in `folder` keeps in files of their own, to where its copy looks for them."""
    # Here alone, so that a job whose models are single files need not parse them twice.
    from .models import onnx_file
    from .models.tensors import external_file, external_tensors, location

    for tensor in external_tensors(onnx_file.read(copy)):
        file, place = str(external_file(tensor, folder)), copy.parent / location(tensor)
        if file not in files or not place.resolve().is_relative_to(copy.parent.resolve()):
            raise JobProblem("BAD_FILE", "the model keeps its weights outside its own folder: move them beside it")
        if not place.exists():
            _copy(files[file], place, code)


def _copy(file: PinnedFile, place: Path, code: str) -> None:
    """Reads the file once: what is hashed is what is kept."""
    name = untrusted(Path(file.path).name)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Without NONBLOCK a pipe in its place would hold us for ever.
        source = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise JobProblem(code, f"{name} cannot be read ({error.strerror}): {_REMEDY[code]}") from error
    digest = hashlib.sha256()
    try:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            raise JobProblem(code, f"{name} is no regular file any more: {_REMEDY[code]}")
        with place.open("xb") as copy:
            while chunk := os.read(source, _CHUNK):
                digest.update(chunk)
                copy.write(chunk)
    finally:
        os.close(source)
    if digest.hexdigest() != file.sha256:
        recorded = f"sha256 {file.sha256[:12]}… is recorded, {digest.hexdigest()[:12]}… was read"
        raise JobProblem(code, f"{name} is not the file that was recorded ({recorded}): {_REMEDY[code]}")
