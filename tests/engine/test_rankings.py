"""The metrics that rank: the area under the ROC curve and Spearman's correlation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Metric, Preprocessing
from edgeopt.engine.data.dataset import open_dataset
from edgeopt.engine.measure import metrics
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from .test_validating import World, world
from .tiny_models import linear, picking

VALUES = st.sampled_from([-2.0, -0.5, 0.0, 0.25, 1.0, 7.0])


def measured(model: str, folder: Path, inputs: np.ndarray, labels: np.ndarray, metric: Metric) -> Outcomes:
    np.savez(folder / "d.npz", inputs=inputs.astype(np.float32), labels=labels)
    runner = open_runner(model)
    data = open_dataset(str(folder / "d.npz"), Preprocessing(), runner.inputs, labelled=True)
    return evaluate(runner, data, metric, lambda _done, _message: None)


@given(st.lists(st.tuples(st.integers(0, 1), VALUES), min_size=1, max_size=30))
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, float]]) -> None:
    labels, scores = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    ones, zeros = scores[labels == 1], scores[labels == 0]
    won = [(a > b) + (a == b) / 2 for a in ones for b in zeros]
    expected = np.mean(won) if won else 0.5
    assert metrics.auc(labels, metrics.places(scores)) == pytest.approx(expected)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=2, max_size=30))
def test_spearman_is_scipys(pairs: list[tuple[float, float]]) -> None:
    one, other = np.array(pairs).T
    constant = len(set(one.tolist())) == 1 or len(set(other.tolist())) == 1
    expected = 0.0 if constant else float(spearmanr(one, other).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    assert metrics.spearman(metrics.places(one), metrics.places(other)) == pytest.approx(expected, abs=1e-12)


def binary(n: int, worse: float = 1.0, positives: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and columns: the logits of two classes by a baseline, then by a variant whose noise is `worse` times as large."""
    rng = np.random.default_rng(3)
    labels = (np.arange(n) < positives * n).astype(int)
    noise = rng.normal(0, 1, n)
    base = rng.normal(0, 1, n)  # what both logits share: only their difference says anything
    before, now = 2 * labels + noise, 2 * labels + worse * noise
    return labels, np.stack([base, base + before, base, base + now], axis=1)


def test_one_column_two_columns_and_their_softmax_rank_alike(tmp_path: Path) -> None:
    labels, columns = binary(200)
    two = measured(picking(tmp_path / "two.onnx", 4, [0, 1]), tmp_path, columns, labels, "auc")
    difference = linear(tmp_path / "one.onnx", np.array([[-1.0], [1.0], [0.0], [0.0]]))
    one = measured(difference, tmp_path, columns, labels, "auc")
    logits = columns[:, :2]
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    third = measured(picking(tmp_path / "p.onnx", 2, [0, 1]), tmp_path, softmax, labels, "auc")
    assert two.value() == one.value() == pytest.approx(third.value(), abs=1e-3)
    assert two.value() > 0.85
    low, high = two.accuracy().ci95
    assert low < two.value() < high
    assert two.implausible() is None


@pytest.mark.parametrize(
    ("columns", "labels", "code", "words"),
    [
        (3, np.arange(4) % 2, "INVALID_ARGUMENT", "one for each of two classes"),
        (2, np.zeros(4), "BAD_FILE", "every label is 0"),
        (2, np.arange(4), "BAD_FILE", "label of sample 2 is 2"),
        (2, np.array([0.5, 1, 0, 1]), "BAD_FILE", "label of sample 0 is 0.5"),
    ],
)
def test_what_auc_cannot_rank_is_refused(
    tmp_path: Path, columns: int, labels: np.ndarray, code: str, words: str
) -> None:
    model = picking(tmp_path / "m.onnx", columns, range(columns))
    with pytest.raises(JobProblem, match=words) as error:
        measured(model, tmp_path, np.random.default_rng(0).normal(size=(4, columns)), labels, "auc")
    assert error.value.problem.code == code


def test_spearman_orders_one_value_a_sample(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 1))
    model = picking(tmp_path / "m.onnx", 1, [0])
    assert measured(model, tmp_path, x, np.exp(x[:, 0]), "spearman").value() == pytest.approx(1)
    with pytest.raises(JobProblem, match="2 values a sample") as error:
        measured(model, tmp_path, x, np.ones((30, 2)), "spearman")
    assert error.value.problem.code == "BAD_FILE"


