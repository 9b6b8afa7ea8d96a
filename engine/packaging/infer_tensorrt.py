"""TensorRT's part of a package's infer.py."""

from __future__ import annotations

import atexit
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt  # pyright: ignore[reportMissingImports]

try:
    from pycuda import driver  # pyright: ignore[reportMissingImports]

    cuda: Any = None
except ImportError:
    from cuda.bindings import runtime as cuda  # pyright: ignore[reportMissingImports]

    driver: Any = None


class Session:
    """The engine in TensorRT, on the first GPU. It takes only the version and the GPU architecture that built it."""

    runtime = f"tensorrt {trt.__version__}"

    def __init__(self, model: Path, threads: int):
        del threads  # the GPU computes
        if driver:
            driver.init()
            context = driver.Device(0).retain_primary_context()  # which TensorRT uses too
            context.push()
            atexit.register(context.pop)
        self.loader = trt.Runtime(trt.Logger(trt.ILogger.ERROR))
        self.engine = self.loader.deserialize_cuda_engine(model.read_bytes())
        if self.engine is None:
            raise RuntimeError(f"{self.runtime} does not take the engine: build it again on this very machine")
        self.context = self.engine.create_execution_context()
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        self.inputs = [name for name in names if self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if name not in self.inputs]
        self.buffers = {}

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """One inference; inputs and outputs in the model's own order."""
        for name, array in zip(self.inputs, arrays, strict=True):
            if not self.context.set_input_shape(name, array.shape):
                raise ValueError(f"the engine was not built for the shape {list(array.shape)} of its input {name}")
            self.buffer(name, array.nbytes).write(array)
        results = [self.result(name) for name in self.outputs]
        # On the default stream, for which the copies wait.
        if not self.context.execute_async_v3(0):
            raise RuntimeError("TensorRT did not run the engine, and has said why")
        for name, result in zip(self.outputs, results, strict=True):
            self.buffers[name].read(result)
        return results

    def result(self, name: str) -> np.ndarray:
        """Room for an output, here and on the GPU."""
        shape, kind = self.context.get_tensor_shape(name), trt.nptype(self.engine.get_tensor_dtype(name))
        array = np.empty(tuple(shape), kind)
        self.buffer(name, array.nbytes)
        return array

    def buffer(self, name: str, size: int) -> Buffer:
        """A tensor's memory on the GPU, made anew where it is too small."""
        if name not in self.buffers or self.buffers[name].size < size:
            self.buffers[name] = Buffer(size)
            self.context.set_tensor_address(name, self.buffers[name].address)
        return self.buffers[name]


class Buffer:
    """Memory on the GPU, by pycuda where it is installed, else by cuda-python."""

    def __init__(self, size: int):
        self.size = size
        self.memory = driver.mem_alloc(max(1, size)) if driver else done(cuda.cudaMalloc(max(1, size)))
        self.address = int(self.memory)

    def __del__(self):
        if not driver:
            cuda.cudaFree(self.address)

    def write(self, array: np.ndarray) -> None:
        if driver:
            driver.memcpy_htod(self.address, array)
        else:
            there = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
            done(cuda.cudaMemcpy(self.address, array.ctypes.data, array.nbytes, there))

    def read(self, array: np.ndarray) -> None:
        if driver:
            driver.memcpy_dtoh(array, self.address)
        else:
            back = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
            done(cuda.cudaMemcpy(array.ctypes.data, self.address, array.nbytes, back))


def done(answer: tuple) -> Any:
    """The value of a call of cuda-python; RuntimeError where it failed."""
    error, *values = answer
    if error != cuda.cudaError_t.cudaSuccess:
        raise RuntimeError(f"CUDA says {error.name}")
    return values[0] if values else None
