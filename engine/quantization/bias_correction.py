"""What quantization shifts a layer's outputs by on average, taken off its bias.

Empirical bias correction: Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and
Bias Correction", 2019 (arXiv:1906.04721), section 4.2 and appendix D. Layer by layer in the graph's order, since what is
corrected in one layer no longer reaches the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from .graph import WEIGHTED, Wiring, bias_of
from .running import Tapped
from .samples import Feeds


class _Layer(NamedTuple):
    """`bias`: the constant that holds it, int32 with a `scale` or float32 without. `axis`: of the channels in `made`, the
    layer's own output."""

    name: str
    reference: str
    made: str
    bias: str
    scale: np.ndarray | None
    axis: int


def correct_biases(reference: ModelProto, quantized: ModelProto, feeds: Sequence[Feeds]) -> str:
    """Changes the biases of `quantized`, which was made of the float `reference`; says what was done.

    Memory is that of one inference and of `feeds`, whatever the number of layers.
    """
    layers = _layers(reference, quantized)
    if not layers:
        return "bias correction: no quantized layer has a bias to correct"
    expected = _means(reference, {layer.reference: layer.axis for layer in layers}, feeds)
    shares = []
    for layer in layers:
        found = _means(quantized, {layer.made: layer.axis}, feeds)[layer.made]
        shift = found - expected[layer.reference]
        _take_off(quantized, layer, shift)
        shares.append(float(np.abs(shift).mean() / max(float(np.abs(expected[layer.reference]).mean()), 1e-30)))
    return (
        f"bias correction: {len(layers)} layers on {len(feeds)} samples; their outputs were off by"
        f" {100 * float(np.median(shares)):.2g} % of their mean size in the middle, by {100 * max(shares):.2g} % at most"
    )


def _layers(reference: ModelProto, quantized: ModelProto) -> list[_Layer]:
    wiring = Wiring(quantized)
    outputs = {node.name: node.output[0] for node in reference.graph.node if node.op_type in WEIGHTED}
    found = (_layer(node, wiring, outputs) for node in wiring.nodes if node.op_type in WEIGHTED)
    return [layer for layer in found if layer is not None]


def _layer(node: NodeProto, wiring: Wiring, outputs: dict[str, str]) -> _Layer | None:
    weight, bias = wiring.maker.get(node.input[1]), bias_of(node)
    beta = next((held.f for held in node.attribute if held.name == "beta"), 1.0)
    if node.name not in outputs or weight is None or weight.op_type != "DequantizeLinear" or not bias or beta != 1:
        return None
    place = (node.name, outputs[node.name], node.output[0])
    axis = 1 if node.op_type != "Gemm" else -1
    made = wiring.maker.get(bias)
    if made is None:
        return _Layer(*place, bias, None, axis) if wiring.value(bias) is not None and wiring.own(bias) else None
    scale = wiring.value(made.input[1]) if made.op_type == "DequantizeLinear" else None
    held = wiring.constants.get(made.input[0])
    if scale is None or held is None or held.data_type != TensorProto.INT32 or not wiring.own(made.input[0]):
        return None
    return _Layer(*place, made.input[0], scale, axis)


def _means(model: ModelProto, axes: dict[str, int], feeds: Sequence[Feeds]) -> dict[str, np.ndarray]:
    """The mean of each channel of these tensors over the samples: (channels,) float64."""
    totals: dict[str, np.ndarray | float] = dict.fromkeys(axes, 0.0)
    for values in Tapped(model, list(axes), optimized=True).each(feeds):
        for name, axis in axes.items():
            channels = np.moveaxis(values[name], axis, 0)
            totals[name] += channels.reshape(len(channels), -1).mean(axis=1, dtype=np.float64)
    return {name: np.asarray(total / len(feeds)) for name, total in totals.items()}


def _take_off(model: ModelProto, layer: _Layer, shift: np.ndarray) -> None:
    wiring_held = next(tensor for tensor in model.graph.initializer if tensor.name == layer.bias)
    value = numpy_helper.to_array(wiring_held)
    if layer.scale is None:
        corrected = value - shift
    else:
        limits = np.iinfo(np.int32)
        corrected = np.clip(np.rint(value.astype(np.float64) - shift / layer.scale), limits.min, limits.max)
    wiring_held.CopyFrom(numpy_helper.from_array(corrected.astype(value.dtype), layer.bias))
