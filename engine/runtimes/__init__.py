"""Inference runtimes: one module each. A model file is opened by the runtime of its format."""

from __future__ import annotations

from pathlib import Path

from ..problems import JobProblem
from . import onnxruntime
from .base import Runner

_OPENERS = dict.fromkeys(onnxruntime.SUFFIXES, onnxruntime.open_model)


def open_runner(path: str | Path, threads: int = 1) -> Runner:
    """Loads a model file for inference on the CPU with `threads` threads.

    Raises JobProblem: BAD_FILE where the file is absent, empty, cut, foreign or does not load; UNAVAILABLE where no
    runtime of this version opens its format.
    """
    path = Path(path)
    opener = _OPENERS.get(path.suffix.lower())
    if opener is None:
        known = ", ".join(sorted(_OPENERS))
        raise JobProblem("UNAVAILABLE", f"no runtime in this version opens {path.name!r}; it opens {known}")
    if not path.is_file():
        raise JobProblem("BAD_FILE", f"the model file {path} {'is a folder' if path.is_dir() else 'does not exist'}")
    if path.stat().st_size == 0:
        raise JobProblem("BAD_FILE", f"the model file {path} is empty")
    return opener(path, threads)
