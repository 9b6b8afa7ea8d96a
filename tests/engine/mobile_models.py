"""A small network of inverted residuals, as MobileNetV2 is made of, with channels of very unlike sizes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edgeopt.contract.evaluation import Preprocessing
from edgeopt.contract.measures import Interface
from edgeopt.engine.data.dataset import open_dataset
from edgeopt.engine.models import onnx_file
from edgeopt.engine.quantization.samples import Samples
from edgeopt.engine.runtimes.runner import open_runner
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

CLASSES = 5


class Builder:
    """Nodes one behind the other; weights are drawn as they are needed. `spread`: of the sizes of channels, as a factor that
    is drawn evenly from 1/spread to spread on a logarithmic scale."""

    def __init__(self, seed: int, activation: str, *, spread: float = 1.0, biases: bool = True):
        self.rng = np.random.default_rng(seed)
        self.activation = activation
        self.spread = spread
        self.biases = biases
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def constant(self, value: np.ndarray | float) -> str:
        name = f"k{len(self.weights)}"
        self.weights[name] = np.asarray(value, np.float32)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        at = len(self.nodes)
        self.nodes.append(helper.make_node(operator, inputs, [f"t{at}"], name=f"{operator.lower()}{at}", **attributes))
        return f"t{at}"

    def conv(self, x: str, channels: int, out: int, *, kernel: int = 1, group: int = 1) -> str:
        fan = channels // group * kernel * kernel
        weight = self.rng.standard_normal((out, channels // group, kernel, kernel)) * np.sqrt(2 / fan)
        weight *= self.spread ** self.rng.uniform(-1, 1, (out, 1, 1, 1))
        inputs = [x, self.constant(weight)]
        if self.biases:
            inputs.append(self.constant(0.1 * self.rng.standard_normal(out)))
        return self.node("Conv", *inputs, pads=[kernel // 2] * 4, group=group)

    def act(self, x: str) -> str:
        if self.activation == "Clip":
            return self.node("Clip", x, self.constant(0), self.constant(6))
        return self.node(self.activation, x) if self.activation else x

    def gemm(self, x: str, channels: int, out: int) -> str:
        weight = self.rng.standard_normal((out, channels)) / np.sqrt(channels)
        return self.node("Gemm", x, self.constant(weight), self.constant(np.zeros(out)), transB=1)

    def model(self, shape: tuple[int, ...], y: str, out: tuple[int | None, ...] = (None,)) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "built",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["N", *out])],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def mobile(
    *,
    seed: int = 0,
    activation: str = "Clip",
    spread: float = 1.0,
    biases: bool = True,
    blocks: int = 2,
    side: int = 12,
) -> ModelProto:
    """`x` (N, 3, side, side) to 5 scores: a convolution, inverted residuals of 8 channels, pooling, a dense layer."""
    built = Builder(seed, activation, spread=spread, biases=biases)
    x = built.act(built.conv("x", 3, 8, kernel=3))
    for _ in range(blocks):
        inner = built.act(built.conv(x, 8, 24))
        inner = built.act(built.conv(inner, 24, 24, kernel=3, group=24))
        x = built.node("Add", x, built.conv(inner, 24, 8))
    pooled = built.node("Flatten", built.node("GlobalAveragePool", built.act(built.conv(x, 8, 16))))
    return built.model((3, side, side), built.gemm(pooled, 16, CLASSES))


def dense(widths: list[int], *, seed: int = 0, activation: str = "Relu", spread: float = 1.0) -> ModelProto:
    """`x` (N, widths[0]) through dense layers of these widths."""
    built = Builder(seed, activation, spread=spread)
    x = "x"
    for before, after in pairwise(widths):
        x = built.gemm(x, before, after)
        x = built.act(x) if after is not widths[-1] else x
    return built.model((widths[0],), x)


def noise(samples: int, seed: int = 1, side: int = 12) -> np.ndarray:
    """Float images (samples, 3, side, side) with a brightness of their own."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((samples, 3, side, side)) + rng.normal(0, 1, (samples, 3, 1, 1))).astype(np.float32)


def samples_of(model: ModelProto, values: np.ndarray, folder: Path) -> Samples:
    """The values as the model's calibration set."""
    path, data = folder / "fed.onnx", folder / "calibration.npz"
    path.write_bytes(model.SerializeToString())
    np.savez(data, x=values)
    inputs = onnx_file.inputs(model)
    dataset = open_dataset(str(data), Preprocessing(), inputs, labelled=False)
    return Samples(dataset, open_runner(path, interface=Interface(inputs=inputs, outputs=onnx_file.outputs(model))))
