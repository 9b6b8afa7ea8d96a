"""The ONNX graph that TensorRT builds an int8 engine from: explicit Q/DQ, symmetric int8, calibrated by ONNX Runtime.

TensorRT's quantization is symmetric (every zero point is 0) and takes no int32 biases behind a DequantizeLinear
(onnx-tensorrt#850): biases stay in float, TensorRT puts them on the scale of its accumulators itself. Q/DQ pairs stand on
the inputs of convolutions and matrix products with weights, and on nothing else, so that TensorRT can merge what follows
them (activations, residual sums) into their kernels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from ...contract.text import untrusted
from ..bench import Bench
from ..models import onnx_file
from ..quantization.samples import Samples
from ..quantization.schemes import TENSORRT
from ..quantization.static import Recipe, quantize
from .preparing import PER_CHANNEL, prepare, raised

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_NOT_TAKEN = (TensorProto.UINT8, TensorProto.UINT4, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32)
_OPTIONS = {"QuantizeBias": False, "OpTypesToExcludeOutputQuantization": list(_WEIGHTED)}


def symmetric_qdq(model: ModelProto, samples: Samples, count: int, bench: Bench) -> ModelProto:
    """The float model quantized to int8 with one scale a channel of weights and one a tensor of activations (min-max over
    at most `count` samples, spread over the set). Inputs and outputs keep their types.

    Raises JobProblem UNAVAILABLE where the model cannot be raised to opset 13.
    """
    prepared = prepare(raised(model, PER_CHANNEL), bench.tmp)
    recipe = Recipe(TENSORRT, samples=count, operators=frozenset(_WEIGHTED), options=_OPTIONS)
    excluded = {node.name for node in _without_weights(prepared)}
    made, _ = quantize(prepared, recipe, samples, excluded, bench)
    return made


def _without_weights(model: ModelProto) -> Iterator[NodeProto]:
    """Products of two activations (attention): their ranges are the widest, and TensorRT gains least there."""
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in _WEIGHTED and node.input[1] not in weights:
            yield node


def objections(model: ModelProto) -> list[str]:
    """Why TensorRT does not take a quantized graph, a sentence each; nothing where it is explicit and symmetric."""
    constants = _constants(model)
    found: dict[str, list[str]] = {}
    for node in onnx_file.nodes(model.graph):
        if objection := _objection(node, constants):
            found.setdefault(objection, []).append(untrusted(node.name) or node.op_type)
    return [f"{reason} ({len(nodes)} nodes, the first: {nodes[0]})" for reason, nodes in found.items()]


def _objection(node: NodeProto, constants: dict[str, TensorProto]) -> str | None:
    if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return f"{onnx_file.operator(node)} is no Q/DQ pair" if onnx_file.is_quantized(node) else None
    if node.op_type == "DequantizeLinear":
        held = constants.get(node.input[0])
        if held is not None and held.data_type == TensorProto.INT32:
            return "biases are quantized to int32"
    if len(node.input) < 3 or not node.input[2]:
        # Without a zero point ONNX quantizes to uint8, unless a newer opset's output_dtype says otherwise.
        kinds = [attribute.i for attribute in node.attribute if attribute.name == "output_dtype"]
        unsigned = node.op_type == "QuantizeLinear" and kinds in ([], [0])
        return "activations are quantized to uint8" if unsigned else None
    zero_point = constants.get(node.input[2])
    if zero_point is None:
        return "zero points are computed, and not constants"
    if zero_point.data_type in _NOT_TAKEN:
        return f"tensors are quantized to {TensorProto.DataType.Name(zero_point.data_type).lower()}"
    return "zero points are not 0" if np.any(numpy_helper.to_array(zero_point)) else None


def _constants(model: ModelProto) -> dict[str, TensorProto]:
    """The constant tensors of the graph by name."""
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in onnx_file.nodes(model.graph):
        held = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if node.op_type == "Constant" and held:
            found[node.output[0]] = held[0]
    return found
