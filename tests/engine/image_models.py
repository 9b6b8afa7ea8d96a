"""A small convolutional network with everything that techniques act on, and sets of images for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from onnx import ModelProto, TensorProto, helper, numpy_helper

SIDE, CLASSES = 8, 4
PREPROCESSING = Preprocessing(scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def convnet(batch: int | None = None) -> ModelProto:
    """`image` (batch, 3, 8, 8) to `scores` (batch, 4): conv, batch norm, relu, conv, relu, pool, dense."""
    rng = np.random.default_rng(5)
    weights = {
        "w1": 0.3 * rng.standard_normal((8, 3, 3, 3)),
        "gamma": 1 + 0.2 * rng.standard_normal(8),
        "beta": 0.1 * rng.standard_normal(8),
        "average": 0.1 * rng.standard_normal(8),
        "variance": 1 + 0.2 * rng.random(8),
        "w2": 0.2 * rng.standard_normal((16, 8, 3, 3)),
        "b2": 0.1 * rng.standard_normal(16),
        "w3": rng.standard_normal((CLASSES, 16)),
        "b3": 0.1 * rng.standard_normal(CLASSES),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c1", "gamma", "beta", "average", "variance"], ["n1"], name="norm1"),
        helper.make_node("Relu", ["n1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["scores"], name="dense", transB=1),
    ]
    first = "N" if batch is None else batch
    graph = helper.make_graph(
        nodes,
        "convnet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [first, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [first, CLASSES])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="hand", producer_version="1"
    )
    helper.set_model_props(model, {"classes": "a,b,c,d"})
    onnx.checker.check_model(model)
    return model


def unsorted_convnet() -> ModelProto:
    """The network with its first node listed last: not valid ONNX, and ONNX Runtime runs it all the same."""
    model = convnet()
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[1:], nodes[0]])
    return model


def save(model: ModelProto, path: Path) -> str:
    path.write_bytes(model.SerializeToString())
    return str(path)


def images(samples: int, seed: int = 3, side: int = SIDE) -> np.ndarray:
    """uint8 (samples, side, side, 3), each image with a colour and a brightness of its own."""
    rng = np.random.default_rng(seed)
    colours = rng.uniform(0, 200, (samples, 1, 1, 3))
    return np.clip(colours + rng.normal(0, 30, (samples, side, side, 3)), 0, 255).astype(np.uint8)


def image_set(path: Path, samples: int = 40, seed: int = 3) -> str:
    labels = np.random.default_rng(seed).integers(0, CLASSES, samples)
    np.savez(path, inputs=images(samples, seed), labels=labels)
    return str(path)


def evaluation(path: Path, samples: int = 40) -> Evaluation:
    return Evaluation(dataset_path=image_set(path, samples), metric="top1", preprocessing=PREPROCESSING)
