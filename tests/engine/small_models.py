"""Small ONNX models, an evaluation set that they can be right about, and the tasks that measure them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from edgeopt.contract.evaluation import Evaluation, Metric
from edgeopt.contract.measures import Stamp
from edgeopt.engine.bench import Bench
from onnx import TensorProto, helper, numpy_helper

FEATURES, CLASSES = 16, 4
STAMP = Stamp(where="host_estimate", label="Host Estimate (not target hardware)", device="cpu-generic")
WEIGHTS = np.random.default_rng(7).standard_normal((FEATURES, CLASSES)).astype(np.float32)


def save_model(
    path: Path, nodes: Sequence[onnx.NodeProto], constants: dict[str, np.ndarray], *, batch: int | None = None
) -> str:
    """A model of `nodes` from `x` (batch, 16) to `y` (batch, 4); batch None is a dynamic axis."""
    first = "N" if batch is None else batch
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [first, FEATURES])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [first, CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return str(path)


def classifier(path: Path, *, batch: int | None = None, sign: float = 1.0) -> str:
    """Right about most of `evaluation_set`; with sign=-1 wrong about most of it."""
    return save_model(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": sign * WEIGHTS}, batch=batch)


def wide_classifier(path: Path, width: int, layers: int = 1) -> str:
    """The same decisions after `layers` matrix products of `width` x `width` floats."""
    up = np.zeros((FEATURES, width), np.float32)
    up[:, :FEATURES] = np.eye(FEATURES)
    down = np.zeros((width, CLASSES), np.float32)
    down[:FEATURES] = WEIGHTS
    names = [f"h{layer}" for layer in range(layers + 1)]
    nodes = [helper.make_node("MatMul", ["x", "up"], ["h0"])]
    # Through Neg, so that ONNX Runtime cannot fold neighbouring products into one.
    for before, after in pairwise(names):
        nodes.append(helper.make_node("MatMul", [before, "middle"], [f"{after}_product"]))
        nodes.append(helper.make_node("Neg", [f"{after}_product"], [after]))
    nodes.append(helper.make_node("MatMul", [names[-1], "down"], ["y"]))
    return save_model(path, nodes, {"up": up, "middle": -np.eye(width, dtype=np.float32), "down": down})


def evaluation_set(path: Path, metric: Metric = "top1", samples: int = 60) -> Evaluation:
    """Inputs and the class that `classifier` sees most in them, one label in ten replaced."""
    rng = np.random.default_rng(11)
    x = rng.standard_normal((samples, FEATURES)).astype(np.float32)
    labels = np.argmax(x @ WEIGHTS, axis=1)
    labels[::10] = rng.integers(0, CLASSES, len(labels[::10]))
    np.savez(path, x=x, labels=labels)
    return Evaluation(dataset_path=str(path), metric=metric)


def make_bench(folder: Path) -> Bench:
    files, tmp = folder / "files", folder / "tmp"
    files.mkdir()
    tmp.mkdir()
    return Bench(files, tmp)
