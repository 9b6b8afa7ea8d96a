"""Gemm as ONNX Runtime's quantizers take it for granted: alpha and beta of 1, a bias of one value a channel or none, and a
transposed weight that nothing else uses.

Of others they make wrong models without a word: ONNX Runtime 1.31 forgets beta where it quantizes a bias, and transposes a
weight in place that another node reads too.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from .graph import Wiring, attribute, bias_of, output_axis, unused_name


def plain_products(model: ModelProto) -> None:
    """Changes every Gemm with a constant float32 weight, whose function stays the same."""
    wiring = Wiring(model)
    found = [node for node in wiring.nodes if node.op_type == "Gemm" and wiring.value(node.input[1]) is not None]
    for node in found:
        if len(node.input) > 2 and not node.input[2]:
            del node.input[2:]
        _fold_factors(model, node)
    _part_transposed(model, found)


def _fold_factors(model: ModelProto, node: NodeProto) -> None:
    """Into the constants. A bias that is computed keeps its beta."""
    alpha, beta = (_factor(node, name) for name in ("alpha", "beta"))
    weight = _constant(model, node.input[1])
    assert weight is not None
    if alpha != 1:
        _give(model, node, 1, weight * np.float32(alpha))
        _set_to_one(node, "alpha")
    bias = _constant(model, bias_of(node))
    if bias is None:
        return
    channels = weight.shape[output_axis(node)]
    whole = bias.size == 1 or bias.shape in ((channels,), (1, channels))
    shaped = np.broadcast_to(bias.reshape(-1), (channels,)) if whole else bias
    if beta != 1 or shaped.shape != bias.shape:
        _give(model, node, 2, shaped * np.float32(beta))
        _set_to_one(node, "beta")


def _part_transposed(model: ModelProto, products: list[NodeProto]) -> None:
    """Gives the products with a transposed weight that is used elsewhere too one that is not transposed, all of them the same."""
    wiring = Wiring(model)
    made: dict[str, str] = {}
    for node in products:
        held = node.input[1]
        if not attribute(node, "transB", 0) or wiring.own(held):
            continue
        if held not in made:
            value = wiring.value(held)
            assert value is not None
            made[held] = _add(model, f"{held}_transposed", value.T)
        node.input[1] = made[held]
        next(one for one in node.attribute if one.name == "transB").i = 0
    _drop_unused(model, set(made))


def _factor(node: NodeProto, name: str) -> float:
    return next((held.f for held in node.attribute if held.name == name), 1.0)


def _set_to_one(node: NodeProto, name: str) -> None:
    for held in node.attribute:
        if held.name == name:
            held.f = 1.0


def _constant(model: ModelProto, name: str) -> np.ndarray | None:
    held = next((tensor for tensor in model.graph.initializer if name and tensor.name == name), None)
    return numpy_helper.to_array(held) if held is not None and held.data_type == TensorProto.FLOAT else None


def _give(model: ModelProto, node: NodeProto, place: int, value: np.ndarray) -> None:
    """A constant of its own, in place of one that others may use."""
    before = node.input[place]
    node.input[place] = _add(model, f"{before}_of_{node.output[0]}", value)
    _drop_unused(model, {before})


def _add(model: ModelProto, name: str, value: np.ndarray) -> str:
    free = unused_name(model, name)
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), free))
    return free


def _drop_unused(model: ModelProto, names: set[str]) -> None:
    wiring = Wiring(model)
    for tensor in [held for held in model.graph.initializer if held.name in names]:
        if not wiring.users.get(tensor.name) and tensor.name not in wiring.outputs:
            model.graph.initializer.remove(tensor)
