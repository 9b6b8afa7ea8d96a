"""Which layers suffer from being quantized: one rounded at a time, and the float model left as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation
from edgeopt.engine import analyzing
from edgeopt.engine.jobs import Analyze, Analyzed
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from edgeopt.engine.sensitivity.layers import Rounding, layers, rounded_weight, steps
from edgeopt.engine.sensitivity.ranking import activation_ranges, noise, rank
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import ModelProto, TensorProto, helper

from .image_models import PREPROCESSING, convnet, image_set, images, save
from .small_models import make_bench
from .tiny_models import save as save_nodes

WIDTH = 16
# As a session has it, once what was left out is derived.
COMPLETE = PREPROCESSING.model_copy(update={"layout": "NCHW"})
FLOATS = st.floats(-100, 100, width=32)


def chain(path: Path, outlier: float) -> str:
    """Three matrix products in a row. The second takes a channel that is `outlier` times as large as the others, and that
    its weight multiplies by nothing: steps as wide as that channel are lost on the rest."""
    dice = np.random.default_rng(0)
    weights = {name: (dice.normal(size=(WIDTH, WIDTH)) / 4).astype(np.float32) for name in ("a", "b", "c")}
    weights["a"][:, 0] *= outlier
    weights["b"][0, :] = 0
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"], name="first"),
        helper.make_node("MatMul", ["p", "b"], ["q"], name="second"),
        helper.make_node("MatMul", ["q", "c"], ["y"], name="third"),
    ]
    rows = (int(TensorProto.FLOAT), ["n", WIDTH])
    return save_nodes(path, nodes, {"x": rows}, {"y": rows}, weights)


def feeds(count: int = 8) -> list[dict[str, np.ndarray]]:
    dice = np.random.default_rng(1)
    return [{"x": dice.normal(size=(1, WIDTH)).astype(np.float32)} for _ in range(count)]


def no_report(_done: float, _what: str) -> None: ...


def test_the_layer_whose_range_an_outlier_takes_is_the_most_sensitive(tmp_path: Path) -> None:
    scores = rank(onnx.load(chain(tmp_path / "net.onnx", 200.0)), feeds(), no_report)
    assert scores[0].layer.name == "second"
    assert scores[0].noise > 10 * scores[1].noise


def test_without_an_outlier_no_layer_stands_out(tmp_path: Path) -> None:
    scores = rank(onnx.load(chain(tmp_path / "net.onnx", 1.0)), feeds(), no_report)
    assert {score.layer.name for score in scores} == {"first", "second", "third"}
    assert scores[0].noise < 10 * scores[-1].noise
    assert scores[0].noise < 1e-2


@pytest.mark.parametrize("name", ["conv1", "conv2", "dense"])
def test_a_model_is_what_it_was_after_a_layer_was_rounded(name: str) -> None:
    model = convnet()
    before = model.SerializeToString(deterministic=True)
    inputs = [{"image": images(4).astype(np.float32).transpose(0, 3, 1, 2) / 255}]
    layer = next(layer for layer in layers(model) if layer.name == name)
    rounding = Rounding(model, activation_ranges(model, set(layer.activations), inputs))
    with rounding.of(layer) as rounded:
        onnx.checker.check_model(rounded)
        assert rounded.SerializeToString(deterministic=True) != before
        kinds = [node.op_type for node in rounded.graph.node]
        assert kinds.count("QuantizeLinear") == len(layer.activations)
    assert model.SerializeToString(deterministic=True) == before


def test_layers_without_an_activation_to_round_are_left_out() -> None:
    model: ModelProto = convnet()
    assert [layer.name for layer in layers(model)] == ["conv1", "conv2", "dense"]


@given(FLOATS, FLOATS)
def test_steps_hold_their_range_and_zero_exactly(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    scale, zero_point = steps(low, high)
    assert scale > 0
    assert 0 <= zero_point <= 255
    ends = (-zero_point * scale, (255 - zero_point) * scale)
    assert ends[0] - scale <= min(low, 0)
    assert max(high, 0) <= ends[1] + scale


@given(arrays.arrays(np.float32, (4, 3, 2), elements=st.floats(-10, 10, width=32)), st.sampled_from([0, 1, -1]))
def test_a_rounded_weight_is_within_half_a_step_of_its_channel(weight: np.ndarray, axis: int) -> None:
    rounded = rounded_weight(weight, axis)
    others = tuple(a for a in range(3) if a != axis % 3)
    step = np.abs(weight).max(axis=others, keepdims=True) / 127
    assert rounded.dtype == np.float32
    assert np.all(np.abs(rounded - weight) <= step * 0.5001 + 1e-6)


def test_outputs_that_are_lost_count_as_lost() -> None:
    exact, lost = [[np.ones(3, np.float32)]], [[np.array([1, np.nan, 1], np.float32)]]
    assert noise(exact, lost) == 1.0
    assert noise(exact, exact) == 0.0


def analyzed(tmp_path: Path, calibration: str, model: str) -> Analyzed:
    work = tmp_path / "work"
    work.mkdir()
    labels = image_set(tmp_path / "data.npz")
    data = Evaluation(dataset_path=labels, metric="top1", preprocessing=COMPLETE)
    return analyzing.run(Analyze(parent_path=model, evaluation=data, calibration_path=calibration), make_bench(work))


def test_layers_are_named_as_keep_float_takes_them_and_the_worst_are_evaluated(tmp_path: Path) -> None:
    parent = save(convnet(), tmp_path / "net.onnx")
    found = analyzed(tmp_path, image_set(tmp_path / "calib.npz", 64, seed=8), parent)
    assert found.of == 3
    assert {layer.name for layer in found.layers} == {"conv1", "conv2", "dense"}
    assert [layer.score for layer in found.layers] == sorted((layer.score for layer in found.layers), reverse=True)
    assert all(layer.accuracy_drop is not None for layer in found.layers)
    assert "the evaluation set was not opened" in found.confirmation


def test_a_calibration_set_without_labels_ranks_all_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "calib.npz", inputs=images(40, seed=8))
    found = analyzed(tmp_path, str(tmp_path / "calib.npz"), save(convnet(), tmp_path / "net.onnx"))
    assert [layer.accuracy_drop for layer in found.layers] == [None] * 3
    assert "cannot be read with labels" in found.confirmation


def test_a_quantized_parent_is_refused(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantized = tmp_path / "quantized.onnx"
    quantize_dynamic(save(convnet(), tmp_path / "net.onnx"), quantized)
    with pytest.raises(JobProblem) as caught:
        analyzed(tmp_path, image_set(tmp_path / "calib.npz", 40, seed=8), str(quantized))
    assert caught.value.problem.code == "UNAVAILABLE"
    assert open_runner(quantized).outputs
