"""Whether arrays fit the tensors that a model takes, and the same arrays in their dtypes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...contract.measures import TensorInfo
from ..problems import JobProblem


def adapt(feeds: Mapping[str, np.ndarray], inputs: Sequence[TensorInfo]) -> dict[str, np.ndarray]:
    """The arrays as the model takes them: every input named, shapes fitting, dtypes converted, memory contiguous.

    Raises JobProblem INVALID_ARGUMENT that says in words what does not fit.
    """
    wanted = {info.name for info in inputs}
    if missing := sorted(wanted - set(feeds)):
        raise JobProblem(
            "INVALID_ARGUMENT", f"the model's inputs {missing} got no data; the data has {sorted(feeds)}", missing
        )
    if unknown := sorted(set(feeds) - wanted):
        raise JobProblem("INVALID_ARGUMENT", f"the model has no inputs {unknown}; its inputs are {sorted(wanted)}")
    return {info.name: _adapt_one(feeds[info.name], info) for info in inputs}


def _adapt_one(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    if not fits(array.shape, info.shape):
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"the model's input {info.name!r} takes shape {shape_text(info.shape)} and was given {list(array.shape)}",
        )
    return np.ascontiguousarray(convert(array, info))


def fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether a concrete shape is one that the model takes."""
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape for people: dynamic axes as `?`."""
    return "[" + ", ".join("?" if axis is None else str(axis) for axis in shape) + "]"


def convert(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    """The array in the input's dtype.

    Floats are rounded to a narrower float as any runtime would; every other conversion must keep each value exactly.
    Raises JobProblem INVALID_ARGUMENT where it would not.
    """
    if array.dtype == info.dtype:
        return array
    if info.dtype == "string" or array.dtype.kind not in "biuf":
        raise JobProblem("INVALID_ARGUMENT", f"input {info.name!r} takes {info.dtype} and was given {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(info.dtype)
    if not _kept(array, converted):
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"input {info.name!r} takes {info.dtype} and was given {array.dtype} with values that {info.dtype} cannot"
            " hold; give the data in that dtype or state the preprocessing that makes it so",
        )
    return converted


def _kept(array: np.ndarray, converted: np.ndarray) -> bool:
    """Whether the values survived: finite from float to float, else whole and within the range that is held exactly."""
    if array.size == 0:
        return True
    if array.dtype.kind == converted.dtype.kind == "f":
        return bool(np.isfinite(converted).all())
    low, high = _exact_range(converted.dtype)
    whole = array.dtype.kind != "f" or bool((np.rint(array) == array).all())
    return whole and low <= array.min().item() and array.max().item() <= high


def _exact_range(dtype: np.dtype) -> tuple[int, int]:
    """The whole numbers of which the dtype holds every one."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":
        most = 2 ** (np.finfo(dtype).nmant + 1)
        return -most, most
    limits = np.iinfo(dtype)
    return limits.min, limits.max
