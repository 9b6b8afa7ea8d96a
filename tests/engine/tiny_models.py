"""Small ONNX models whose outputs a test can plan, and the real data where it is present."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

DATA = Path(os.environ.get("EDGEOPT_DATA", Path(__file__).parents[3] / "shared" / "data"))
CIFAR = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}

Axis = int | str


def real(name: str) -> str:
    """A real model or data set; the test is skipped where it is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {name} in the data folder (EDGEOPT_DATA)")
    return str(path)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, Sequence[Axis]]],
    outputs: dict[str, tuple[int, Sequence[Axis]]],
    weights: dict[str, np.ndarray],
    *,
    weights_as_inputs: bool = False,
) -> str:
    """Writes a model with opset 17 and returns its path."""
    listed = inputs | {name: (helper.np_dtype_to_tensor_dtype(w.dtype), w.shape) for name, w in weights.items()}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in (listed if weights_as_inputs else inputs).items()],
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in outputs.items()],
        [numpy_helper.from_array(w, n) for n, w in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return str(path)


def linear(path: Path, weight: np.ndarray, bias: np.ndarray | None = None, *, batch: Axis = "batch") -> str:
    """x (batch, d) -> y = x @ weight + bias (batch, classes), float32."""
    d, classes = weight.shape
    bias = np.zeros(classes) if bias is None else bias
    nodes = [helper.make_node("MatMul", ["x", "w"], ["xw"]), helper.make_node("Add", ["xw", "b"], ["y"])]
    return save(
        path,
        nodes,
        {"x": (TensorProto.FLOAT, [batch, d])},
        {"y": (TensorProto.FLOAT, [batch, classes])},
        {"w": weight.astype(np.float32), "b": bias.astype(np.float32)},
    )


def picking(path: Path, width: int, columns: Sequence[int], *, batch: Axis = "batch") -> str:
    """A model that gives back some columns of its input: a test plans the outputs by writing the inputs."""
    weight = np.zeros((width, len(columns)))
    weight[list(columns), range(len(columns))] = 1
    return linear(path, weight, batch=batch)


def image_model(path: Path, shape: Sequence[Axis], *, dtype: int = TensorProto.FLOAT) -> str:
    """`image` (of the given shape) -> the same values as float32: what the preprocessing fed can be read off."""
    node = helper.make_node("Cast", ["image"], ["y"], to=TensorProto.FLOAT)
    return save(path, [node], {"image": (dtype, shape)}, {"y": (TensorProto.FLOAT, shape)}, {})
