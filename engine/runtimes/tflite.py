"""TensorFlow Lite on the CPU, by LiteRT's interpreter with the delegate that it ships (XNNPACK). TensorFlow is not needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from .session import NotLoadable, NotRunnable, Port, reject

# The four bytes that follow the offset of the root table: every version 3 file has them, and there is no other version.
IDENTIFIER = b"TFL3"
_LEAST_BYTES = 8

Details = Mapping[str, Any]
# A tensor's index in the interpreter, and what it is fed.
Fed = list[tuple[int, np.ndarray]]


class TFLiteSession:
    """Inputs and outputs are the first subgraph's, in its order."""

    def __init__(self, interpreter: Interpreter, cores: Sequence[int]):
        self.runtime = f"ai-edge-litert {version('ai-edge-litert')}"
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        names = _signature_names(interpreter)
        self.inputs = [_port(details, names) for details in inputs]
        self.outputs = [_port(details, names) for details in outputs]
        self._interpreter = interpreter
        self._cores = cores
        self._fed = [int(details["index"]) for details in inputs]
        self._given = [int(details["index"]) for details in outputs]
        self._shapes = {int(details["index"]): tuple(map(int, details["shape"])) for details in inputs}

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[object]:
        try:
            with _placed(self._cores):
                return self._infer(self._indexed(feeds))
        except (ValueError, RuntimeError) as error:
            reject(NotRunnable, error)

    def call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """What an application does each time: inputs set, tensors allocated anew where a shape differs from the last
        call's, outputs copied out."""
        return partial(self._infer, self._indexed(feeds))

    def _indexed(self, feeds: Mapping[str, np.ndarray]) -> Fed:
        return [(index, feeds[port.name]) for index, port in zip(self._fed, self.inputs, strict=True)]

    def _infer(self, fed: Fed) -> list[np.ndarray]:
        interpreter = self._interpreter
        if any(self._shapes.get(index) != value.shape for index, value in fed):
            self._allocate(fed)
        for index, value in fed:
            interpreter.set_tensor(index, value)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in self._given]

    def _allocate(self, fed: Fed) -> None:
        self._shapes = {}  # unknown, should allocating fail half-way
        for index, value in fed:
            self._interpreter.resize_tensor_input(index, value.shape)
        self._interpreter.allocate_tensors()
        self._shapes = {index: value.shape for index, value in fed}


def open_session(path: Path, threads: int, cores: Sequence[int] = ()) -> TFLiteSession:
    """Loads a .tflite file. NotLoadable."""
    check_bytes(path)
    try:
        with _placed(cores):
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
            return TFLiteSession(interpreter, cores)
    except (ValueError, RuntimeError) as error:
        reject(NotLoadable, error)


def check_bytes(path: Path) -> None:
    """NotLoadable where no TensorFlow Lite file begins like this one, before a native parser sees it."""
    if not path.is_file():
        raise NotLoadable("it is no regular file")
    with path.open("rb") as file:
        head = file.read(_LEAST_BYTES)
    if len(head) < _LEAST_BYTES:
        raise NotLoadable("it is too short for a TensorFlow Lite model")
    if head[4:] != IDENTIFIER:
        raise NotLoadable("it does not begin like a TensorFlow Lite model")


def plain_name(tensor: str) -> str:
    """A tensor's name without what the converter puts around it: `serving_default_input_1:0` is `input_1`."""
    return tensor.removeprefix("serving_default_").removesuffix(":0")


def _signature_names(interpreter: Interpreter) -> dict[int, str]:
    """Names by a tensor's index, where the file has exactly one signature: those that its author gave."""
    if len(interpreter.get_signature_list()) != 1:
        return {}
    signature = interpreter.get_signature_runner()
    named = {**signature.get_input_details(), **signature.get_output_details()}
    return {int(details["index"]): name for name, details in named.items()}


def _port(details: Details, names: Mapping[int, str]) -> Port:
    name = names.get(int(details["index"])) or plain_name(details["name"])
    dtype = np.dtype(details["dtype"])
    shape = tuple(int(axis) if axis >= 0 else None for axis in details["shape_signature"])
    scales, zero_points = (details["quantization_parameters"][what] for what in ("scales", "zero_points"))
    if dtype.kind not in "iu" or len(scales) != 1:
        return Port(name, "string" if dtype.kind in "SO" else dtype.name, shape)
    return Port(name, dtype.name, shape, float(scales[0]), int(zero_points[0]))


@contextmanager
def _placed(cores: Sequence[int]) -> Iterator[None]:
    """Threads that are born meanwhile get a core of their own each: they would stay on the first, the calling thread's.

    The interpreter makes them when it loads, and some kernels theirs at the first inference.
    """
    before = _threads() if len(cores) > 1 else set()
    yield
    born = sorted(_threads() - before) if len(cores) > 1 else []
    for place, thread in enumerate(born):
        with suppress(ProcessLookupError):  # it has ended since
            os.sched_setaffinity(thread, {cores[1 + place % (len(cores) - 1)]})


def _threads() -> set[int]:
    return {int(entry.name) for entry in Path("/proc/self/task").iterdir()}
