"""What a worker works on is what was recorded: its own copies, whose bytes it has hashed itself."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation
from edgeopt.contract.steps import Simplify
from edgeopt.engine.jobs import Benchmark, Inspect, JobSpec, Optimize, Pinned, PinnedFile
from edgeopt.engine.pinned import on_copies
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from onnx.external_data_helper import convert_model_to_external_data

from .small_models import FEATURES, STAMP, classifier

EVALUATION = Evaluation(dataset_path="/data/test.npz", metric="top1")


def pinned(*paths: Path, code: str = "VARIANT_CHANGED") -> Pinned:
    files = [PinnedFile(path=str(p), sha256=hashlib.sha256(p.read_bytes()).hexdigest()) for p in paths]
    return Pinned.model_validate({"code": code, "files": files})


def optimize(path: Path) -> Optimize:
    return Optimize(
        parent_path=str(path),
        step=Simplify(technique="simplify"),
        file_stem="net",
        evaluation=EVALUATION,
        calibration_path=None,
    )


def benchmark(baseline: Path, variant: Path) -> Benchmark:
    return Benchmark(
        baseline_path=str(baseline),
        variant_path=str(variant),
        evaluation=EVALUATION,
        iterations=100,
        threads=1,
        batch_size=1,
        stamp=STAMP,
        measurement_ids=("m1", "m2"),
    )


def result(path: str) -> np.ndarray:
    runner = open_runner(path)
    return runner.run({"x": np.ones((1, FEATURES), np.float32)})["y"]


def external(folder: Path, place: str = "net.weights") -> Path:
    """A model that keeps its weights in a file beside it."""
    folder.mkdir(parents=True)
    model = onnx.load(classifier(folder / "net.onnx"))
    (folder / place).parent.mkdir(exist_ok=True)
    convert_model_to_external_data(model, location=place, size_threshold=0)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


def test_a_task_works_on_copies_that_nothing_outside_can_change(tmp_path: Path):
    original, variant = Path(classifier(tmp_path / "net.onnx")), Path(classifier(tmp_path / "v1.onnx", sign=-1.0))
    task = benchmark(original, variant)
    copied = on_copies(task, [pinned(original), pinned(variant)], tmp_path / "tmp")
    assert isinstance(copied, Benchmark)
    wanted = result(str(variant))
    classifier(variant)
    original.unlink()
    assert np.array_equal(result(copied.variant_path), wanted)
    assert np.array_equal(result(copied.baseline_path), -wanted)
    assert Path(copied.variant_path).name == "v1.onnx"
    assert copied.model_copy(update={"baseline_path": task.baseline_path, "variant_path": task.variant_path}) == task


def test_a_model_that_is_compared_with_itself_is_copied_once(tmp_path: Path):
    original = Path(classifier(tmp_path / "net.onnx"))
    copied = on_copies(benchmark(original, original), [pinned(original)], tmp_path / "tmp")
    assert isinstance(copied, Benchmark)
    assert copied.baseline_path == copied.variant_path != str(original)


def test_without_pins_the_task_is_left_as_it_is(tmp_path: Path):
    task = optimize(tmp_path / "net.onnx")
    inspect = Inspect(model_path="/m", evaluation=EVALUATION, calibration_path=None, roots=["/m", "/data"])
    assert [on_copies(t, [], tmp_path) for t in (task, inspect)] == [task, inspect]
    assert JobSpec(job_id="j", task=task, memory_mb=1, timeout_s=1).pinned == []


@pytest.mark.parametrize("place", ["net.weights", "weights/net.weights"])
def test_external_data_are_pinned_with_their_model(tmp_path: Path, place: str):
    model = external(tmp_path / "m", place)
    wanted = result(str(model))
    copied = on_copies(optimize(model), [pinned(model, model.parent / place)], tmp_path / "tmp")
    shutil.rmtree(model.parent)
    assert isinstance(copied, Optimize)
    assert np.array_equal(result(copied.parent_path), wanted)


Spoil = Callable[[Path], object]


@pytest.mark.parametrize("code", ["ORIGINAL_PROTECTED", "VARIANT_CHANGED", "BAD_FILE"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: classifier(path, sign=-1.0),
        lambda path: path.unlink(),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
)
def test_what_is_not_the_recorded_file_is_not_worked_on(tmp_path: Path, spoil: Spoil, code: str):
    model = Path(classifier(tmp_path / "net.onnx"))
    pin = pinned(model, code=code)
    spoil(model)
    with pytest.raises(JobProblem) as caught:
        on_copies(optimize(model), [pin], tmp_path / "tmp")
    assert caught.value.problem.code == code
    assert "net.onnx" in caught.value.problem.message


def test_other_external_data_are_noticed(tmp_path: Path):
    model = external(tmp_path / "m")
    pin = pinned(model, model.with_name("net.weights"))
    weights = np.fromfile(model.with_name("net.weights"), np.float32)
    (-weights).tofile(model.with_name("net.weights"))
    with pytest.raises(JobProblem) as caught:
        on_copies(optimize(model), [pin], tmp_path / "tmp")
    assert caught.value.problem.code == "VARIANT_CHANGED"
    assert "net.weights" in caught.value.problem.message


def folder_pin(folder: Path, code: str = "ORIGINAL_PROTECTED") -> Pinned:
    """A model that is a folder: itself first, as the server records it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return Pinned.model_validate(
        {"code": code, "files": [{"path": str(folder), "sha256": "f" * 64}, *pinned(*files).model_dump()["files"]]}
    )


def folder_model(folder: Path) -> Path:
    for name in ("saved_model.pb", "variables/weights"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("name", ["net", "net.onnx"])
def test_a_folder_is_copied_by_its_recorded_files(tmp_path: Path, name: str):
    folder = folder_model(tmp_path / name)
    pin = folder_pin(folder)
    (folder / "added").write_text("after it was recorded")
    copied = on_copies(optimize(folder), [pin], tmp_path / "tmp")
    assert isinstance(copied, Optimize)
    place = Path(copied.parent_path)
    assert place.name == name
    assert {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()} == {
        "saved_model.pb",
        "variables/weights",
    }
    assert (place / "variables" / "weights").read_text() == "variables/weights"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "variables" / "weights").write_text("other"),
        lambda folder: (folder / "saved_model.pb").unlink(),
        lambda folder: (shutil.rmtree(folder), folder.write_text("a file")),
        shutil.rmtree,
    ],
)
def test_a_folder_that_is_not_what_was_recorded_is_not_worked_on(tmp_path: Path, spoil: Spoil):
    folder = folder_model(tmp_path / "net")
    pin = folder_pin(folder)
    spoil(folder)
    with pytest.raises(JobProblem) as caught:
        on_copies(optimize(folder), [pin], tmp_path / "tmp")
    assert caught.value.problem.code == "ORIGINAL_PROTECTED"
