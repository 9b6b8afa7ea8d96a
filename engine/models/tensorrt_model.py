"""A TensorRT engine. All but its origin is asked of TensorRT, which loads it for that: an engine has no graph to read."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..problems import JobProblem
from ..runtimes.cuda_buffers import Gpu, NoGpu, open_device
from ..runtimes.nvidia import trt
from ..runtimes.session import NotLoadable, Port
from ..runtimes.tensorrt import Loaded, load, ports
from .engine_origin import EngineOrigin, companion, mismatch, origin
from .plan_header import LENGTH, MAGIC
from .tensorrt_layers import Layer, layers, precision, sentence


class TensorRTModel:
    format = "tensorrt"
    opset = None
    parameters = None  # weights are merged, reordered and rounded
    weights = ""

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def _loaded(self) -> Loaded:
        try:
            return load(self.path)
        except NotLoadable as error:
            raise JobProblem(
                "BAD_FILE", f"{untrusted(self.path.name)} does not load: {untrusted(str(error), 500)}"
            ) from error

    @property
    def framework(self) -> str:
        return f"TensorRT {origin(self.path).tensorrt or ''}".strip()

    @property
    def inputs(self) -> list[TensorInfo]:
        return [_info(port) for port in self._ports[0]]

    @property
    def outputs(self) -> list[TensorInfo]:
        return [_info(port) for port in self._ports[1]]

    @cached_property
    def _ports(self) -> tuple[list[Port], list[Port]]:
        try:
            return ports(self._loaded.engine)
        except NotLoadable as error:
            raise JobProblem(
                "UNAVAILABLE", f"{untrusted(self.path.name)} is not fed by this version: {error}"
            ) from error

    @property
    def operators(self) -> Counter[str]:
        """Of the layers that TensorRT made, many operators in one."""
        return Counter(layer.kind for layer in self.layers)

    @property
    def precision(self) -> str:
        return precision(self.layers)

    @cached_property
    def layers(self) -> list[Layer]:
        return inspected(self._loaded.engine)

    @property
    def files(self) -> list[Path]:
        """The engine, and the file that says where it was built."""
        beside = companion(self.path)
        return [self.path.resolve(), *([beside.resolve()] if beside.is_file() else [])]

    @property
    def graph(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def check(self, roots: list[str]) -> list[str]:
        """JobProblem: FORMAT_DEVICE_MISMATCH for an engine of another version or GPU, BAD_FILE where it does not load."""
        if reason := mismatch(origin(self.path), this_machine()):
            raise JobProblem(
                "FORMAT_DEVICE_MISMATCH",
                f"{untrusted(self.path.name)} does not run here: {reason}. Open the ONNX model that it was made of, and build"
                " the engine here (technique tensorrt)",
            )
        if not self.inputs:
            raise JobProblem("BAD_FILE", f"{untrusted(self.path.name)} has no inputs: there is nothing to feed it")
        return [sentence(self.layers)]


def open_file(path: Path) -> TensorRTModel:
    """Raises JobProblem: BAD_FILE where the bytes are no engine's; UNAVAILABLE where there is no GPU."""
    with path.open("rb") as file:
        head = file.read(LENGTH)
    if len(head) < LENGTH or not head.startswith(MAGIC):
        raise JobProblem(
            "BAD_FILE",
            f"{untrusted(path.name)} is no TensorRT engine, or is cut: an engine begins with the letters ftrt and a header."
            " (Ultralytics puts data of its own before them: give its ONNX file.)",
        )
    require_gpu()
    return TensorRTModel(path)


def require_gpu() -> Gpu:
    """The GPU on which engines are built and run here. JobProblem UNAVAILABLE."""
    try:
        return open_device().gpu
    except NoGpu as error:
        raise JobProblem("UNAVAILABLE", f"TensorRT {trt.__version__} is installed, and {error}") from error


def this_machine() -> EngineOrigin:
    """What an engine that is built here is bound to. JobProblem UNAVAILABLE."""
    gpu = require_gpu()
    return EngineOrigin(
        tensorrt=trt.__version__,
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
        platform=platform.machine(),
    )


def inspected(engine: Any) -> list[Layer]:
    """The engine's layers as its inspector has them. Where axes are dynamic it tells types only for given sizes: those
    that the first profile was made for."""
    context = engine.create_execution_context()
    for port in ports(engine)[0]:
        if None in port.shape:
            context.set_input_shape(port.name, tuple(engine.get_tensor_profile_shape(port.name, 0)[1]))
    inspector = engine.create_engine_inspector()
    inspector.execution_context = context
    return layers(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _info(port: Port) -> TensorInfo:
    return TensorInfo(name=port.name, dtype=port.dtype, shape=list(port.shape))
