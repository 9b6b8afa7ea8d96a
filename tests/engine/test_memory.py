"""Peak memory of real models in processes of their own, and processes that die."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.record import Record
from edgeopt.engine.measure import inputs
from edgeopt.engine.measure.fresh_process import ask
from edgeopt.engine.measure.memory import Peak, memory_ratio, peak_memory_mb, runtime_memory_mb
from edgeopt.engine.problems import JobProblem

from .small_models import FEATURES, classifier, wide_classifier


class Nothing(Record):
    pass


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    inputs.save([{"x": np.ones((1, FEATURES), np.float32)}], tmp_path / "inputs.npz")
    return tmp_path / "inputs.npz"


def test_weights_are_in_the_peak(tmp_path: Path, batch: Path):
    small = peak_memory_mb(classifier(tmp_path / "small.onnx"), batch, 1, tmp_path)
    large = peak_memory_mb(wide_classifier(tmp_path / "large.onnx", 4096), batch, 1, tmp_path)
    assert 20 < small < 200
    assert 64 <= large - small < 400


def test_the_memory_of_this_process_is_not_in_the_peak(tmp_path: Path, batch: Path):
    model = classifier(tmp_path / "small.onnx")
    before = peak_memory_mb(model, batch, 1, tmp_path)
    held = np.ones(300 * 2**20, np.uint8)
    assert peak_memory_mb(model, batch, 1, tmp_path) == pytest.approx(before, abs=20)
    assert held.any()


def test_the_runtime_is_most_of_a_small_models_peak(tmp_path: Path, batch: Path):
    runtime = runtime_memory_mb("onnx", 1, tmp_path)
    assert 20 < runtime < 200
    assert peak_memory_mb(classifier(tmp_path / "small.onnx"), batch, 1, tmp_path) == pytest.approx(runtime, abs=3)


def test_memory_repeats(tmp_path: Path, batch: Path):
    model = wide_classifier(tmp_path / "model.onnx", 2048)
    once, again = (peak_memory_mb(model, batch, 1, tmp_path) for _ in range(2))
    assert again == pytest.approx(once, rel=0.02)


@pytest.mark.parametrize(
    ("baseline", "variant", "ratio"),
    [(74.0, 59.0, 4.0), (59.0, 74.0, 0.25), (54.3, 54.1, 1.0), (64.0, 54.0, 10.0), (53.9, 55.0, 1.0)],
    ids=["a quarter", "four times", "next to nothing", "at least 1 MB", "under the runtime's"],
)
def test_memory_is_compared_over_the_runtimes_own(baseline: float, variant: float, ratio: float):
    assert memory_ratio(baseline, variant, 54.0) == pytest.approx(ratio)


def test_nothing_is_left_behind(tmp_path: Path, batch: Path):
    model = classifier(tmp_path / "small.onnx")
    before = set(tmp_path.iterdir())
    peak_memory_mb(model, batch, 1, tmp_path)
    runtime_memory_mb("onnx", 1, tmp_path)
    assert set(tmp_path.iterdir()) == before


def test_batches_come_back_as_they_were(tmp_path: Path):
    """Names that would be special in an archive or a call included."""
    batches = [{"file": np.arange(3), "a/b.c:0": np.full((1, 1), index, np.float16)} for index in range(12)]
    inputs.save(batches, tmp_path / "inputs.npz")
    for most, count in ((None, 12), (1, 1), (5, 5)):
        loaded = inputs.load(tmp_path / "inputs.npz", most)
        assert len(loaded) == count
        for before, after in zip(batches, loaded, strict=False):
            assert before.keys() == after.keys()
            assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_process_that_fails_says_why(tmp_path: Path, batch: Path):
    with pytest.raises(JobProblem, match=r"exit code 1.*absent\.onnx") as raised:
        peak_memory_mb(tmp_path / "absent.onnx", batch, 1, tmp_path)
    assert raised.value.problem.code == "MEASUREMENT_FAILED"


def test_a_process_that_is_killed_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "dies.py").write_text("import os\nprint('so far', flush=True)\nos.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(JobProblem, match=r"SIGKILL.*memory.*so far"):
        ask("dies", Nothing(), Peak, tmp_path)
