"""When two ONNX files hold the same graph, whatever tool wrote them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, MutableSequence
from typing import Any

import onnx
from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from .onnx_file import nodes
from .tensors import subgraphs, tensors


def strip_unused_opsets(model: ModelProto) -> None:
    """Drops the operator sets that no node uses: ONNX Runtime adds all that it knows to every file it writes."""
    used = {node.domain for node in nodes(model.graph)}
    used |= {node.domain for function in model.functions for node in function.node}
    used |= {entry.domain for function in model.functions for entry in function.opset_import}
    used = {"" if domain == "ai.onnx" else domain for domain in used | {""}}
    kept = [entry for entry in model.opset_import if ("" if entry.domain == "ai.onnx" else entry.domain) in used]
    kept = [onnx.helper.make_opsetid(entry.domain, entry.version) for entry in kept]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def graph_digest(model: ModelProto) -> str:
    """SHA-256 over what the graph computes: operators, attributes, constants, wiring and interface.

    Left out: who wrote the file, comments, node names, inferred shapes, unused operator sets, the order in which
    nodes, weights and attributes happen to be listed, and how a constant's numbers are stored. Two graphs with other
    tensor names inside count as different.
    """
    copy = ModelProto()
    copy.graph.CopyFrom(model.graph)
    copy.functions.extend(model.functions)
    copy.opset_import.extend(model.opset_import)
    strip_unused_opsets(copy)
    for tensor in tensors(copy):
        _canonical_tensor(tensor)
    _canonical_graph(copy.graph)
    for function in copy.functions:
        _forget(function, "doc_string", "metadata_props")
        for node in function.node:
            _canonical_node(node)
    return hashlib.sha256(copy.SerializeToString(deterministic=True)).hexdigest()


# Smaller tensors (a shape, a scalar, an epsilon) are alike in many networks.
_LEAST_WEIGHTS = 64


def weights_digest(model: ModelProto) -> str:
    """SHA-256 over the numbers of all constants of some size, wherever they stand and whatever they are called; "" where
    there are none. External data must have been loaded."""
    found: list[str] = []
    for tensor in tensors(model):
        if tensor.data_type == TensorProto.STRING or math.prod(tensor.dims) < _LEAST_WEIGHTS:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        found.append(hashlib.sha256(f"{values.dtype}{values.shape}".encode() + values.tobytes()).hexdigest())
    return hashlib.sha256("".join(sorted(found)).encode()).hexdigest() if found else ""


def _canonical_graph(graph: GraphProto) -> None:
    _forget(graph, "name", "doc_string", "value_info", "metadata_props", "quantization_annotation")
    for value in (*graph.input, *graph.output):
        _forget(value, "doc_string", "metadata_props")
    for node in graph.node:
        _canonical_node(node)
    _sort(graph.node, lambda node: (list(node.output), node.op_type))
    _sort(graph.initializer, lambda tensor: tensor.name)


def _canonical_node(node: NodeProto) -> None:
    _forget(node, "name", "doc_string", "metadata_props")
    if node.domain in ("", "ai.onnx"):
        _forget(node, "domain")
    for attribute in node.attribute:
        _forget(attribute, "doc_string")
        for graph in subgraphs(attribute):
            _canonical_graph(graph)
    _sort(node.attribute, lambda attribute: attribute.name)


def _canonical_tensor(tensor: TensorProto) -> None:
    if tensor.data_location == TensorProto.EXTERNAL:
        return
    if not tensor.HasField("raw_data") and tensor.data_type not in (TensorProto.UNDEFINED, TensorProto.STRING):
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name))
    _forget(tensor, "data_location", "doc_string", "metadata_props")


def _forget(message: Message, *fields: str) -> None:
    """Clears fields; setting them to nothing would leave a trace in the bytes."""
    for field in fields:
        message.ClearField(field)


def _sort(field: MutableSequence[Any], key: Callable[[Any], Any]) -> None:
    """Sorts a repeated message field (which protobuf cannot assign to)."""
    items = sorted(field, key=key)
    del field[:]
    field.extend(items)
