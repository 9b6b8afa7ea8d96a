"""A float ONNX model in which one layer at a time computes with rounded numbers, as it would in 8 bits.

The rounded layer is the float one fed with what 8 bits can hold: its activations go through a pair of QuantizeLinear and
DequantizeLinear, its weights are rounded to the steps of one scale a channel. So every other layer stays exact, and a change
of the outputs is this layer's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ...contract.text import untrusted
from ..quantization.graph import float_tensors, output_axis

# Where the time of a network is, and what a quantizer turns into integer kernels.
QUANTIZED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_LEVELS = 127
_SHOWN = 120

Ranges = Mapping[str, tuple[float, float]]


class Layer(NamedTuple):
    """`activations`: the tensors that it takes; `weight`: its constant, "" where it has none. `place`: among the nodes."""

    name: str
    op: str
    place: int
    activations: tuple[str, ...]
    weight: str


def shown_name(name: str) -> str:
    """A node's name as answers have it: long ones without their middle, for they differ in their ends as a rule."""
    line = untrusted(name, len(name) + 1)
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN // 3]}…{line[-2 * _SHOWN // 3 + 1 :]}"


def layers(model: ModelProto) -> list[Layer]:
    """The layers that can be quantized, in the order in which they run: of products of other numbers none are."""
    constants = {tensor.name for tensor in model.graph.initializer}
    floats = float_tensors(model) | {t.name for t in model.graph.initializer if t.data_type == TensorProto.FLOAT}
    found: list[Layer] = []
    for place, node in enumerate(model.graph.node):
        if node.op_type in QUANTIZED:
            activations = tuple(dict.fromkeys(name for name in node.input[:2] if name not in constants))
            weight = next((name for name in node.input[:2] if name in constants), "")
            if activations and floats.issuperset(node.input[:2]):
                found.append(Layer(node.name, node.op_type, place, activations, weight))
    return found


class Rounding:
    """The model, and ways to have one layer of it computed in rounded numbers for a while."""

    def __init__(self, model: ModelProto, ranges: Ranges):
        self._model = model
        self._ranges = ranges
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}

    @contextmanager
    def of(self, layer: Layer) -> Iterator[ModelProto]:
        """The model with this layer rounded; as it was when the block ends."""
        graph = self._model.graph
        node = graph.node[layer.place]
        before, nodes = list(node.input), list(graph.node)
        weights = [self._round_weight(layer, node)] if layer.weight else []
        pairs = [pair for name in layer.activations for pair in self._round_activation(name, node)]
        replaced = [*nodes[: layer.place], *pairs, node, *nodes[layer.place + 1 :]]
        constants = len(graph.initializer)
        graph.initializer.extend([*weights, *self._constants(layer)])
        _set_nodes(graph, replaced)
        try:
            yield self._model
        finally:
            del graph.initializer[constants:]
            restored = NodeProto()
            restored.CopyFrom(node)
            del restored.input[:]
            restored.input.extend(before)
            _set_nodes(graph, [*nodes[: layer.place], restored, *nodes[layer.place + 1 :]])

    def _round_weight(self, layer: Layer, node: NodeProto) -> TensorProto:
        """Gives the node a rounded constant of its own: other layers may take the same one, and stay exact."""
        rounded = rounded_weight(numpy_helper.to_array(self._weights[layer.weight]), channel_axis(node))
        _redirect(node, layer.weight)
        return numpy_helper.from_array(rounded, _named(layer.weight, "rounded"))

    def _round_activation(self, name: str, node: NodeProto) -> list[NodeProto]:
        _redirect(node, name)
        ends, integers = [_named(name, "scale"), _named(name, "zero_point")], _named(name, "integers")
        return [
            helper.make_node("QuantizeLinear", [name, *ends], [integers]),
            helper.make_node("DequantizeLinear", [integers, *ends], [_named(name, "rounded")]),
        ]

    def _constants(self, layer: Layer) -> list[TensorProto]:
        made: list[TensorProto] = []
        for name in layer.activations:
            scale, zero_point = steps(*self._ranges[name])
            made.append(numpy_helper.from_array(np.array(scale, np.float32), _named(name, "scale")))
            made.append(numpy_helper.from_array(np.array(zero_point, np.uint8), _named(name, "zero_point")))
        return made


def _redirect(node: NodeProto, name: str) -> None:
    """To the rounded tensor. A bias is added in more bits, and stays."""
    for index, given in enumerate(node.input[:2]):
        if given == name:
            node.input[index] = _named(name, "rounded")


def _named(name: str, what: str) -> str:
    """Of a tensor that is added: `x_scale` may well be the graph's own."""
    return f"edgeopt/rounding/{name}/{what}"


def _set_nodes(graph: onnx.GraphProto, nodes: Sequence[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def steps(low: float, high: float) -> tuple[float, int]:
    """The scale and zero point of uint8 numbers that hold this range, and zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, round(-low / scale)


def channel_axis(node: NodeProto) -> int:
    """The axis of a layer's weight that its output channels lie along."""
    return -1 if node.op_type == "MatMul" else output_axis(node)


def rounded_weight(weight: np.ndarray, axis: int) -> np.ndarray:
    """The weight rounded to int8 steps, symmetric, one scale a channel along `axis`; float32, of the same shape."""
    others = tuple(a for a in range(weight.ndim) if a != axis % weight.ndim)
    largest = np.abs(weight).max(axis=others, keepdims=True).astype(np.float64)  # a 127th of it need not fit float32
    scale = np.where(largest > 0, largest, 1) / _LEVELS
    return (np.round(weight / scale) * scale).astype(np.float32)
