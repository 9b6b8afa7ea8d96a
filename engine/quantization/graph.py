"""A graph's wiring, read once: who makes a tensor, who uses it, what is constant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, numpy_helper, shape_inference

# Operators with weights (input 1) and a bias (input 2) of one value an output channel.
WEIGHTED = ("Conv", "ConvTranspose", "Gemm")


class Wiring:
    """Of the main graph; what a subgraph uses counts as used by the node that holds it. The nodes are the model's own."""

    def __init__(self, model: ModelProto):
        self.nodes: Sequence[NodeProto] = model.graph.node
        self.outputs = {value.name for value in model.graph.output}
        self.constants: dict[str, TensorProto] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.maker: dict[str, NodeProto] = {name: node for node in self.nodes for name in node.output if name}
        self.users: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in _used(node):
                self.users.setdefault(name, []).append(node)

    def only_user(self, tensor: str) -> NodeProto | None:
        """The node that alone uses a tensor, once, where it is no output of the model."""
        users = self.users.get(tensor, [])
        return users[0] if len(users) == 1 and tensor not in self.outputs else None

    def value(self, tensor: str) -> np.ndarray | None:
        """Of a constant float tensor; None for every other."""
        held = self.constants.get(tensor)
        return numpy_helper.to_array(held) if held is not None and held.data_type == TensorProto.FLOAT else None

    def own(self, tensor: str) -> bool:
        """Whether a constant serves one node alone, so that it can be changed for that node."""
        return tensor in self.constants and self.only_user(tensor) is not None

    def set(self, tensor: str, value: np.ndarray) -> None:
        """Gives a constant this value, of its own type."""
        held = self.constants[tensor]
        kind = numpy_helper.to_array(held).dtype
        held.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value.astype(kind)), tensor))


def _used(node: NodeProto) -> list[str]:
    inner = [sub for attribute in node.attribute for sub in (attribute.g, *attribute.graphs) if sub.node]
    captured = {name for sub in inner for deep in sub.node for name in _used(deep)}
    return [*(name for name in node.input if name), *sorted(captured)]


def attribute(node: NodeProto, name: str, default: int) -> int:
    """An attribute that is a whole number."""
    return next((held.i for held in node.attribute if held.name == name), default)


def output_axis(node: NodeProto) -> int:
    """The axis of the output channels of a weighted operator's weights."""
    if node.op_type == "Gemm":
        return 0 if attribute(node, "transB", 0) else 1
    return 0 if node.op_type == "Conv" else 1


def bias_of(node: NodeProto) -> str:
    """The name of a weighted operator's bias; empty where it has none."""
    return node.input[2] if len(node.input) > 2 else ""


def unused_name(model: ModelProto, name: str) -> str:
    """This name for a new tensor, or one like it where the graph has a tensor of this name already."""
    graph = model.graph
    taken = {held.name for held in (*graph.initializer, *graph.input, *graph.output)}
    taken |= {used for node in graph.node for used in (*_used(node), *node.output)}
    free, number = name, 1
    while free in taken:
        free, number = f"{name}_{number}", number + 1
    return free


def add_biases(model: ModelProto) -> None:
    """Gives every weighted operator that has no bias one of zeros."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in WEIGHTED or bias_of(node) or node.input[1] not in constants:
            continue
        weight = constants[node.input[1]]
        channels = weight.dims[output_axis(node)]
        if node.op_type == "ConvTranspose":
            channels *= attribute(node, "group", 1)
        name = unused_name(model, f"{node.output[0]}_bias")
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(channels, np.float32), name))
        del node.input[2:]
        node.input.append(name)


def float_tensors(model: ModelProto) -> set[str]:
    """The float32 tensors that are no constants, by declared and inferred types."""
    typed = shape_inference.infer_shapes(model).graph
    known: list[ValueInfoProto] = [*typed.value_info, *typed.output, *typed.input]
    constants = {tensor.name for tensor in model.graph.initializer}
    floats = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    return floats - constants
