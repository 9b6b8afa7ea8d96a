"""Channels of a convolution whose weights are next to nothing, in a TensorFlow Lite model that was just quantized.

Trained networks have many: more than half of those of vww_mobilenet (../shared/data). The scale of such a channel's weights
is so fine that its bias, held in steps of it, is beyond 32 bits; ai-edge-quantizer 0.10 casts what is beyond to the lowest
integer, so that a channel that always gives 0.5 gives nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model_from_bytearray

_BIASED = frozenset(
    {
        schema.BuiltinOperator.CONV_2D,
        schema.BuiltinOperator.DEPTHWISE_CONV_2D,
        schema.BuiltinOperator.FULLY_CONNECTED,
    }
)
# Of the output's step: what a channel's weights can move it by, all together, and are left out nevertheless.
_NOTHING = 0.25
# Of the output's step: what the bias of such a channel is held in.
_STEP = 1 / 256


class Layer(NamedTuple):
    """An 8-bit layer with a scale for each channel, and its bias in float32."""

    weight: Any
    bias: Any
    values: np.ndarray
    integers: np.ndarray
    real_bias: np.ndarray
    reach: float
    input_step: float
    output_step: float

    @property
    def axis(self) -> int:
        return self.weight.quantization.quantizedDimension

    @property
    def dead(self) -> np.ndarray:
        """Of each channel, whether no input can make its weights move the output by a quarter of a step."""
        others = tuple(axis for axis in range(self.values.ndim) if axis != self.axis)
        sums = np.abs(self.values.astype(np.float64)).sum(axis=others) * np.array(self.weight.quantization.scale)
        return sums * self.reach < _NOTHING * self.output_step


def mend(quantized: bytes, original: bytes) -> bytes:
    """The quantized model, its dead channels written as zeros and a bias in steps that hold it. `original`: the float32
    model, with the same names of tensors."""
    model: Any = read_model_from_bytearray(memoryview(quantized))
    before: Any = read_model_from_bytearray(memoryview(original))
    mended = False
    for graph, graph_before in zip(model.subgraphs, before.subgraphs, strict=True):
        biases = {tensor.name: before.buffers[tensor.buffer].data for tensor in graph_before.tensors}
        readers = Counter(index for operator in graph.operators for index in operator.inputs)
        for operator in graph.operators:
            layer = _layer(model, graph, operator, biases)
            # What several operators read is left: each has steps of its own.
            if layer is not None and layer.dead.any() and all(readers[index] == 1 for index in operator.inputs[1:3]):
                _rewrite(model, layer)
                mended = True
    return bytes(convert_object_to_bytearray(model)) if mended else quantized


def _layer(model: Any, graph: Any, operator: Any, biases: dict[bytes, Any]) -> Layer | None:
    if model.operatorCodes[operator.opcodeIndex].builtinCode not in _BIASED or len(operator.inputs) < 3:
        return None
    inward, weight, bias = (graph.tensors[index] for index in operator.inputs[:3])
    outward = graph.tensors[operator.outputs[0]]
    integers, real_bias = model.buffers[bias.buffer].data, biases.get(bias.name)
    by_channel = weight.type == schema.TensorType.INT8 and bias.type == schema.TensorType.INT32
    if operator.inputs[2] < 0 or not by_channel or integers is None or real_bias is None:
        return None
    values = np.frombuffer(bytes(model.buffers[weight.buffer].data), np.int8).reshape(weight.shape)
    if len(weight.quantization.scale) != values.shape[weight.quantization.quantizedDimension]:
        return None
    input_step, zero_point = float(inward.quantization.scale[0]), int(inward.quantization.zeroPoint[0])
    return Layer(
        weight,
        bias,
        values,
        np.frombuffer(bytes(integers), np.int32),
        np.frombuffer(bytes(real_bias), np.float32).astype(np.float64),
        input_step * max(127 - zero_point, zero_point + 128),
        input_step,
        float(outward.quantization.scale[0]),
    )


def _rewrite(model: Any, layer: Layer) -> None:
    dead, step = layer.dead, layer.output_step * _STEP
    alive = np.expand_dims(~dead, [axis for axis in range(layer.values.ndim) if axis != layer.axis])
    biases = np.where(dead, np.rint(layer.real_bias / step), layer.integers).astype(np.int32)
    scales = np.where(dead, step / layer.input_step, layer.weight.quantization.scale)
    _put(model, layer.weight, (layer.values * alive).astype(np.int8))
    _put(model, layer.bias, biases)
    layer.weight.quantization.scale = scales.astype(np.float32).tolist()
    layer.bias.quantization.scale = np.where(dead, step, layer.bias.quantization.scale).astype(np.float32).tolist()


def _put(model: Any, tensor: Any, values: np.ndarray) -> None:
    """Gives a tensor other numbers; those of others that share its buffer stay."""
    data = np.frombuffer(values.tobytes(), np.uint8)
    if sum(other.buffer == tensor.buffer for graph in model.subgraphs for other in graph.tensors) == 1:
        model.buffers[tensor.buffer].data = data
    else:
        tensor.buffer = len(model.buffers)
        model.buffers.append(schema.BufferT(data=data))
