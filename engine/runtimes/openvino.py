"""OpenVINO on the CPU, in float32: its own default is bfloat16 wherever the processor has it, without a word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from .openvino_quietly import ov
from .session import NotLoadable, NotRunnable, Port, reject

# Of the types whose names are not numpy's.
_DTYPES = {"f16": "float16", "f32": "float32", "f64": "float64", "boolean": "bool"} | {
    f"{short}{bits}": f"{long}{bits}" for short, long in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)
}


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
            with _new_threads_on(self._cores):
                values = self._request.infer(self._indexed(feeds), share_inputs=True)
        except RuntimeError as error:
            reject(NotRunnable, error)
        return [values[index] for index in range(len(self.outputs))]

    def call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Without the copy of the outputs that `run` makes, as an application would do it."""
        return partial(self._request.infer, self._indexed(feeds), share_inputs=True, share_outputs=True)

    def _indexed(self, feeds: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
        """By place: a tensor may have no name that the runtime knows it by."""
        return {index: feeds[port.name] for index, port in enumerate(self.inputs)}


def open_session(path: Path, threads: int, cores: Sequence[int] = ()) -> OpenVINOSession:
    """Loads an IR, its weights from the .bin beside it. NotLoadable."""
    core = ov.Core()
    try:
        with _new_threads_on(cores):
            return OpenVINOSession(core.compile_model(core.read_model(path), "CPU", options(threads)), cores)
    except RuntimeError as error:
        reject(NotLoadable, error)


def options(threads: int) -> dict[str, object]:
    """One stream, made for latency, in float32, its threads left where they are put."""
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
    }


@contextmanager
def _new_threads_on(cores: Sequence[int]) -> Iterator[None]:
    """What threads OpenVINO makes meanwhile go to the cores but the first, the calling thread's: one each where there are
    two, to share where there are more. Without cores nothing is moved.

    OpenVINO has no more threads than the calling thread has cores: held to one, as while a model is timed on several, it
    computes in one thread, whatever it was asked for. Its own pinning would put them all on that core, or move the caller.
    """
    if not cores:
        yield
        return
    held, before = os.sched_getaffinity(0), _threads()
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        for thread in _threads() - before:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores[1:])
        os.sched_setaffinity(0, held)


def _threads() -> set[int]:
    return {int(thread.name) for thread in Path("/proc/self/task").iterdir()}


def _port(port: ov.ConstOutput) -> Port:
    names = sorted(port.get_names())
    kind = port.element_type.get_type_name()
    axes = [] if port.partial_shape.rank.is_dynamic else port.partial_shape
    shape = tuple(None if axis.is_dynamic else axis.get_length() for axis in axes)
    return Port(names[0] if names else port.node.friendly_name, _DTYPES.get(kind, kind), shape)
