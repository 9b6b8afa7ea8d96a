"""TensorRT on the first NVIDIA GPU: engines, which run on the version and the GPU architecture that built them alone.

Written against the Python bindings of TensorRT 10.16 and 11.4, which agree in all that is used here. It has not been run
(docs/tensorrt.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .cuda_buffers import Allocation, CudaError, Device, NoGpu, open_device
from .nvidia import trt
from .session import NotLoadable, NotRunnable, Port

_DTYPES = {
    trt.DataType.FLOAT: "float32",
    trt.DataType.HALF: "float16",
    trt.DataType.INT8: "int8",
    trt.DataType.UINT8: "uint8",
    trt.DataType.INT32: "int32",
    trt.DataType.INT64: "int64",
    trt.DataType.BOOL: "bool",
}


class Log(trt.ILogger):
    """Keeps the last errors that TensorRT reports: its functions answer None or False, and say here why."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=3)

    def log(self, severity: Any, message: str) -> None:
        if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
            self._errors.append(" ".join(message.split())[:300])

    @property
    def words(self) -> str:
        return "; ".join(self._errors) or "TensorRT gives no reason"


class Loaded(NamedTuple):
    """An engine, and what must live as long as it does."""

    engine: Any
    runtime: Any
    log: Log


class _Binding(NamedTuple):
    """Buffers for feeds of one set of shapes: on the GPU by tensor name, and arrays for the outputs here."""

    shapes: dict[str, tuple[int, ...]]
    memory: dict[str, Allocation]
    outputs: dict[str, np.ndarray]


class TensorRTSession:
    """Inputs and outputs are in ordinary memory. Dynamic axes take the sizes of the engine's first profile."""

    def __init__(self, loaded: Loaded, device: Device):
        self.runtime = f"tensorrt {trt.__version__}, {device.gpu.name}"
        self.inputs, self.outputs = ports(loaded.engine)
        self._loaded, self._device = loaded, device
        self._context = loaded.engine.create_execution_context()
        if self._context is None:
            raise NotLoadable(f"the engine cannot be made ready to run: {loaded.log.words}")
        self._latest: _Binding | None = None
        self._bound: _Binding | None = None

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[object]:
        try:
            return [array.copy() for array in self._infer(self._binding(feeds), feeds)]
        except CudaError as error:
            raise NotRunnable(str(error)) from error

    def call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Timed: the copy to the GPU, the execution, the copy back and the wait for them. Buffers and shapes are ready."""
        return partial(self._infer, self._binding(feeds), feeds)

    def _infer(self, binding: _Binding, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        if self._bound is not binding:
            self._bind(binding)
        for port in self.inputs:
            self._device.to_device(binding.memory[port.name], feeds[port.name])
        if not self._context.execute_async_v3(self._device.stream):
            raise NotRunnable(self._loaded.log.words)
        for name, array in binding.outputs.items():
            self._device.to_host(array, binding.memory[name])
        self._device.synchronize()
        return list(binding.outputs.values())

    def _binding(self, feeds: Mapping[str, np.ndarray]) -> _Binding:
        """Buffers for these feeds; those of the last feeds where the shapes are the same."""
        shapes = {port.name: feeds[port.name].shape for port in self.inputs}
        if self._latest is None or self._latest.shapes != shapes:
            self._set_shapes(shapes)
            outputs = {port.name: np.empty(self._output_shape(port), port.dtype) for port in self.outputs}
            sizes = {port.name: feeds[port.name].nbytes for port in self.inputs}
            sizes |= {name: array.nbytes for name, array in outputs.items()}
            memory = {name: self._device.alloc(size) for name, size in sizes.items()}
            self._latest = _Binding(shapes, memory, outputs)
        return self._latest

    def _bind(self, binding: _Binding) -> None:
        self._set_shapes(binding.shapes)
        for name, memory in binding.memory.items():
            if not self._context.set_tensor_address(name, memory.address):
                raise NotRunnable(self._loaded.log.words)
        self._bound = binding

    def _set_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._bound = None
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                least, _, most = self._loaded.engine.get_tensor_profile_shape(name, 0)
                raise NotRunnable(
                    f"the engine was built for {name} from {list(least)} to {list(most)}, and was given {list(shape)}"
                )

    def _output_shape(self, port: Port) -> tuple[int, ...]:
        shape = tuple(self._context.get_tensor_shape(port.name))
        if any(size < 0 for size in shape):
            raise NotRunnable(f"the shape of the output {port.name} depends on the data, which is not supported")
        return shape


def open_session(path: Path, threads: int, cores: Sequence[int] = ()) -> TensorRTSession:
    """Loads an engine. Threads and cores are of no account: the GPU computes. NotLoadable."""
    try:
        device = open_device()
    except NoGpu as error:
        raise NotLoadable(str(error)) from error
    return TensorRTSession(load(path), device)


def load(path: Path) -> Loaded:
    """The engine of a file. NotLoadable, with TensorRT's reason."""
    log = Log()
    engine = None
    try:
        runtime = trt.Runtime(log)
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
    except (TypeError, RuntimeError) as error:  # the bindings' way to say that TensorRT itself does not start
        raise NotLoadable(f"TensorRT {trt.__version__} does not start here: {error}; {log.words}") from error
    if engine is None:
        raise NotLoadable(
            f"TensorRT {trt.__version__} does not take it: {log.words}. An engine runs on the TensorRT version and the GPU"
            " architecture that built it: build it here again from its ONNX model"
        )
    return Loaded(engine, runtime, log)


def ports(engine: Any) -> tuple[list[Port], list[Port]]:
    """Inputs and outputs. NotLoadable where one is of a kind that numpy or plain memory does not hold."""
    inputs: list[Port] = []
    outputs: list[Port] = []
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        (inputs if is_input else outputs).append(_port(engine, name))
    return inputs, outputs


def _port(engine: Any, name: str) -> Port:
    dtype = engine.get_tensor_dtype(name)
    if dtype not in _DTYPES:
        raise NotLoadable(f"the tensor {name} is {dtype.name}, which numpy does not have")
    if engine.get_tensor_format(name) != trt.TensorFormat.LINEAR:
        raise NotLoadable(
            f"the tensor {name} is laid out as {engine.get_tensor_format_desc(name)}: only plain rows are fed"
        )
    if engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
        raise NotLoadable(f"the input {name} is a shape, which this version does not feed")
    shape = tuple(size if size >= 0 else None for size in engine.get_tensor_shape(name))
    return Port(name, _DTYPES[dtype], shape)