def test_rankings_no_better_than_chance_are_implausible(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    model, x = picking(tmp_path / "m.onnx", 1, [0]), rng.normal(size=(200, 1))
    coin = np.arange(200) % 2
    assert "not above chance (0.5)" in (measured(model, tmp_path, x, coin, "auc").implausible() or "")
    assert "not above chance (0)" in (
        measured(model, tmp_path, x, rng.normal(size=200), "spearman").implausible() or ""
    )
    assert "not above chance" in (measured(model, tmp_path, x, -x[:, 0], "spearman").implausible() or "")
    own = x.astype(np.float32)
    assert "exactly the labels" in (measured(model, tmp_path, own, own[:, 0], "spearman").implausible() or "")
    assert measured(model, tmp_path, x, x[:, 0] + rng.normal(size=200), "spearman").implausible() is None
    nothing = linear(tmp_path / "z.onnx", np.zeros((1, 1)))
    assert "the same for every sample" in (measured(nothing, tmp_path, x, coin, "auc").implausible() or "")


@pytest.mark.parametrize("size", [5, 40])
def test_chance_is_taken_for_skill_as_seldom_as_it_should(size: int) -> None:
    rng, taken = np.random.default_rng(1), {"auc": 0, "spearman": 0}
    for _ in range(400):
        for metric, labels in (("auc", np.arange(2 * size) % 2), ("spearman", rng.permutation(2 * size) * 1.0)):
            scores = rng.normal(size=(2 * size, 1))
            blind = Outcomes(
                metric=metric,
                labels=labels,
                decisions=scores,
                correct=np.zeros(0, np.bool_),
                lead=np.zeros(0),
                finite=np.ones(2 * size, np.bool_),
                unique=np.arange(2 * size),
                varies=True,
                chance=0.5 if metric == "auc" else 0.0,
            )
            taken[metric] += blind.implausible() is None
    assert all(8 <= count <= 32 for count in taken.values()), taken  # 20 expected; the binomial's 99.5 % range


def ranked(folder: Path, metric: Metric, *, n: int = 1000, worse: float = 1.0, positives: float = 0.5) -> World:
    labels, columns = binary(n, worse, positives)
    truth = labels if metric == "auc" else np.random.default_rng(8).normal(0, 3, n)
    if metric == "spearman":
        noise = columns[:, [1, 3]] - columns[:, [0, 2]] - 2 * labels[:, None]
        columns = np.stack([truth, truth + noise[:, 0], truth, truth + noise[:, 1]], axis=1)
    np.savez(folder / "d.npz", inputs=columns.astype(np.float32), labels=truth)
    pick = (lambda first: [first, first + 1]) if metric == "auc" else (lambda first: [first + 1])
    model, variant = picking(folder / "m.onnx", 4, pick(0)), picking(folder / "v.onnx", 4, pick(2))
    return world(folder, model, variant, Evaluation(dataset_path=str(folder / "d.npz"), metric=metric))


@pytest.mark.parametrize("metric", ["auc", "spearman"])
def test_rankings_get_a_paired_bootstrap(tmp_path: Path, metric: Metric) -> None:
    same = ranked(tmp_path, metric, worse=1.002).validate()
    assert (same.status, same.flips, same.classes, same.changed_decisions) == ("PASS", [], [], None)
    worse = ranked(tmp_path, metric, worse=2.0).validate()
    assert worse.status == "FAIL"
    assert worse.delta == pytest.approx(worse.baseline - worse.optimized)
    assert worse.ci95_relative_drop[0] < worse.relative_drop < worse.ci95_relative_drop[1]
    assert "paired bootstrap, 2000 resamples of 1000 samples" in worse.method


def test_an_auc_rests_on_its_rarer_class(tmp_path: Path) -> None:
    few = ranked(tmp_path, "auc", n=1000, positives=0.02).validate()
    assert few.relative_drop == 0
    assert few.status == "INCONCLUSIVE"
    assert few.more_samples_needed is not None
    enough = ranked(tmp_path, "auc", n=1000 + few.more_samples_needed, positives=0.02)
    assert enough.validate().status == "PASS"


def test_predictions_that_are_no_numbers_judge_nothing(tmp_path: Path) -> None:
    w = ranked(tmp_path, "auc", n=200)
    w.refused("BAD_OUTPUTS", "NaN", variant_path=linear(tmp_path / "inf.onnx", np.full((4, 2), 3e38)))
