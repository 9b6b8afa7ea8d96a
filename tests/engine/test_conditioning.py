"""How far a model's own rounding carries tells a wrong conversion from an unstable model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from edgeopt.engine.conditioning import own_response
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper


def logistic_map(folder: Path, rate: float, steps: int = 60) -> Path:
    """x -> rate * x * (1 - x), again and again: chaotic above a rate of 3.57, and drawn to one point below 3 (May, 1976)."""
    nodes, x = [], "x"
    for step in range(steps):
        nodes += [
            helper.make_node("Sub", ["one", x], [f"rest{step}"]),
            helper.make_node("Mul", [x, f"rest{step}"], [f"product{step}"]),
            helper.make_node("Mul", ["rate", f"product{step}"], [f"x{step}"]),
        ]
        x = f"x{step}"
    constants = {"one": 1.0, "rate": rate}
    graph = helper.make_graph(
        nodes,
        "logistic",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in constants.items()],
    )
    file = folder / f"logistic-{rate}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    return file


def samples() -> list[dict[str, np.ndarray]]:
    return [{"x": row[np.newaxis]} for row in np.random.default_rng(1).uniform(0.1, 0.9, (8, 4)).astype(np.float32)]


def test_a_chaotic_model_moves_its_outputs_by_its_own_rounding(tmp_path: Path):
    assert own_response(open_runner(logistic_map(tmp_path, 3.9)), samples) > 0.1


def test_a_stable_model_does_not(tmp_path: Path):
    assert own_response(open_runner(logistic_map(tmp_path, 2.5)), samples) < 1e-5


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-30, 1e30))
def test_a_linear_model_answers_in_proportion_whatever_the_scale(scale: float):
    class Twice:
        def run(self, fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": 2 * fed["x"]}

    fed = [{"x": (scale * one["x"]).astype(np.float32)} for one in samples()]
    assert own_response(Twice(), lambda: fed) < 1e-6  # pyright: ignore[reportArgumentType]


def test_a_sample_of_zeros_is_nudged_as_far_as_the_others():
    class Sign:
        def run(self, fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {"y": np.sign(fed["x"])}

    silent = [{"x": np.ones((1, 4), np.float32)}, {"x": np.zeros((1, 4), np.float32)}]
    assert own_response(Sign(), lambda: silent) == 1  # pyright: ignore[reportArgumentType]


def test_whole_numbers_are_not_nudged():
    class Same:
        def run(self, fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            assert fed["ids"].dtype == np.int64
            return {"y": fed["ids"].astype(np.float32)}

    assert own_response(Same(), lambda: [{"ids": np.arange(6)}]) == 0  # pyright: ignore[reportArgumentType]
