"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

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

from .recorded_options import recorded_options
from .session import NotLoadable, NotRunnable, Port, reject

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


class OnnxRuntimeSession:
    """Weights that the graph lists among its inputs are not inputs."""

    def __init__(self, session: ort.InferenceSession):
        self.runtime = f"onnxruntime {ort.__version__}"
        self.inputs = [_port(node) for node in session.get_inputs()]
        self.outputs = [_port(node) for node in session.get_outputs()]
        self._session = session

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[object]:
        try:
            return self._session.run(None, feeds)
        except ORT_ERRORS as error:
            reject(NotRunnable, error)

    def call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return partial(self._session.run, None, feeds)


def open_session(path: Path, threads: int, cores: Sequence[int] = ()) -> OnnxRuntimeSession:
    """Loads an ONNX file, with `session_options` and those that it carries. NotLoadable."""
    try:
        return OnnxRuntimeSession(inference_session(path, session_options(threads, cores)))
    except ORT_ERRORS as error:
        reject(NotLoadable, error)


def inference_session(path: Path, options: ort.SessionOptions) -> ort.InferenceSession:
    """The file with these options, and with those that it carries (`recorded_options`). Raises ORT_ERRORS."""
    recorded = recorded_options(path)
    if level := recorded.get("level"):
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}")
    disabled = recorded.get("disabled_optimizers")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled)


def session_options(threads: int, cores: Sequence[int] = ()) -> ort.SessionOptions:
    """ONNX Runtime's defaults, except that on `cores` each thread has its own and rests between calls.

    Threads that spin while they wait disturb each other and whatever runs next: with the defaults, on two cores, the ratio
    of two identical models scattered by 11 to 35 % from process to process; so placed, by 0.4 %.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if cores:
        # The calling thread is the pool's first; onnxruntime counts processors from 1.
        others = ";".join(str(core + 1) for core in cores[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", others)
        options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _port(node: ort.NodeArg) -> Port:
    shape = tuple(axis if isinstance(axis, int) and axis >= 0 else None for axis in node.shape)
    kind = str(node.type)
    return Port(node.name, _DTYPES.get(kind, kind), shape)
