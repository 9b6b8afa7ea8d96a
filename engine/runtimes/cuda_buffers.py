"""Memory on the NVIDIA GPU, and copies to it and back: by pycuda where it is installed, else by cuda-bindings
(cuda-python). Nothing is imported before a device is opened, and nothing of the project ever is."""

from __future__ import annotations

import atexit
import importlib.util
import weakref
from typing import NamedTuple, Protocol

import numpy as np


class Gpu(NamedTuple):
    """`compute_capability`: of the architecture, as `8.7`."""

    name: str
    compute_capability: str


class Allocation(Protocol):
    """Memory on the GPU, freed together with this object."""

    @property
    def address(self) -> int: ...


class Device(Protocol):
    """The first GPU and one stream on it. Copies are queued on the stream, from and to ordinary (pageable) memory, which
    must stay until `synchronize`. All methods raise CudaError."""

    gpu: Gpu
    stream: int

    def alloc(self, size: int) -> Allocation:
        """`size` bytes."""
        ...

    def to_device(self, target: Allocation, source: np.ndarray) -> None: ...

    def to_host(self, target: np.ndarray, source: Allocation) -> None: ...

    def synchronize(self) -> None:
        """Waits for all that was queued."""
        ...


class CudaError(Exception):
    """CUDA failed; the message is its own words on one line."""


class NoGpu(CudaError):
    """There is no GPU that can be used, or nothing to use it by; the message says which."""


def open_device() -> Device:
    """The first GPU. Raises NoGpu."""
    if _installed("pycuda"):
        return PycudaDevice()
    if _installed("cuda.bindings"):
        return CudaBindingsDevice()
    raise NoGpu(
        "neither cuda-python nor pycuda is installed, by which buffers on the GPU are had: pip install cuda-python"
    )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of its parent
        return False


class CudaBindingsDevice:
    """By cuda-bindings' `runtime`, whose functions answer (error, values...)."""

    def __init__(self) -> None:
        from cuda.bindings import runtime  # pyright: ignore[reportMissingImports]

        self._cuda = runtime
        try:
            (count,) = self._done(runtime.cudaGetDeviceCount())
        except CudaError as error:
            raise NoGpu(f"no NVIDIA GPU can be used here: {error}") from error
        if count == 0:
            raise NoGpu("this machine has no NVIDIA GPU")
        (properties,) = self._done(runtime.cudaGetDeviceProperties(0))
        name = properties.name.decode(errors="replace").rstrip("\0")
        self.gpu = Gpu(name, f"{properties.major}.{properties.minor}")
        (self._stream,) = self._done(runtime.cudaStreamCreate())
        self.stream = int(self._stream)
        weakref.finalize(self, runtime.cudaStreamDestroy, self._stream)

    def alloc(self, size: int) -> CudaBindingsAllocation:
        (address,) = self._done(self._cuda.cudaMalloc(max(1, size)))
        return CudaBindingsAllocation(self._cuda, int(address))

    def to_device(self, target: Allocation, source: np.ndarray) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._done(self._cuda.cudaMemcpyAsync(target.address, source.ctypes.data, source.nbytes, kind, self._stream))

    def to_host(self, target: np.ndarray, source: Allocation) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._done(self._cuda.cudaMemcpyAsync(target.ctypes.data, source.address, target.nbytes, kind, self._stream))

    def synchronize(self) -> None:
        self._done(self._cuda.cudaStreamSynchronize(self._stream))

    def _done(self, answer: tuple) -> tuple:
        """The values of an answer. CudaError."""
        error, *values = answer
        if error == self._cuda.cudaError_t.cudaSuccess:
            return tuple(values)
        words = self._cuda.cudaGetErrorString(error)[1].decode(errors="replace")
        raise CudaError(f"{error.name}: {words}")


class CudaBindingsAllocation:
    def __init__(self, cuda: object, address: int):
        self.address = address
        weakref.finalize(self, cuda.cudaFree, address)  # pyright: ignore[reportAttributeAccessIssue]


class PycudaDevice:
    """By pycuda's `driver`, in the context that TensorRT uses too (the device's primary one)."""

    def __init__(self) -> None:
        import pycuda.driver as cuda  # pyright: ignore[reportMissingImports]

        self._cuda = cuda
        try:
            cuda.init()
            device = cuda.Device(0)
            context = device.retain_primary_context()
            context.push()
        except cuda.Error as error:
            raise NoGpu(f"no NVIDIA GPU can be used here: {error}") from error
        atexit.register(context.pop)  # pycuda aborts the process where a context is left at its end
        major, minor = device.compute_capability()
        self.gpu = Gpu(device.name(), f"{major}.{minor}")
        self._stream = cuda.Stream()
        self.stream = int(self._stream.handle)

    def alloc(self, size: int) -> PycudaAllocation:
        try:
            return PycudaAllocation(self._cuda.mem_alloc(max(1, size)))
        except self._cuda.Error as error:
            raise CudaError(str(error)) from error

    def to_device(self, target: Allocation, source: np.ndarray) -> None:
        try:
            self._cuda.memcpy_htod_async(target.address, source, self._stream)
        except self._cuda.Error as error:
            raise CudaError(str(error)) from error

    def to_host(self, target: np.ndarray, source: Allocation) -> None:
        try:
            self._cuda.memcpy_dtoh_async(target, source.address, self._stream)
        except self._cuda.Error as error:
            raise CudaError(str(error)) from error

    def synchronize(self) -> None:
        try:
            self._stream.synchronize()
        except self._cuda.Error as error:
            raise CudaError(str(error)) from error


class PycudaAllocation:
    """pycuda frees its memory with its own object, which is kept here."""

    def __init__(self, memory: object):
        self._memory = memory
        self.address = int(memory)  # pyright: ignore[reportArgumentType]
