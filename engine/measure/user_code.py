"""Functions of the user's own (metrics, adapters, loaders): of files that the operator allowed, called in the sandbox alone."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Literal

import numpy as np

from ...contract.evaluation import UserCode
from ...contract.text import untrusted
from ..problems import JobProblem

Purpose = Literal["metric", "adapter", "loader"]
Arrays = Mapping[str, np.ndarray]

_MODULE = "edgeopt_user_code"


@dataclass(frozen=True)
class UserFunction:
    """A function that was loaded from the very bytes that were allowed. `purpose` is what messages call it."""

    code: UserCode
    purpose: Purpose
    function: Callable[..., object]

    def __call__(self, where: str, *arguments: object) -> np.ndarray:
        """Its answer as an array. `where` is for the message. JobProblem INVALID_ARGUMENT where it fails."""
        with _blamed(self.code, self.purpose, f"failed on {where}"):
            return np.asarray(self.function(*arguments))

    def as_numbers(self, where: str, *arguments: object) -> np.ndarray:
        """Its answer as float64, likewise."""
        with _blamed(self.code, self.purpose, f"failed on {where}"):
            return np.asarray(self.function(*arguments), np.float64)

    def made(self) -> object:
        """What it makes of nothing. JobProblem INVALID_ARGUMENT where it fails."""
        with _blamed(self.code, self.purpose, "failed"):
            return self.function()

    def wrong(self, what: str, wanted: str) -> JobProblem:
        """What it answers is not what it must."""
        return JobProblem("INVALID_ARGUMENT", f"the {self.purpose} {self.code} {what}; it must give {wanted}")


def load(code: UserCode | None, purpose: Purpose) -> UserFunction:
    """The function, from the very bytes that were allowed.

    Raises JobProblem: SAME_DATASET where the file is gone or has changed; INVALID_ARGUMENT where it does not run or has no
    such function.
    """
    if code is None:
        raise JobProblem("INVALID_ARGUMENT", "the metric custom needs evaluation.metric_code, as file.py:function")
    path = Path(code.path)
    source = path.read_bytes() if path.is_file() else None
    if source is None or hashlib.sha256(source).hexdigest() != code.sha256:
        raise JobProblem(
            "SAME_DATASET",
            f"the file of the {purpose}, {untrusted(code.path, 300)}, {'is gone' if source is None else 'has changed'}:"
            " put it back as it was, or have the server started again and open a new session",
        )
    name = f"{_MODULE}_{purpose}"
    loader = SourceFileLoader(name, code.path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None, "a loader is given"
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    with _blamed(code, purpose, "does not load"):
        # Not loader.exec_module: it would take a compiled copy beside the file, which nobody allowed.
        exec(loader.source_to_code(source, code.path), module.__dict__)
    function = getattr(module, code.function, None)
    if not callable(function):
        raise JobProblem("INVALID_ARGUMENT", f"the file of the {purpose} {code} has no such function")
    return UserFunction(code, purpose, function)


@contextmanager
def _blamed(code: UserCode, purpose: Purpose, what: str) -> Iterator[None]:
    """An exception of user code as a JobProblem with its last line; running out of memory stays what it is."""
    try:
        yield
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:
        reason = untrusted(traceback.format_exception_only(error)[-1], 300)
        raise JobProblem("INVALID_ARGUMENT", f"the {purpose} {code} {what}: {reason}") from error


class Adapter:
    """`adapter(outputs)` or, for detectors, `adapter(outputs, (height, width))`: one sample at a time, its answer checked."""

    def __init__(self, function: UserFunction):
        self.function = function
        self.calls = 0

    def value(self, outputs: Arrays) -> np.ndarray:
        """What the metric reads of one sample, without a batch axis: a copy. JobProblem INVALID_ARGUMENT where it fails."""
        where = self._next()
        value = self.function(where, _unchangeable(outputs))
        if value.dtype.kind not in "biuf":
            raise self.function.wrong(f"gives {value.dtype} on {where}", "numbers")
        return value.copy()

    def rows(self, outputs: Arrays, size: tuple[int, int]) -> np.ndarray:
        """The detections of one image: float64 (n, 6). JobProblem INVALID_ARGUMENT where it fails or gives anything else."""
        where = self._next()
        rows = self.function.as_numbers(where, _unchangeable(outputs), size)
        if rows.size and (rows.ndim != 2 or rows.shape[1] != 6):
            wanted = "rows x1, y1, x2, y2, score, class"
            raise self.function.wrong(f"gives an array of shape {list(rows.shape)} on {where}", wanted)
        return rows.reshape(-1, 6).copy()

    def stacked(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """One array, a row a sample. JobProblem INVALID_ARGUMENT where samples differ in shape."""
        shapes = sorted({value.shape for value in values})
        if len(shapes) > 1:
            what = f"gives arrays of shape {list(shapes[0])} and {list(shapes[-1])}"
            raise self.function.wrong(what, "an array of one shape for every sample")
        return np.stack(values)

    def _next(self) -> str:
        self.calls += 1
        return f"sample {self.calls - 1}"


def _unchangeable(outputs: Arrays) -> dict[str, np.ndarray]:
    """Views that a function cannot write to: it would judge its own work later."""
    views = {name: values.view() for name, values in outputs.items()}
    for view in views.values():
        view.flags.writeable = False
    return views
