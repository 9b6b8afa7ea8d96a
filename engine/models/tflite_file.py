"""Reading TensorFlow Lite files by their flatbuffer schema, in Python alone: what a stranger's file does to a native parser,
only a process of its own finds out (`trial`).

Names in a file are a stranger's text: clean them (contract.text) before showing them.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import get_builtin_code_from_operator_code, read_model_from_bytearray

from ...contract.text import untrusted
from ..problems import JobProblem
from ..runtimes.session import NotLoadable
from ..runtimes.tflite import check_bytes

# The schema's generated classes have no types; these are its objects.
Model = Any
Graph = Any
Tensor = Any
Operator = Any

TYPES: dict[int, str] = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
_OPERATORS: dict[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
_VERSION = 3


class Constant(NamedTuple):
    """A tensor whose numbers are in the file. `kind`: the schema's name of its type; `data`: its bytes."""

    tensor: Tensor
    kind: str
    data: bytes

    @property
    def elements(self) -> int:
        return math.prod(indices(self.tensor.shape))


def read(path: Path) -> Model:
    """The schema's objects, whose every index leads somewhere; constants are views of the file's bytes.

    Raises JobProblem: BAD_FILE for a file that is empty, cut or foreign; UNAVAILABLE for one that keeps weights elsewhere.
    """
    name = untrusted(path.name)
    try:
        check_bytes(path)
        model = read_model_from_bytearray(memoryview(path.read_bytes()))
        _check(model)
    except NotLoadable as error:
        raise JobProblem("BAD_FILE", f"{name} is not a TensorFlow Lite model: {error}") from error
    # What a reader that follows any offset anywhere runs into.
    except (struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        reason = untrusted(" ".join(str(error).split()), 200)
        raise JobProblem(
            "BAD_FILE",
            f"{name} ({path.stat().st_size:,} bytes) is not a whole TensorFlow Lite model, or one of operators that this"
            f" version of ai-edge-litert does not know: {reason}",
        ) from error
    if model.externalBufferGroups or model.externalBuffers:
        raise JobProblem(
            "UNAVAILABLE",
            f"{name} keeps weights in files of their own, which this version does not open: convert it again with its"
            " weights inside",
        )
    return model


def _check(model: Model) -> None:
    """ValueError, IndexError or KeyError where a part names another that is not there, or is shorter than it says.

    -1 names no tensor on purpose, where an operator's input is left out.
    """
    if model.version != _VERSION:
        raise ValueError(f"it is of version {model.version} of the schema, and there is only {_VERSION}")
    if not model.subgraphs:
        raise ValueError("it holds no graph")
    for graph in model.subgraphs:
        count = len(graph.tensors)
        for op in graph.operators:
            operator(model, op)
            _check_within(indices(op.inputs), -1, count)
            _check_within(indices(op.outputs), 0, count)
        _check_within([*indices(graph.inputs), *indices(graph.outputs)], 0, count)
    for constant in constants(model):
        _check_length(constant)


def _check_within(found: list[int], least: int, count: int) -> None:
    if found and not least <= min(found) <= max(found) < count:
        raise IndexError(f"tensors {found[:5]} are named, and there are {count}")


def _check_length(constant: Constant) -> None:
    bits = re.search(r"\d+", constant.kind)
    if bits is None or constant.tensor.sparsity is not None:
        return  # strings say their lengths themselves, sparse tensors hold what is not zero
    shape = indices(constant.tensor.shape)
    wanted = (constant.elements * int(bits[0]) + 7) // 8
    if min(shape, default=0) < 0 or len(constant.data) < wanted:
        raise ValueError(
            f"the tensor {text(constant.tensor.name)} of shape {shape} needs {wanted:,} bytes, and the file holds"
            f" {len(constant.data):,}"
        )


def indices(found: Any) -> list[int]:
    """A vector of the schema, which is None where it is empty."""
    return [] if found is None else [int(at) for at in found]


def text(name: bytes | str | None) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name or ""


def operator(model: Model, op: Operator) -> str:
    """The schema's name; `CUSTOM:name` for one that it does not define."""
    code = model.operatorCodes[op.opcodeIndex]
    name = _OPERATORS[get_builtin_code_from_operator_code(code)]
    return f"CUSTOM:{text(code.customCode)}" if name == "CUSTOM" else name


def scales(tensor: Tensor) -> list[float]:
    """Of a quantized tensor: one, or one a channel. Empty where it is none."""
    found = None if tensor.quantization is None else tensor.quantization.scale
    return [] if found is None else [float(scale) for scale in found]


def data(model: Model, tensor: Tensor) -> bytes:
    """A constant's; empty for a tensor that is computed."""
    found = model.buffers[tensor.buffer].data
    return b"" if found is None else bytes(found)


def constants(model: Model) -> Iterator[Constant]:
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            kind = TYPES[tensor.type]
            if found := data(model, tensor):
                yield Constant(tensor, kind, found)
