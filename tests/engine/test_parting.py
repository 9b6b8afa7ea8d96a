"""A conversion that computes something else, and the layer that is named for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.engine.parting import share, where_they_part
from edgeopt.engine.problems import JobProblem
from onnx import TensorProto, helper

from .tiny_models import save

FEEDS = [{"x": np.random.default_rng(1).normal(size=(2, 3)).astype(np.float32)} for _ in range(2)]
LAYERS = ["left", "right", "joined", "squashed", "scaled", "last"]


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """Two branches, joined, and three layers more."""
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"], name="left"),
        helper.make_node("Softplus", ["x"], ["b"], name="right"),
        helper.make_node("Add", ["a", "b"], ["c"], name="joined"),
        helper.make_node("Tanh", ["c"], ["d"], name="squashed"),
        helper.make_node("Mul", ["d", "w"], ["e"], name="scaled"),
        helper.make_node("Sin", ["e"], ["y"], name="last"),
    ]
    floats = (int(TensorProto.FLOAT), ["n", 3])
    weights = {"w": np.array([1, 2, 3], np.float32)}
    return Path(save(tmp_path / "parent.onnx", nodes, {"x": floats}, {"y": floats}, weights))


def wrong_in(layer: str) -> Callable[[Path, Path], None]:
    """A converter that gets one layer wrong, in the whole model and in every piece that holds it."""

    def convert(source: Path, target: Path) -> None:
        model = onnx.load(source)
        for node in model.graph.node:
            if node.name == layer:
                node.op_type = {"Add": "Sub", "Mul": "Div"}.get(node.op_type, "Relu")
        onnx.save(model, target)

    return convert


def where(parent: Path, convert: Callable[[Path, Path], object]) -> str | None:
    return where_they_part(parent, convert, ".onnx", FEEDS, parent.parent, 1e-3)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_layer_that_is_converted_wrongly_is_named(parent: Path, layer: str) -> None:
    found = where(parent, wrong_in(layer))
    assert found is not None
    assert found.endswith(repr(layer))


def test_a_conversion_that_keeps_everything_has_no_such_layer(parent: Path) -> None:
    assert where(parent, shutil.copyfile) is None


def test_where_the_model_does_not_convert_with_all_its_tensors_no_layer_is_named(parent: Path) -> None:
    def convert(source: Path, target: Path) -> None:
        raise JobProblem("TECHNIQUE_FAILED", "so many outputs are not for this converter")

    assert where(parent, convert) is None


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([[1.0, -4.0]], [[1.0, -3.0]], 0.25),
        ([[0.0]], [[0.0]], 0.0),
        ([[0.0]], [[1.0]], np.inf),
        ([[1.0]], [[np.nan]], np.inf),
    ],
)
def test_how_far_outputs_are_apart(before: list[list[float]], after: list[list[float]], expected: float) -> None:
    assert share([np.array(row) for row in before], [np.array(row) for row in after]) == expected


def test_other_shapes_are_infinitely_far_apart() -> None:
    assert share([np.zeros((2, 3))], [np.zeros((3, 2))]) == np.inf
