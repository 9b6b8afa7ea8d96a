"""Reading ONNX files: what a graph holds, whether its tensors are whole, and where its external data lies.

Nothing here runs the model. Names in a graph are a stranger's text: clean them (contract.text) before showing them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..problems import JobProblem
from .formats import begins_like_onnx, sniff
from .tensors import external_files, external_span, external_tensors, subgraphs

# Protobuf holds a message of at most 2 GiB; a little is left for what a technique adds to the graph.
MAX_BYTES = (1 << 31) - (1 << 24)

STANDARD_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})


def read(path: Path) -> ModelProto:
    """The graph of an ONNX file, external data left where it is.

    Raises JobProblem BAD_FILE for a file that is empty, cut, foreign or without a graph, and says which.
    """
    name = untrusted(path.name)
    if not path.is_file():
        raise JobProblem("BAD_FILE", f"the model file {name} does not exist or is not a regular file")
    size = path.stat().st_size
    if size == 0:
        raise JobProblem("BAD_FILE", f"the model file {name} is empty (0 bytes)")
    if size >= 1 << 31:
        raise JobProblem("BAD_FILE", f"{name} is over 2 GiB; ONNX keeps such weights in external data files beside it")
    found = sniff(path)
    if found.format != "onnx":
        raise JobProblem("BAD_FILE", f"{name} is not an ONNX model: it is a {found.what}")
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        reason = "it begins like one and breaks off" if begins_like_onnx(content) else "it is something else"
        raise JobProblem("BAD_FILE", f"{name} is not a whole ONNX model ({size:,} bytes): {reason}") from error
    if not model.graph.node and not model.graph.output:
        raise JobProblem("BAD_FILE", f"{name} holds no graph: it is cut, or not an ONNX model")
    if not model.opset_import:
        raise JobProblem("BAD_FILE", f"{name} names no operator set: it is cut, or not an ONNX model")
    return model


def load(path: Path) -> ModelProto:
    """The graph with its external data read into it.

    Raises JobProblem as `read` and `external_files` do, and UNAVAILABLE over 2 GiB altogether.
    """
    model = read(path)
    total = sum(file.stat().st_size for file in files(model, path))
    if total > MAX_BYTES:
        raise JobProblem(
            "UNAVAILABLE",
            f"{untrusted(path.name)} and its weights are {total / 2**30:.1f} GiB; this version optimizes models up to"
            " 2 GiB, the most that one ONNX file holds",
        )
    for tensor in external_tensors(model):
        file, offset, length = external_span(tensor, path.parent)
        with file.open("rb") as data:
            data.seek(offset)
            tensor.raw_data = data.read(length)
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")
    return model


def files(model: ModelProto, path: Path) -> list[Path]:
    """The model's file and those of its external data, resolved through links. Raises as `external_files`."""
    return [path.resolve(), *external_files(model, path.parent)]


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Every node of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in subgraphs(attribute):
                yield from nodes(inner)


def inputs(model: ModelProto) -> list[TensorInfo]:
    """The inputs that a caller feeds: weights that old files list among them are left out."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [_tensor_info(value) for value in model.graph.input if value.name not in weights]


def outputs(model: ModelProto) -> list[TensorInfo]:
    return [_tensor_info(value) for value in model.graph.output]


def _tensor_info(value: ValueInfoProto) -> TensorInfo:
    kind = value.type.tensor_type
    try:
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    except (KeyError, ValueError):
        dtype = "unknown"
    dtype = "string" if kind.elem_type == TensorProto.STRING else dtype
    shape = [axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim]
    return TensorInfo(name=value.name, dtype=dtype, shape=shape)


def operators(model: ModelProto) -> Counter[str]:
    """How often each operator occurs; `domain:Operator` outside the standard ones."""
    return Counter(operator(node) for node in nodes(model.graph))


def operator(node: NodeProto) -> str:
    return node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}:{node.op_type}"


def foreign_domains(model: ModelProto) -> set[str]:
    """The domains of the operators that no ONNX standard defines."""
    return {node.domain for node in nodes(model.graph)} - STANDARD_DOMAINS


def parameters(model: ModelProto) -> int:
    """The number of weights: elements of the initializers, shapes and indices (int64) left out."""
    weights = (tensor for tensor in model.graph.initializer if tensor.data_type != TensorProto.INT64)
    return sum(math.prod(tensor.dims) for tensor in weights)


def opset(model: ModelProto) -> int | None:
    """The version of the standard operator set."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=None)


def precision(model: ModelProto) -> str:
    """int8 where anything is quantized, fp16 where it computes with half floats for the most part, else fp32.

    Weights that are only stored as half floats, and cast before their use, say nothing.
    """
    everything = list(nodes(model.graph))
    if any(is_quantized(node) for node in everything):
        return "int8"
    used = {name for node in everything if node.op_type != "Cast" for name in node.input}
    count: Counter[int] = Counter()
    for tensor in model.graph.initializer:
        if tensor.name in used:
            count[tensor.data_type] += math.prod(tensor.dims)
    return "fp16" if count[TensorProto.FLOAT16] > count[TensorProto.FLOAT] else "fp32"


def is_quantized(node: NodeProto) -> bool:
    """Whether the operator works on, or converts to or from, integers of eight bits or fewer."""
    kind = node.op_type
    return "Quantize" in kind or "Integer" in kind or kind.startswith(("QLinear", "QGemm", "QAttention", "MatMulNBits"))
