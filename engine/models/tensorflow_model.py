"""A TensorFlow model: a SavedModel folder, a .keras or an .h5 file.

What the file says of itself is read and judged first; then TensorFlow loads it, which restores its weights and runs no
inference, and the graph that it would run is what is described.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..problems import JobProblem
from ..runtimes import keras_archive, saved_model, tensorflow
from ..runtimes.keras_archive import Architecture, Foreign
from ..runtimes.network import Network
from ..runtimes.session import NotLoadable, Port
from ..runtimes.tensorflow_quietly import tf
from .folders import members

# Smaller ones (a shape, a scalar, an epsilon) are alike in many networks: as `identity.weights_digest` has it.
_LEAST_WEIGHTS = 64
_QUANTIZING = ("Quantize", "Dequantize", "Requantize", "UniformQuantize", "UniformDequantize")
# What wires a graph and computes nothing.
_WIRING = frozenset(
    {"Placeholder", "Const", "Identity", "NoOp", "ReadVariableOp", "StatefulPartitionedCall", "PartitionedCall", "_Arg"}
)


class TensorFlowModel:
    format = "tensorflow"
    opset = None

    def __init__(self, path: Path):
        self.path = path

    @property
    def framework(self) -> str:
        if self.path.is_dir():
            return f"tensorflow {self._saved_model.meta_info_def.tensorflow_version}".strip()
        return self._architecture.written_by

    @property
    def inputs(self) -> list[TensorInfo]:
        return [_info(port) for port in self.network.inputs]

    @property
    def outputs(self) -> list[TensorInfo]:
        return [_info(port) for port in self.network.outputs]

    @property
    def parameters(self) -> int:
        """Without shapes and indices, which are wide integers, and settings, which are scalars in the graph."""
        return sum(array.size for array in self._numbers if array.dtype.kind not in "iub" or array.dtype == np.int8)

    @property
    def operators(self) -> Counter[str]:
        """The layers of a Keras file; the operators of a SavedModel's graph."""
        if self.path.is_dir():
            return Counter(node.op for node in self._nodes if node.op not in _WIRING)
        return Counter(keras_archive.layers(self._architecture.config))

    @property
    def precision(self) -> str:
        if any(node.op.startswith(_QUANTIZING) for node in self._nodes):
            return "int8"
        count: Counter[str] = Counter()
        for array in self._numbers:
            count[array.dtype.name] += array.size
        if count["int8"] >= _LEAST_WEIGHTS:
            return "int8"
        return "fp16" if count["float16"] + count["bfloat16"] > count["float32"] else "fp32"

    @property
    def files(self) -> list[Path]:
        """Of a folder those below it, each by its place there."""
        return members(self.path.resolve()) if self.path.is_dir() else [self.path.resolve()]

    @property
    def weights(self) -> str:
        found = sorted(_digest(array) for array in self._numbers if array.size >= _LEAST_WEIGHTS)
        return hashlib.sha256("".join(found).encode()).hexdigest() if found else ""

    @property
    def graph(self) -> str:
        """Over the description of the network, as its file has it, and its numbers."""
        digest = hashlib.sha256()
        if self.path.is_dir():
            digest.update(self._saved_model.SerializeToString(deterministic=True))
        else:
            digest.update(json.dumps(self._architecture.config, sort_keys=True).encode())
        for array in self._numbers:
            digest.update(_digest(array).encode())
        return digest.hexdigest()

    def check(self, roots: list[str]) -> list[str]:
        if self.path.is_dir():
            members(self.path.resolve(), [Path(root) for root in roots])
        return [f"{untrusted(self.path.name)}: {untrusted(note, 300)}" for note in self.network.notes]

    @cached_property
    def network(self) -> Network:
        """The model, loaded. Raises JobProblem: BAD_FILE, UNTRUSTED_CODE."""
        with _as_problem(self.path):
            # By way of the runtime: TensorFlow then has the one thread that decisions are made with.
            return tensorflow.open_session(self.path, threads=1).network

    @cached_property
    def _saved_model(self) -> Any:
        with _as_problem(self.path):
            return saved_model.read(self.path)

    @cached_property
    def _architecture(self) -> Architecture:
        with _as_problem(self.path):
            return keras_archive.read(self.path)

    @cached_property
    def _nodes(self) -> list[Any]:
        return list(saved_model.reached(self.network.function.graph.as_graph_def()))

    @cached_property
    def _numbers(self) -> list[np.ndarray]:
        """Every weight: of the variables, and of the constants that are no scalars."""
        tensors = [node.attr["value"].tensor for node in self._nodes if node.op == "Const"]
        constants = [tf.make_ndarray(tensor) for tensor in tensors if tensor.tensor_shape.dim]
        arrays = [*(variable.numpy() for variable in self.network.variables), *constants]
        return [array for array in arrays if array.dtype.kind not in "OSU"]


@contextmanager
def _as_problem(path: Path) -> Iterator[None]:
    name = untrusted(path.name)
    try:
        yield
    except Foreign as error:
        raise JobProblem("UNTRUSTED_CODE", f"{name} is not opened: {error}") from error
    except NotLoadable as error:
        raise JobProblem("BAD_FILE", f"{name} does not load in tensorflow: {error}") from error


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()


def _info(port: Port) -> TensorInfo:
    return TensorInfo(name=port.name, dtype=port.dtype, shape=list(port.shape))


def open_file(path: Path) -> TensorFlowModel:
    return TensorFlowModel(path)
