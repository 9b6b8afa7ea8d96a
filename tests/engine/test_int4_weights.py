"""Weights of matrix products in 4 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation
from edgeopt.contract.steps import Int4Weights
from edgeopt.engine import optimizing
from edgeopt.engine.jobs import Optimize, Optimized
from edgeopt.engine.models import onnx_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

pytest.importorskip("onnx_ir", reason="the extra torch is not installed")

from .image_models import convnet, evaluation, save
from .small_models import make_bench
from .tiny_models import save as save_nodes

WIDTH, CLASSES = 64, 5


def perceptron(path: Path, kind: str) -> str:
    """Two matrix products with their sums, as MatMul and Add or as Gemm with the weight transposed."""
    dice = np.random.default_rng(0)
    first = dice.normal(size=(WIDTH, WIDTH)).astype(np.float32) / 8
    second = dice.normal(size=(WIDTH, CLASSES)).astype(np.float32) / 8
    constants = {
        "first": first,
        "second": second,
        "sum": np.ones(WIDTH, np.float32),
        "end": np.zeros(CLASSES, np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["p"], name="hidden"),
        helper.make_node("Add", ["p", "sum"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("MatMul", ["r", "second"], ["q"], name="head"),
        helper.make_node("Add", ["q", "end"], ["y"]),
    ]
    if kind == "Gemm":
        constants |= {"first": first.T.copy(), "second": second.T.copy()}
        nodes = [
            helper.make_node("Gemm", ["x", "first", "sum"], ["s"], name="hidden", transB=1),
            helper.make_node("Relu", ["s"], ["r"]),
            helper.make_node("Gemm", ["r", "second", "end"], ["y"], name="head", transB=1),
        ]
    rows, given_out = (int(TensorProto.FLOAT), ["n", WIDTH]), (int(TensorProto.FLOAT), ["n", CLASSES])
    return save_nodes(path, nodes, {"x": rows}, {"y": given_out}, constants)


def rows(path: Path, parent: str) -> Evaluation:
    inputs = np.random.default_rng(1).normal(size=(80, WIDTH)).astype(np.float32)
    (logits,) = open_runner(Path(parent)).run({"x": inputs}).values()
    np.savez(path, inputs=inputs, labels=logits.argmax(axis=1))
    return Evaluation(dataset_path=str(path), metric="top1")


def run(folder: Path, parent: str, step: Int4Weights, data: Evaluation, calibration: str | None = None) -> Optimized:
    work = folder / f"work_{step.algorithm}_{step.block_size}"
    work.mkdir()
    task = Optimize(parent_path=parent, step=step, file_stem="made", evaluation=data, calibration_path=calibration)
    return optimizing.run(task, make_bench(work))


def made_file(folder: Path, step: Int4Weights) -> Path:
    return folder / f"work_{step.algorithm}_{step.block_size}" / "files"


@pytest.mark.parametrize("kind", ["MatMul", "Gemm"])
@pytest.mark.parametrize("algorithm", ["rtn", "hqq", "k_quant", "gptq"])
def test_matrix_products_get_weights_in_4_bits(tmp_path: Path, kind: str, algorithm: str) -> None:
    if algorithm == "hqq":
        pytest.importorskip("torch", reason="hqq computes with PyTorch: pip install 'edgeopt[torch]'")
    parent = perceptron(tmp_path / "net.onnx", kind)
    data = rows(tmp_path / "data.npz", parent)
    calibration = tmp_path / "calibration.npz"
    np.savez(calibration, inputs=np.random.default_rng(2).normal(size=(40, WIDTH)).astype(np.float32))
    step = Int4Weights.model_validate({"technique": "int4_weights", "algorithm": algorithm})
    made = run(tmp_path, parent, step, data, str(calibration))
    file = made_file(tmp_path, step) / made.file.name
    found = onnx_file.operators(onnx.load(file))
    assert found["com.microsoft:MatMulNBits"] == 2
    assert (made.precision, found["MatMul"], found["Gemm"]) == ("int4", 0, 0)
    with np.load(data.dataset_path) as held:
        inputs = held["inputs"]
    (before,), (after,) = (open_runner(path).run({"x": inputs}).values() for path in (Path(parent), file))
    assert np.abs(after - before).max() < 0.25 * np.abs(before).max()
    assert np.mean(after.argmax(axis=1) == before.argmax(axis=1)) > 0.8


@settings(max_examples=5, deadline=None)
@given(block_size=st.sampled_from([16, 32, 64, 128, 256]))
def test_every_block_size_runs(tmp_path_factory: pytest.TempPathFactory, block_size: int) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    parent = perceptron(folder / "net.onnx", "MatMul")
    step = Int4Weights.model_validate({"technique": "int4_weights", "block_size": block_size})
    assert run(folder, parent, step, rows(folder / "data.npz", parent)).changed


def test_a_net_without_matrix_products_is_refused_with_what_to_take_instead(tmp_path: Path) -> None:
    model = convnet()
    del model.graph.node[-1], model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, ["N", 16]))
    parent, data = save(model, tmp_path / "net.onnx"), evaluation(tmp_path / "data.npz")
    with pytest.raises(JobProblem) as caught:
        run(tmp_path, parent, Int4Weights(technique="int4_weights"), data)
    assert caught.value.problem.code == "UNAVAILABLE"
    assert "2 convolutions" in caught.value.problem.message
    assert "int8_static" in caught.value.problem.message
