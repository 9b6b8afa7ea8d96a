"""INT8 that keeps layers in float by itself: as few as the accuracy on labelled calibration data needs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation
from edgeopt.contract.steps import Int8Static, MixedPrecision, Step
from edgeopt.engine import optimizing
from edgeopt.engine.jobs import Optimize, Optimized
from edgeopt.engine.models import onnx_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.quantization.keeping import fewest
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from .small_models import make_bench
from .tiny_models import save as save_nodes

WIDTH, CLASSES = 16, 4
AUTO = Int8Static(technique="int8_static", keep_float="auto")


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_fewest_is_found_with_few_questions(limit: int, needed: int) -> None:
    asked: list[int] = []

    def good(count: int) -> bool:
        asked.append(count)
        return count >= needed

    assert fewest(good, limit) == min(needed, limit)
    assert all(1 <= count <= limit for count in asked)
    assert len(set(asked)) <= 2 * math.ceil(math.log2(limit) + 1) + 1


def network(path: Path, outlier: float) -> str:
    """A classifier whose second layer takes a channel `outlier` times as large as the others, which it multiplies by next to
    nothing: in 8 bits the others are lost."""
    dice = np.random.default_rng(0)
    weights = {
        "a": (dice.normal(size=(WIDTH, WIDTH)) / 4).astype(np.float32),
        "b": (dice.normal(size=(WIDTH, WIDTH)) / 4).astype(np.float32),
        "c": (dice.normal(size=(WIDTH, CLASSES)) / 4).astype(np.float32),
    }
    weights["a"][:, 0] *= outlier
    weights["b"][0, :] /= outlier**2
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["p"], name="first"),
        helper.make_node("MatMul", ["p", "b"], ["q"], name="second"),
        helper.make_node("MatMul", ["q", "c"], ["y"], name="third"),
    ]
    rows: tuple[int, list[Any]] = (int(TensorProto.FLOAT), ["n", WIDTH])
    return save_nodes(path, nodes, {"x": rows}, {"y": (int(TensorProto.FLOAT), ["n", CLASSES])}, weights)


def data(path: Path, model: str, samples: int, seed: int, *, labelled: bool = True) -> str:
    inputs = np.random.default_rng(seed).normal(size=(samples, WIDTH)).astype(np.float32)
    (scores,) = open_runner(Path(model)).run({"x": inputs}).values()
    arrays = {"inputs": inputs, "labels": scores.argmax(axis=1)} if labelled else {"inputs": inputs}
    np.savez(path, allow_pickle=False, **arrays)
    return str(path)


def made(folder: Path, step: Step, outlier: float, *, labelled: bool = True) -> tuple[Optimized, Path]:
    model = network(folder / "net.onnx", outlier)
    task = Optimize(
        parent_path=model,
        step=step,
        file_stem="made",
        evaluation=Evaluation(dataset_path=data(folder / "test.npz", model, 80, 1), metric="top1"),
        calibration_path=data(folder / "calibration.npz", model, 300, 2, labelled=labelled),
        tolerance=0.1,
    )
    (folder / "work").mkdir()
    result = optimizing.run(task, make_bench(folder / "work"))
    return result, folder / "work" / "files" / result.file.name


def agreement(folder: Path, variant: Path) -> float:
    with np.load(folder / "test.npz") as held:
        inputs, labels = held["inputs"], held["labels"]
    (scores,) = open_runner(variant).run({"x": inputs}).values()
    return float(np.mean(scores.argmax(axis=1) == labels))


@pytest.mark.parametrize("step", [AUTO, MixedPrecision(technique="mixed_precision")], ids=lambda step: step.technique)
def test_the_layer_that_8_bits_ruin_stays_in_float_with_the_one_that_feeds_it(tmp_path: Path, step: Step) -> None:
    (tmp_path / "plain").mkdir()
    plainly = Int8Static(technique="int8_static", calibrator="minmax", equalize=False, bias_correction=False)
    _, plain = made(tmp_path / "plain", plainly, 80.0)
    assert agreement(tmp_path / "plain", plain) < 0.9
    result, variant = made(tmp_path, step, 80.0)
    assert agreement(tmp_path, variant) > 0.9
    assert result.precision == "int8"
    assert any("2 of 3 layers stay in float (second, first)" in note for note in result.notes), result.notes
    assert "DequantizeLinear" in onnx_file.operators(onnx.load(variant))


def test_where_8_bits_do_no_harm_no_layer_is_kept(tmp_path: Path) -> None:
    result, variant = made(tmp_path, AUTO, 1.0)
    assert any("no layer needs to stay in float" in note for note in result.notes), result.notes
    assert agreement(tmp_path, variant) > 0.9


def test_without_labels_the_choice_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(JobProblem) as caught:
        made(tmp_path, AUTO, 1.0, labelled=False)
    assert caught.value.problem.code == "CALIBRATION_UNFIT"
    assert "analyze_sensitivity" in caught.value.problem.message


def test_no_more_layers_stay_in_float_than_were_allowed(tmp_path: Path) -> None:
    result, _ = made(tmp_path, MixedPrecision(technique="mixed_precision", max_float_layers=1), 80.0)
    assert any("1 of 3 layers stay in float" in note for note in result.notes), result.notes
    assert any("still more than the search allows" in note for note in result.notes), result.notes
