"""OpenVINO on the CPU, in float32 unless the model's file says bfloat16: OpenVINO's own default is that wherever the
processor has it, without a word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..models.openvino_said import FLOAT_LAYERS
from .openvino_quietly import ov
from .session import NotLoadable, NotRunnable, Port, reject

# OpenVINO's words for what the layers in float compute in.
_HINTS = {"float32": "f32", "bfloat16": "bf16"}
# Of the types whose names are not numpy's.
_DTYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "boolean": "bool"} | {
    f"{short}{bits}": f"{long}{bits}" for short, long in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)
}


class LayerTime(NamedTuple):
    """A layer of the compiled model in one inference. `kernel`: what runs it, and in which numbers (`..._I8`, `..._FP32`)."""

    type: str
    kernel: str
    us: float


class OpenVINOSession:
    """`runtime` says the precision that the compiled model computes in where its file does not say otherwise; what is
    quantized in the file runs in 8 bits."""

    def __init__(self, compiled: ov.CompiledModel, cores: Sequence[int]):
        precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.runtime = f"openvino {ov.__version__.partition('-')[0]}, {precision}"
        self.inputs = [_port(port) for port in compiled.inputs]
        self.outputs = [_port(port) for port in compiled.outputs]
        self._request = compiled.create_infer_request()
        self._cores = cores

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[object]:
        """Inputs are shared here too: else they would be copied into the array that the timed call has lent."""
        try:
            with _free_on(self._cores):
                values = self._request.infer(self._indexed(feeds), share_inputs=True)
        except RuntimeError as error:
            reject(NotRunnable, error)
        return [values[index] for index in range(len(self.outputs))]

    def call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Without the copy of the outputs that `run` makes, as an application would do it."""
        return partial(self._request.infer, self._indexed(feeds), share_inputs=True, share_outputs=True)

    def layer_times(self) -> list[LayerTime]:
        """Of the last run; the model must have been compiled with counters."""
        info = self._request.profiling_info
        return [LayerTime(layer.node_type, layer.exec_type, 1e6 * layer.real_time.total_seconds()) for layer in info]

    def _indexed(self, feeds: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
        """By place: a tensor may have no name that the runtime knows it by."""
        return {index: feeds[port.name] for index, port in enumerate(self.inputs)}


def open_session(path: Path, threads: int, cores: Sequence[int] = (), *, counters: bool = False) -> OpenVINOSession:
    """Loads an IR, its weights from the .bin beside it; `counters`: each layer is timed. NotLoadable."""
    core = ov.Core()
    try:
        with _free_on(cores):
            model = core.read_model(path)
            wanted = options(threads, float_layers(model)) | {"PERF_COUNT": counters}
            return OpenVINOSession(core.compile_model(model, "CPU", wanted), cores)
    except RuntimeError as error:
        reject(NotLoadable, error)


def float_layers(model: ov.Model) -> str:
    """float32, or bfloat16 where the file says so."""
    path = list(FLOAT_LAYERS)
    return str(model.get_rt_info(path).value) if model.has_rt_info(path) else "float32"


def options(threads: int, float_layers: str = "float32") -> dict[str, object]:
    """One stream, made for latency. Unpinned: a caller that is held to a core leaves the others to the other
    threads, and pinned ones took up to four times as long wherever other work had one of their cores."""
    return {
        "INFERENCE_PRECISION_HINT": _HINTS.get(float_layers, "f32"),
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
    }


@contextmanager
def _free_on(cores: Sequence[int]) -> Iterator[None]:
    """The calling thread may use all of these cores meanwhile; without any nothing changes.

    OpenVINO has no more threads than the calling thread has cores when it makes them, at loading and at the first
    inference: held to one core, as while a model is timed on several threads, it computes in one, whatever it was asked for.
    """
    if not cores:
        yield
        return
    held = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, held)


def _port(port: ov.ConstOutput) -> Port:
    names = sorted(port.get_names())
    kind = port.element_type.get_type_name()
    axes = [] if port.partial_shape.rank.is_dynamic else port.partial_shape
    shape = tuple(None if axis.is_dynamic else axis.get_length() for axis in axes)
    return Port(names[0] if names else port.node.friendly_name, _DTYPES.get(kind, kind), shape)
