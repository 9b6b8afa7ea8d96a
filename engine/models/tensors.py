"""The constants of an ONNX graph: all of them, whether they are whole, and where external ones lie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from ...contract.text import untrusted
from ..problems import JobProblem

_PACKED_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every constant tensor: initializers and attributes, in subgraphs and functions too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _node_tensors(node)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: NodeProto) -> Iterator[TensorProto]:
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR or attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for graph in subgraphs(attribute):
            yield from _graph_tensors(graph)


def subgraphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    """The graphs that an attribute holds (the branches of If, the body of Loop and Scan)."""
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def check_tensors(model: ModelProto, folder: Path) -> None:
    """Raises JobProblem BAD_FILE for a constant whose data are not as long as its shape and type say."""
    for tensor in tensors(model):
        name = untrusted(tensor.name) or "(unnamed)"
        if any(axis < 0 for axis in tensor.dims):
            raise JobProblem("BAD_FILE", f"the tensor {name} has a negative dimension {list(tensor.dims)}")
        wanted = byte_length(tensor)
        if wanted is None:
            continue
        if tensor.data_location == TensorProto.EXTERNAL:
            file, offset, length = external_span(tensor, folder)
            held = max(0, min(length, file.stat().st_size - offset))
        elif tensor.HasField("raw_data"):
            held = len(tensor.raw_data)
        else:
            continue
        if held != wanted:
            raise JobProblem(
                "BAD_FILE",
                f"the tensor {name} of shape {list(tensor.dims)} needs {wanted:,} bytes and the file holds {held:,}:"
                " the file is cut or was changed",
            )


def byte_length(tensor: TensorProto) -> int | None:
    """Bytes that a constant of this type and shape takes as raw data; None for strings and unknown types."""
    try:
        name = TensorProto.DataType.Name(tensor.data_type)
        width = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    except (ValueError, KeyError):
        return None
    if name in ("STRING", "UNDEFINED"):
        return None
    count = math.prod(tensor.dims)
    return (count * _PACKED_BITS[name] + 7) // 8 if name in _PACKED_BITS else count * width


def external_tensors(model: ModelProto) -> Iterator[TensorProto]:
    return (tensor for tensor in tensors(model) if tensor.data_location == TensorProto.EXTERNAL)


def location(tensor: TensorProto) -> str:
    """Where an external tensor says that its data lie, seen from the model's folder."""
    return _entries(tensor).get("location", "")


def external_file(tensor: TensorProto, folder: Path) -> Path:
    """The file that an external tensor names, resolved through links; it may be missing, or anywhere."""
    return (folder / location(tensor)).resolve()


def external_span(tensor: TensorProto, folder: Path) -> tuple[Path, int, int]:
    """Where the data of an external tensor lie: the file, the offset and the length in bytes.

    Raises JobProblem BAD_FILE where the file is missing or the entry makes no sense.
    """
    entries = _entries(tensor)
    shown = untrusted(entries.get("location", "")) or "(no name)"
    file = external_file(tensor, folder)
    if not file.is_file():
        raise JobProblem(
            "BAD_FILE",
            f"the model keeps its weights in the file {shown} beside it, and that file is missing or not a regular"
            " file: put it into the model's folder",
            [shown],
        )
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries.get("length") or file.stat().st_size - offset)
    except ValueError as error:
        raise JobProblem("BAD_FILE", f"the model's entry for its weights file {shown} is not a number") from error
    if offset < 0 or length < 0:
        raise JobProblem("BAD_FILE", f"the model's entry for its weights file {shown} lies outside that file")
    return file, offset, length


def external_files(model: ModelProto, folder: Path) -> list[Path]:
    """The files that hold external data, resolved, each once. Raises as `external_span`."""
    return sorted({external_span(tensor, folder)[0] for tensor in external_tensors(model)})


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}
