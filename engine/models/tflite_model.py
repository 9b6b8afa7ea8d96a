"""A TensorFlow Lite file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...contract.measures import Quantization, TensorInfo
from ...contract.text import untrusted
from ..problems import JobProblem
from ..runtimes.tflite import plain_name
from .tflite_file import (
    TYPES,
    Constant,
    Graph,
    Model,
    Operator,
    Tensor,
    constants,
    data,
    indices,
    operator,
    read,
    scales,
    text,
)

_QUANTIZED = frozenset({"INT8", "UINT8", "INT16", "INT4", "UINT4", "INT2"})
# Smaller tensors (a shape, a scalar, an epsilon) are alike in many networks: as `identity.weights_digest` has it.
_LEAST_WEIGHTS = 64
# What the objects of a graph say that changes nothing of what it computes, or that is looked up and said in full.
_LEFT_OUT = {
    "SubGraphT": {"name", "debugMetadataIndex", "tensors", "operators"},
    "TensorT": {"name", "buffer"},
    "QuantizationParametersT": {"min", "max"},
    "OperatorT": {"opcodeIndex", "debugMetadataIndex"},
}


class TFLiteModel:
    """Inputs and outputs are those of the first subgraph, under the names that `runtimes.tflite` gives them."""

    format = "tflite"
    opset = None

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def model(self) -> Model:
        """The schema's objects; constants are views of the file's bytes."""
        return read(self.path)

    @property
    def framework(self) -> str:
        return (self.model.description or b"").decode(errors="replace")

    @property
    def inputs(self) -> list[TensorInfo]:
        return [_info(self._main.tensors[at], self._names.get(at)) for at in indices(self._main.inputs)]

    @property
    def outputs(self) -> list[TensorInfo]:
        return [_info(self._main.tensors[at], self._names.get(at)) for at in indices(self._main.outputs)]

    @property
    def parameters(self) -> int:
        """What several tensors share counts once."""
        weights = {c.tensor.buffer: c for c in constants(self.model) if "FLOAT" in c.kind or scales(c.tensor)}
        return sum(constant.elements for constant in weights.values())

    @property
    def operators(self) -> Counter[str]:
        return self._operators(lambda graph, op: True)

    def operators_giving(self, kind: str) -> Counter[str]:
        """How often each operator gives tensors of this type, as the schema names types."""

        def gives(graph: Graph, op: Operator) -> bool:
            return any(TYPES[graph.tensors[at].type] == kind for at in indices(op.outputs))

        return self._operators(gives)

    def operators_holding(self, kind: str) -> Counter[str]:
        """How often each operator takes a constant of this type, as the schema names types."""

        def holds(graph: Graph, op: Operator) -> bool:
            taken = (graph.tensors[at] for at in indices(op.inputs) if at >= 0)
            return any(TYPES[tensor.type] == kind and data(self.model, tensor) for tensor in taken)

        return self._operators(holds)

    def _operators(self, counts: Callable[[Graph, Operator], bool]) -> Counter[str]:
        return Counter(
            operator(self.model, op) for graph in self.model.subgraphs for op in graph.operators if counts(graph, op)
        )

    @property
    def precision(self) -> str:
        """Half floats are what the weights are stored as: they are dequantized where the delegate does not take them."""
        tensors = (tensor for graph in self.model.subgraphs for tensor in graph.tensors)
        if any(TYPES[tensor.type] in _QUANTIZED and scales(tensor) for tensor in tensors):
            return "int8"
        count: Counter[str] = Counter()
        for constant in constants(self.model):
            count[constant.kind] += constant.elements
        return "fp16" if count["FLOAT16"] > count["FLOAT32"] else "fp32"

    @property
    def files(self) -> list[Path]:
        return [self.path.resolve()]

    @property
    def weights(self) -> str:
        found = {_constant_digest(c) for c in constants(self.model) if c.elements >= _LEAST_WEIGHTS}
        return hashlib.sha256("".join(sorted(found)).encode()).hexdigest() if found else ""

    @property
    def graph(self) -> str:
        """Over operators, options, wiring, constants, quantization and interface. Left out: who wrote the file, names
        inside, where constants lie."""
        digest = hashlib.sha256()
        for graph in self.model.subgraphs:
            _write(digest, graph)
            for op in graph.operators:
                digest.update(operator(self.model, op).encode())
                _write(digest, op)
            for tensor in graph.tensors:
                _write(digest, tensor)
                digest.update(hashlib.sha256(data(self.model, tensor)).digest())
        for info in (*self.inputs, *self.outputs):
            digest.update(info.model_dump_json().encode())
        return digest.hexdigest()

    def check(self, roots: list[str]) -> list[str]:
        name = untrusted(self.path.name)
        if not self.inputs:
            raise JobProblem(
                "BAD_FILE", f"{name} has no inputs: there is nothing to feed it. Convert it again with them"
            )
        return self._oddities()

    def _oddities(self) -> list[str]:
        said = []
        if (count := len(self.model.signatureDefs or ())) > 1:
            said.append(f"the model has {count} signatures; its first subgraph alone is run, by its tensors' own names")
        if custom := sorted(name for name in self.operators if name.startswith("CUSTOM:")):
            shown = ", ".join(untrusted(name) for name in custom[:5])
            said.append(f"the model has operators that TensorFlow Lite does not define: {shown}")
        return said

    @property
    def _main(self) -> Graph:
        return self.model.subgraphs[0]

    @cached_property
    def _names(self) -> dict[int, str]:
        """By a tensor's index, of the inputs and outputs that the only signature names."""
        signatures = self.model.signatureDefs or []
        if len(signatures) != 1:
            return {}
        maps = [*(signatures[0].inputs or ()), *(signatures[0].outputs or ())]
        return {one.tensorIndex: text(one.name) for one in maps}


def open_file(path: Path) -> TFLiteModel:
    return TFLiteModel(path)


def _info(tensor: Tensor, name: str | None) -> TensorInfo:
    """As `runtimes.tflite` and `runtimes.runner` have it: a quantized one is float32 and says how it is held."""
    signature = indices(tensor.shapeSignature) or indices(tensor.shape)
    shape = [axis if axis >= 0 else None for axis in signature]
    dtype = TYPES[tensor.type].lower()
    name, found = name or plain_name(text(tensor.name)), scales(tensor)
    if len(found) != 1 or "int" not in dtype:
        return TensorInfo(name=name, dtype=dtype, shape=shape)
    zero_points = indices(tensor.quantization.zeroPoint)
    quantization = Quantization(dtype=dtype, scale=found[0], zero_point=zero_points[0] if zero_points else 0)
    return TensorInfo(name=name, dtype="float32", shape=shape, quantization=quantization)


def _constant_digest(constant: Constant) -> str:
    shape = tuple(indices(constant.tensor.shape))
    return hashlib.sha256(f"{constant.kind.lower()}{shape}".encode() + constant.data).hexdigest()


def _write(digest: Any, value: Any) -> None:
    """An object of the schema into a digest, field by field in the order of their names."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        digest.update(f"{value!r};".encode())
    elif isinstance(value, np.ndarray | memoryview):
        digest.update(f"{len(value)}:".encode() + bytes(value))
    elif isinstance(value, list | tuple):
        digest.update(f"{len(value)}[".encode())
        for one in value:
            _write(digest, one)
    else:
        kind = type(value).__name__
        digest.update(f"{kind}{{".encode())
        for field, inner in sorted(vars(value).items()):
            if field not in _LEFT_OUT.get(kind, ()):
                digest.update(field.encode())
                _write(digest, inner)
