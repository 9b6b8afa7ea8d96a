"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import (
    EngineError,
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoModel,
    NoSuchFile,
    NotImplemented,
    RuntimeException,
)

from ...contract.measures import TensorInfo
from ..problems import JobProblem
from .base import adapt

SUFFIXES: tuple[str, ...] = (".onnx",)

# ONNX Runtime's exceptions share no base of their own.
ORT_ERRORS: tuple[type[Exception], ...] = (
    EPFail,
    EngineError,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoModel,
    NoSuchFile,
    NotImplemented,
    RuntimeException,
)

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    "tensor(string)": "string",
} | {f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}


class OnnxRuntimeRunner:
    """A session on the CPU provider. Weights that the graph lists among its inputs are not inputs."""

    def __init__(self, session: ort.InferenceSession):
        self.name = f"onnxruntime {ort.__version__}"
        self.inputs = [_tensor(node) for node in session.get_inputs()]
        self.outputs = [_tensor(node) for node in session.get_outputs()]
        self._session = session

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            values = self._session.run(None, adapt(feeds, self.inputs))
        except ORT_ERRORS as error:
            _raise("NOT_RUNNABLE", "the model loads and does not run on this data", error)
        named = zip(self.outputs, values, strict=True)
        return {info.name: value for info, value in named if isinstance(value, np.ndarray)}

    def raw_call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return partial(self._session.run, None, adapt(feeds, self.inputs))


def open_model(path: Path, threads: int) -> OnnxRuntimeRunner:
    """Loads an ONNX file with `threads` intra-op threads and one inter-op thread. JobProblem BAD_FILE with the reason."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        _raise("BAD_FILE", f"{path.name} does not load in ONNX Runtime {ort.__version__}", error)
    return OnnxRuntimeRunner(session)


def _tensor(node: ort.NodeArg) -> TensorInfo:
    shape = [axis if isinstance(axis, int) and axis >= 0 else None for axis in node.shape]
    kind = str(node.type)
    return TensorInfo(name=node.name, dtype=_DTYPES.get(kind, kind), shape=shape)


def _raise(code: str, what: str, error: Exception) -> NoReturn:
    """The runtime's own words on one line, cut; an allocation that failed stays a MemoryError for the supervisor."""
    reason = " ".join(str(error).split())[:500]
    if "allocate memory" in reason or "bad_alloc" in reason:
        raise MemoryError(f"{what}: {reason}") from error
    raise JobProblem(code, f"{what}: {reason}") from error
