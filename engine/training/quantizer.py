"""Where fake quantization goes in a graph, so that ONNX Runtime finds what its integer kernels take.

Each of these wants its inputs and its output quantized: a convolution or addition whose output is not runs in float. So
activations are uint8, one scale a tensor, on both sides of every operator that there is an integer kernel for, behind the
ReLU where one follows (its kernel clips as it rounds); weights are int8, symmetric, one scale a channel. What only moves
values shares the scale of what it moves. The model's own outputs stay in float.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torchao.quantization.pt2e import (
    FusedMovingAvgObsFakeQuantize,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

aten: Any = torch.ops.aten
_KEY = "quantization_annotation"
# How fast a range follows what is seen: a batch counts a twentieth.
_FOLLOWS = 0.05

WEIGHTED = frozenset(
    {aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv2d.padding, aten.linear.default}
)
_COMBINING = frozenset(
    {
        *(aten.add.Tensor, aten.add_.Tensor, aten.mul.Tensor, aten.cat.default),
        *(aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default),
    }
)
_CLIPPING = frozenset({aten.relu.default, aten.relu_.default, aten.hardtanh.default, aten.hardtanh_.default})
_MOVING = frozenset(
    {
        *(aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.permute.default, aten.transpose.int),
        *(aten.slice.Tensor, aten.squeeze.dim, aten.unsqueeze.default, aten.pad.default, aten.max_pool2d.default),
    }
)

ACTIVATIONS = QuantizationSpec(
    dtype=torch.uint8,
    quant_min=0,
    quant_max=255,
    qscheme=torch.per_tensor_affine,
    observer_or_fake_quant_ctr=FusedMovingAvgObsFakeQuantize.with_args(
        observer=MovingAverageMinMaxObserver, averaging_constant=_FOLLOWS
    ),
)
WEIGHTS = QuantizationSpec(
    dtype=torch.int8,
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
    observer_or_fake_quant_ctr=FusedMovingAvgObsFakeQuantize.with_args(
        observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0
    ),
)


class OnnxRuntimeQuantizer(Quantizer):
    """By the order of the graph, which is topological."""

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        quantized: set[fx.Node] = set()
        for node in model.graph.nodes:
            if node.op != "call_function" or not _is_float(node):
                continue
            if node.target in WEIGHTED or node.target in _COMBINING:
                _annotate(node, quantized)
            elif node.target in _MOVING and node.args[0] in quantized:
                source = node.args[0]
                shared = SharedQuantizationSpec((source, node))
                _write(node, {source: ACTIVATIONS}, None if _is_output(node) else shared)
                quantized.add(node)
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing can be wrong with what was annotated above."""


def _annotate(node: fx.Node, quantized: set[fx.Node]) -> None:
    inputs: dict[fx.Node, Any] = {}
    if node.target in WEIGHTED:
        fed, weight = (value for value in node.args[:2] if isinstance(value, fx.Node))
        inputs = {fed: ACTIVATIONS, weight: WEIGHTS}
    else:
        given = node.args[0] if node.target is aten.cat.default else node.args
        tensors = [value for value in given if isinstance(value, fx.Node) and _is_float(value)]  # pyright: ignore
        if any(value.op == "get_attr" for value in tensors):
            return  # a constant: its kernel wants it quantized beforehand
        if len(tensors) < 2 and node.target not in (aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default):
            return
        inputs = dict.fromkeys(tensors, ACTIVATIONS)
    users = list(node.users)
    last = users[0] if len(users) == 1 and users[0].target in _CLIPPING else node
    output = None if _is_output(last) else ACTIVATIONS
    _write(node, inputs, output if last is node else None)
    if last is not node:
        _write(last, {}, output)
    if output is not None:
        quantized.add(last)


def _write(node: fx.Node, inputs: dict[Any, Any], output: Any) -> None:
    node.meta[_KEY] = QuantizationAnnotation(input_qspec_map=inputs, output_qspec=output, _annotated=True)


def _is_float(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _is_output(node: fx.Node) -> bool:
    return any(user.op == "output" for user in node.users)
