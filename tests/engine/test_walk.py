"""Samples on their way through a model: what is left gives the same outputs from every place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Preprocessing
from edgeopt.contract.measures import TensorInfo
from edgeopt.engine.data.dataset import open_dataset
from edgeopt.engine.data.thinning import thinned
from edgeopt.engine.measure.inputs import Feeds
from edgeopt.engine.quantization.running import Tapped, output_names
from edgeopt.engine.sensitivity import walk as walking
from edgeopt.engine.sensitivity.walk import Walk
from onnx import ModelProto, TensorProto, helper, numpy_helper

WIDTH = 6


def forked() -> ModelProto:
    """A branch that joins again, an output in the middle that nothing later takes, a condition whose branches take a tensor
    from outside, and two inputs of which one is used at the end alone."""
    rows = ["n", WIDTH]

    def branch(name: str, factor: str) -> onnx.GraphProto:
        node = helper.make_node("Mul", ["early", factor], [f"{name}_out"])
        return helper.make_graph(
            [node], name, [], [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)]
        )

    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["early"]),
        helper.make_node("Relu", ["early"], ["side"]),
        helper.make_node("MatMul", ["early", "b"], ["p"]),
        helper.make_node("Add", ["p", "early"], ["q"]),
        helper.make_node(
            "If", ["yes"], ["r"], then_branch=branch("then", "two"), else_branch=branch("otherwise", "three")
        ),
        helper.make_node("Add", ["q", "r"], ["s"]),
        helper.make_node("Add", ["s", "late"], ["y"]),
    ]
    dice = np.random.default_rng(0)
    constants = {
        "a": dice.normal(size=(WIDTH, WIDTH)).astype(np.float32),
        "b": dice.normal(size=(WIDTH, WIDTH)).astype(np.float32),
        "two": np.float32(2),
        "three": np.float32(3),
        "yes": np.array(True),
    }
    graph = helper.make_graph(
        nodes,
        "forked",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, rows) for name in ("x", "late")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, rows) for name in ("side", "y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def feeds() -> list[Feeds]:
    """Samples of different lengths."""
    dice = np.random.default_rng(1)
    return [{name: dice.normal(size=(rows, WIDTH)).astype(np.float32) for name in ("x", "late")} for rows in (1, 3, 2)]


def outputs(model: ModelProto, samples: list[Feeds]) -> list[dict[str, np.ndarray]]:
    return list(Tapped(model, output_names(model), optimized=True).each(samples))


@pytest.mark.parametrize("places", [[place] for place in range(8)] + [[1, 2, 3, 5, 6], [0, 4, 4, 7]])
def test_the_rest_from_any_place_gives_what_the_whole_gives(places: list[int]) -> None:
    model = forked()
    walk = Walk(model, feeds())
    for place in places:
        walk.to(place)
        assert walk.place == place
    assert len(walk.rest().graph.node) == len(model.graph.node) - places[-1]
    for whole, rest in zip(outputs(model, feeds()), outputs(walk.rest(), walk.values), strict=True):
        assert whole.keys() == rest.keys()
        for name, values in whole.items():
            np.testing.assert_allclose(rest[name], values, rtol=1e-6, atol=1e-6)


def test_what_would_not_fit_is_left_at_the_earlier_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "_MOST_BYTES", 3 * 4 * WIDTH)
    walk = Walk(forked(), feeds())
    walk.to(3)
    assert walk.place == 0
    assert [set(fed) for fed in walk.values] == [{"x", "late"}] * 3


@pytest.mark.parametrize("group", [1, 2])
def test_a_thinned_set_holds_whole_samples_from_all_over_with_their_labels(tmp_path: Path, group: int) -> None:
    shape = (40, group, 3) if group > 1 else (40, 3)
    stored = np.arange(40 * group * 3, dtype=np.float32).reshape(shape)
    np.savez(tmp_path / "set.npz", x=stored, labels=np.arange(40))
    whole = open_dataset(
        str(tmp_path / "set.npz"),
        Preprocessing(),
        [TensorInfo(name="x", dtype="float32", shape=[None, 3])],
        labelled=True,
    )
    few = thinned(whole, 5)
    assert few.labels is not None
    assert (few.samples, len(few), few.labels[0], few.labels[-1]) == (5, 5 * group, 0, 39)
    np.testing.assert_array_equal(few.feeds(0, len(few))["x"], stored[few.labels].reshape(-1, 3))
    assert thinned(whole, 40) is whole
