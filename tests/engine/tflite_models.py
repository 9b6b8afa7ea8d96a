"""Small TensorFlow Lite models, written by the schema: no converter is needed to test what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed: pip install 'edgeopt[tflite]'")
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

# Of an axis in a shape: any size; the file says 1.
ANY = -1


class Writer:
    """One subgraph, tensor by tensor and operator by operator."""

    def __init__(self) -> None:
        self.graph: Any = schema.SubGraphT(tensors=[], operators=[])
        self.model: Any = schema.ModelT(
            version=3, description=b"by hand", operatorCodes=[], buffers=[schema.BufferT()], subgraphs=[self.graph]
        )

    def tensor(
        self, name: str, shape: Sequence[int], kind: str = "FLOAT32", step: tuple[float, int] | None = None
    ) -> int:
        """A tensor that is fed or computed; `step`: the scale and zero point of a quantized one."""
        quantization = None
        if step is not None:
            quantization = schema.QuantizationParametersT(scale=[step[0]], zeroPoint=[step[1]])
        self.graph.tensors.append(
            schema.TensorT(
                name=name.encode(),
                shape=[1 if axis == ANY else axis for axis in shape],
                shapeSignature=list(shape) if ANY in shape else None,
                type=getattr(schema.TensorType, kind),
                buffer=0,
                quantization=quantization,
                hasRank=True,
            )
        )
        return len(self.graph.tensors) - 1

    def constant(self, name: str, values: np.ndarray) -> int:
        index = self.tensor(name, values.shape, values.dtype.name.upper())
        self.graph.tensors[index].buffer = len(self.model.buffers)
        self.model.buffers.append(schema.BufferT(data=np.frombuffer(values.tobytes(), np.uint8)))
        return index

    def operator(self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Any = None) -> None:
        code = getattr(schema.BuiltinOperator, name)
        self.model.operatorCodes.append(schema.OperatorCodeT(builtinCode=code, deprecatedBuiltinCode=code, version=1))
        operator: Any = schema.OperatorT(
            opcodeIndex=len(self.model.operatorCodes) - 1, inputs=list(inputs), outputs=list(outputs)
        )
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.graph.operators.append(operator)

    def sign(self, key: str, inputs: dict[str, int], outputs: dict[str, int]) -> None:
        def maps(named: dict[str, int]) -> list[Any]:
            return [schema.TensorMapT(name=name.encode(), tensorIndex=index) for name, index in named.items()]

        self.model.signatureDefs = [
            *(self.model.signatureDefs or []),
            schema.SignatureDefT(
                inputs=maps(inputs), outputs=maps(outputs), signatureKey=key.encode(), subgraphIndex=0
            ),
        ]

    def save(self, path: Path, inputs: Sequence[int], outputs: Sequence[int]) -> Path:
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        path.write_bytes(convert_object_to_bytearray(self.model))
        return path


def _convolution_options(depthwise: bool) -> Any:
    options: Any = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    if depthwise:
        options.depthMultiplier = 1
    return options


def dense(path: Path, weight: np.ndarray, bias: np.ndarray, batch: int = ANY) -> Path:
    """x (batch, inputs) to y (batch, outputs) by a weight (inputs, outputs), without a signature."""
    writer = Writer()
    x, y = writer.tensor("x", (batch, weight.shape[0])), writer.tensor("y", (batch, weight.shape[1]))
    constants = [writer.constant("weight", np.ascontiguousarray(weight.T)), writer.constant("bias", bias)]
    writer.operator("FULLY_CONNECTED", [x, *constants], [y], schema.FullyConnectedOptionsT())
    return writer.save(path, [x], [y])


def convolution(path: Path, kernel: np.ndarray, bias: np.ndarray, side: tuple[int, int], batch: int = ANY) -> Path:
    """image (batch, height, width, inputs) to map, by a kernel (outputs, height, width, inputs), without padding."""
    writer = Writer()
    outputs, *window, inputs = kernel.shape
    image = writer.tensor("image", (batch, *side, inputs))
    sizes = [size - taken + 1 for size, taken in zip(side, window, strict=True)]
    result = writer.tensor("map", (batch, *sizes, outputs))
    constants = [writer.constant("kernel", kernel), writer.constant("bias", bias)]
    writer.operator("CONV_2D", [image, *constants], [result], _convolution_options(depthwise=False))
    return writer.save(path, [image], [result])


def separable(path: Path, channels: int = 48, side: int = 8) -> Path:
    """A convolution 3 x 3 from 3 to `channels`, a depthwise one, one of 1 x 1, a pool and a dense layer to 4 classes;
    signed, with dynamic batch."""
    rng = np.random.default_rng(4)

    def random(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    writer = Writer()
    image = writer.tensor("serving_default_image:0", (ANY, side, side, 3))
    first = writer.tensor("first", (ANY, side - 2, side - 2, channels))
    second = writer.tensor("second", (ANY, side - 4, side - 4, channels))
    third = writer.tensor("third", (ANY, side - 4, side - 4, channels))
    pooled = writer.tensor("pooled", (ANY, channels))
    scores = writer.tensor("StatefulPartitionedCall:0", (ANY, 4))
    bias = [writer.constant(f"bias{layer}", random(channels)) for layer in range(3)]
    kernels = [random(channels, 3, 3, 3), random(1, 3, 3, channels) * np.float32(3), random(channels, 1, 1, channels)]
    weights = [writer.constant(f"kernel{layer}", kernel) for layer, kernel in enumerate(kernels)]
    writer.operator("CONV_2D", [image, weights[0], bias[0]], [first], _convolution_options(depthwise=False))
    writer.operator("DEPTHWISE_CONV_2D", [first, weights[1], bias[1]], [second], _convolution_options(depthwise=True))
    writer.operator("CONV_2D", [second, weights[2], bias[2]], [third], _convolution_options(depthwise=False))
    axes = writer.constant("axes", np.array([1, 2], np.int32))
    writer.operator("MEAN", [third, axes], [pooled], schema.ReducerOptionsT())
    head = [writer.constant("head", random(4, channels)), writer.constant("offset", random(4))]
    writer.operator("FULLY_CONNECTED", [pooled, *head], [scores], schema.FullyConnectedOptionsT())
    writer.sign("serving_default", {"image": image}, {"scores": scores})
    return writer.save(path, [image], [scores])
