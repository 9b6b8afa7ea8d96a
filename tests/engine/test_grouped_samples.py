"""Samples of several rows, pairs for instance: the model sees each row, and one label judges their outputs together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.evaluation import Preprocessing
from edgeopt.engine.data.dataset import Dataset, open_dataset
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from scipy.stats import spearmanr

from .test_detectors import user_code
from .tiny_models import Axis, linear

COSINE = """
import numpy as np

def cosine(outputs):
    a, b = outputs["y"]
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
"""
PAIRS = np.random.default_rng(4).normal(size=(90, 2, 3)).astype(np.float32)
WEIGHT = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)


def cosines(pairs: np.ndarray) -> np.ndarray:
    a, b = (pairs @ WEIGHT).transpose(1, 0, 2)
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


SCORES = cosines(PAIRS) + np.random.default_rng(6).normal(0, 0.3, 90)


def pairs(
    folder: Path, pairs: np.ndarray = PAIRS, scores: np.ndarray = SCORES, batch: Axis = "n"
) -> tuple[str, Dataset]:
    model = linear(folder / "m.onnx", WEIGHT, batch=batch)
    np.savez(folder / "pairs.npz", x=pairs, labels=scores)
    inputs = open_runner(model).inputs
    return model, open_dataset(str(folder / "pairs.npz"), Preprocessing(), inputs, labelled=True)


def measured(folder: Path, model: str, data: Dataset) -> Outcomes:
    adapter = user_code(folder / "adapter.py", COSINE, "cosine")
    return evaluate(open_runner(model), data, "spearman", lambda _done, _message: None, adapter=adapter)


@pytest.mark.parametrize("batch", ["n", 1, 2, 7])
def test_an_adapter_makes_one_value_of_a_samples_rows(tmp_path: Path, batch: Axis) -> None:
    model, data = pairs(tmp_path, batch=batch)
    assert (len(data), data.samples, data.info.samples) == (180, 90, 90)
    outcomes = measured(tmp_path, model, data)
    expected = spearmanr(cosines(PAIRS), SCORES).statistic  # pyright: ignore[reportAttributeAccessIssue]
    assert outcomes.value() == pytest.approx(expected, abs=1e-6)
    assert len(outcomes) == 90


def test_a_pair_counts_once_only_where_all_of_it_is_there_twice(tmp_path: Path) -> None:
    twice = np.concatenate([PAIRS, PAIRS[:5], np.stack([PAIRS[0, 0], PAIRS[1, 1]])[np.newaxis]])
    model, data = pairs(tmp_path, twice, np.concatenate([SCORES, SCORES[:5], SCORES[:1]]))
    assert measured(tmp_path, model, data).unique.tolist() == [*range(90), 95]


def test_without_an_adapter_nobody_knows_what_a_sample_is(tmp_path: Path) -> None:
    model, data = pairs(tmp_path)
    with pytest.raises(JobProblem, match="each sample of the evaluation set is 2 rows"):
        evaluate(open_runner(model), data, "spearman", lambda _done, _message: None)
