"""The baseline of small real models, and the baselines that cannot be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.engine import profiling
from edgeopt.engine.data.dataset import open_evaluation
from edgeopt.engine.jobs import Profile, Profiled
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from onnx import helper

from .small_models import STAMP, classifier, evaluation_set, make_bench, save_model

DATA = Path(os.environ.get("EDGEOPT_DATA", Path(__file__).parents[3] / "shared" / "data"))


def profile(folder: Path, model: str, evaluation: Evaluation, **options: object) -> Profiled:
    digest = open_evaluation(evaluation, open_runner(model).inputs).info.digest
    task = {
        "model_path": model,
        "evaluation": evaluation,
        "data_digest": digest,
        "iterations": 100,
        "threads": 1,
        "batch_size": 1,
        "stamp": STAMP,
        "measurement_id": "m-1",
    }
    return profiling.run(Profile.model_validate(task | options), make_bench(folder))


def test_a_baseline_has_every_metric(tmp_path: Path):
    model = classifier(tmp_path / "model.onnx")
    profiled = profile(tmp_path, model, evaluation_set(tmp_path / "set.npz"), batch_size=4)
    baseline = profiled.baseline
    assert baseline.where == "host_estimate"
    assert baseline.label == STAMP.label
    assert baseline.measurement_id == "m-1"
    assert baseline.runtime.startswith("onnxruntime ")
    assert baseline.latency_ms.n == 100
    assert 0 < baseline.latency_ms.p50 <= baseline.latency_ms.p99
    assert not baseline.latency_ms.p99_is_bound
    assert baseline.throughput_per_s == pytest.approx(4000 / baseline.latency_ms.mean)
    assert baseline.runtime_memory_mb is not None
    assert 20 < baseline.runtime_memory_mb < baseline.peak_memory_mb + 1
    assert baseline.machine is not None
    assert baseline.machine.load[0] >= 0
    assert baseline.file_size_bytes == Path(model).stat().st_size
    assert baseline.accuracy is not None
    assert baseline.accuracy.n == 60
    assert 0.85 < baseline.accuracy.value < 1
    assert "MatMul" in profiled.bottleneck
    ceilings = {ceiling.technique: ceiling for ceiling in profiled.ceilings}
    assert set(ceilings) == {"int8_static", "int8_dynamic", "float16"}
    assert ceilings["int8_dynamic"].operators == ["MatMul"]
    outcomes = Outcomes.load(tmp_path / "files" / profiled.outcomes)
    assert outcomes.accuracy() == baseline.accuracy
    progress = [json.loads(line)["done"] for line in (tmp_path / "files/progress.jsonl").read_text().splitlines()]
    assert progress == sorted(progress)


def test_external_data_counts_in_the_file_size(tmp_path: Path):
    inside = classifier(tmp_path / "inside.onnx")
    outside = tmp_path / "outside.onnx"
    onnx.save(onnx.load(inside), outside, save_as_external_data=True, location="weights.bin", size_threshold=0)
    profiled = profile(tmp_path, str(outside), evaluation_set(tmp_path / "set.npz"))
    weights = (tmp_path / "weights.bin").stat().st_size
    assert weights > 0
    assert profiled.baseline.file_size_bytes == outside.stat().st_size + weights


def test_changed_data_are_refused(tmp_path: Path):
    evaluation = evaluation_set(tmp_path / "set.npz")
    model = classifier(tmp_path / "model.onnx")
    digest = open_evaluation(evaluation, open_runner(model).inputs).info.digest
    changed = evaluation_set(tmp_path / "set.npz", samples=61)
    with pytest.raises(JobProblem, match="open a new session") as raised:
        profile(tmp_path, model, changed, data_digest=digest)
    assert raised.value.problem.code == "SAME_DATASET"


def nan_model(path: Path) -> str:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Log", ["z"], ["y"])]
    return save_model(path, nodes, {"w": np.ones((16, 4), np.float32)})


def constant_model(path: Path) -> str:
    nodes = [helper.make_node("MatMul", ["x", "zero"], ["z"]), helper.make_node("Add", ["z", "b"], ["y"])]
    constants = {"zero": np.zeros((16, 4), np.float32), "b": np.linspace(0.1, 0.4, 4, dtype=np.float32)}
    return save_model(path, nodes, constants)


def wrong_model(path: Path) -> str:
    return classifier(path, sign=-1.0)


@pytest.mark.parametrize(
    ("make", "reason"),
    [(nan_model, "NaN or infinite"), (constant_model, "same for every sample"), (wrong_model, "not above chance")],
)
def test_a_baseline_that_cannot_be_is_refused(make: Callable[[Path], str], reason: str, tmp_path: Path):
    with pytest.raises(JobProblem, match=f"{reason}.*preprocessing.*new session") as raised:
        profile(tmp_path, make(tmp_path / "model.onnx"), evaluation_set(tmp_path / "set.npz"))
    assert raised.value.problem.code == "BASELINE_IMPLAUSIBLE"
    assert not (tmp_path / "files" / profiling.OUTCOMES_FILE).exists()


@pytest.mark.skipif(not (DATA / "cifar10").exists(), reason="developer data are not here")
def test_resnet20_is_as_accurate_as_published_with_this_file(tmp_path: Path):
    evaluation = Evaluation(
        dataset_path=str(DATA / "cifar10/test_png_dev.npz"),
        metric="top1",
        preprocessing=Preprocessing(scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    )
    model = str(DATA / "cifar10/resnet20_cifar10.onnx")
    profiled = profile(tmp_path, model, evaluation)
    assert profiled.baseline.accuracy is not None
    assert round(profiled.baseline.accuracy.value, 4) == 0.9321
    assert "Conv" in profiled.bottleneck
    static, dynamic, _ = profiled.ceilings
    assert static.share > 0.5
    assert static.operators[0] == "Conv"
    assert dynamic.at_most < 1.2
    assert dynamic.warning


@pytest.mark.skipif(not (DATA / "cifar10").exists(), reason="developer data are not here")
def test_resnet20_with_foreign_labels_is_implausible(tmp_path: Path):
    with np.load(DATA / "cifar10/test_png_dev.npz") as arrays:
        images, labels = arrays["inputs"], arrays["labels"]
    np.savez(tmp_path / "set.npz", inputs=images, labels=(labels + 1) % 10)
    evaluation = Evaluation(
        dataset_path=str(tmp_path / "set.npz"),
        metric="top1",
        preprocessing=Preprocessing(scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    )
    with pytest.raises(JobProblem, match="not above chance"):
        profile(tmp_path, str(DATA / "cifar10/resnet20_cifar10.onnx"), evaluation)
