"""A Q/DQ graph as PyTorch exports it, made one that ONNX Runtime runs in integer kernels.

Two things keep it from that: biases in float, which its kernels take as int32 at the scale of input times weight; and a
ReLU or Clip between an operator and its Q, which does nothing that rounding and clipping to uint8 does not do already.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

# Of a clipped range: what a scale that was averaged over batches may be off by.
_SLACK = 1e-3


def for_integer_kernels(model: ModelProto) -> ModelProto:
    """The same graph in place, with int32 biases and without clips that the quantization behind them makes."""
    graph = _Graph(model)
    for node in list(model.graph.node):
        if node.op_type in ("Conv", "Gemm") and len(node.input) == 3:
            graph.quantize_bias(node)
        elif node.op_type in ("Relu", "Clip"):
            graph.drop_clip(node)
    used = {name for node in model.graph.node for name in node.input} | {o.name for o in model.graph.output}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in used]:
        model.graph.initializer.remove(tensor)
    return model


class _Graph:
    def __init__(self, model: ModelProto):
        self._graph = model.graph
        self._constants: dict[str, TensorProto] = {t.name: t for t in model.graph.initializer}
        self._constants |= {
            n.output[0]: a.t
            for n in model.graph.node
            if n.op_type == "Constant"
            for a in n.attribute
            if a.name == "value"
        }
        self._makers = {output: node for node in model.graph.node for output in node.output}
        self._outputs = {output.name for output in model.graph.output}

    def quantize_bias(self, node: NodeProto) -> None:
        inputs = [self._makers.get(name) for name in node.input[:2]]
        bias = self._value(node.input[2])
        if bias is None or any(maker is None or maker.op_type != "DequantizeLinear" for maker in inputs):
            return
        scales = [self._value(maker.input[1]) for maker in inputs if maker is not None]
        if any(scale is None for scale in scales):
            return
        scale = np.broadcast_to((scales[0] * scales[1]).astype(np.float32).ravel(), bias.shape)  # pyright: ignore
        rounded = np.clip(np.rint(bias.astype(np.float64) / scale), -(2**31), 2**31 - 1).astype(np.int32)
        name = node.input[2]
        made = [
            numpy_helper.from_array(rounded, f"{name}_quantized"),
            numpy_helper.from_array(np.ascontiguousarray(scale), f"{name}_scale"),
            numpy_helper.from_array(np.zeros(bias.shape, np.int32), f"{name}_zero_point"),
        ]
        self._graph.initializer.extend(tensor for tensor in made if tensor.name not in self._constants)
        self._constants |= {tensor.name: tensor for tensor in made}
        whole = f"{name}_of_{node.output[0]}"
        dequantize = helper.make_node(
            "DequantizeLinear", [tensor.name for tensor in made], [whole], name=f"{whole}_dequantize", axis=0
        )
        self._graph.node.insert(list(self._graph.node).index(node), dequantize)
        node.input[2] = whole

    def drop_clip(self, node: NodeProto) -> None:
        """Where every reader is a Q whose range ends where the clip does, or before."""
        readers = [reader for reader in self._graph.node if node.output[0] in reader.input]
        if node.output[0] in self._outputs or not readers or not all(self._covers(node, reader) for reader in readers):
            return
        for reader in readers:
            reader.input[0] = node.input[0]
        self._graph.node.remove(node)

    def _covers(self, clip: NodeProto, reader: NodeProto) -> bool:
        if reader.op_type != "QuantizeLinear" or reader.input[0] != clip.output[0]:
            return False
        scale, zero = self._value(reader.input[1]), self._value(reader.input[2])
        if scale is None or zero is None or zero.dtype != np.uint8:
            return False
        lowest, highest = self._bounds(clip)
        least, most = float(-zero * scale.astype(np.float64)), float((255 - float(zero)) * scale)
        slack = _SLACK * (most - least)
        return least >= lowest - slack and most <= highest + slack

    def _bounds(self, clip: NodeProto) -> tuple[float, float]:
        if clip.op_type == "Relu":
            return 0.0, float("inf")
        bounds = [self._value(name) if name else None for name in clip.input[1:3]]
        lowest, highest = (*bounds, None, None)[:2]
        return (
            float("-inf") if lowest is None else float(lowest),
            float("inf") if highest is None else float(highest),
        )

    def _value(self, name: str) -> np.ndarray | None:
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)
