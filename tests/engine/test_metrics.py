from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.engine.data.dataset import open_dataset, open_evaluation
from edgeopt.engine.measure import metrics
from edgeopt.engine.measure.accuracy import evaluate, inferences
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from .tiny_models import CIFAR, linear, picking, real


def quiet(_done: float, _message: str) -> None:
    pass


def measured(model: str, tmp_path: Path, inputs: np.ndarray, labels: np.ndarray, metric: str = "top1") -> Outcomes:
    path = tmp_path / "d.npz"
    np.savez(path, inputs=inputs, labels=labels)
    runner = open_runner(model)
    return evaluate(runner, open_dataset(str(path), Preprocessing(), runner.inputs, labelled=True), metric, quiet)


def scores(decisions: list[int], classes: int) -> np.ndarray:
    """Inputs of which a picking model makes these decisions, every row different."""
    rows = np.eye(classes, dtype=np.float32)[decisions]
    return rows * (1 + np.arange(len(decisions), dtype=np.float32)[:, None])


@given(npst.arrays(np.float32, (6, 7), elements=st.sampled_from([-2.0, 0.0, 0.5, 0.5, 1.0, 3.0])), st.integers(1, 7))
def test_the_top_k_are_the_best_with_ties_in_the_order_of_classes(values: np.ndarray, k: int) -> None:
    for row, best in zip(values.tolist(), metrics.top_k(values, k).tolist(), strict=True):
        assert best == sorted(range(7), key=lambda c: (-row[c], c))[:k]


def plain_f1(labels: list[int], decisions: list[int]) -> float:
    total, classes = 0.0, {c for c in labels + decisions if c >= 0}
    for c in classes:
        tp = sum(a == b == c for a, b in zip(labels, decisions, strict=True))
        fp = sum(b == c != a for a, b in zip(labels, decisions, strict=True))
        fn = sum(a == c != b for a, b in zip(labels, decisions, strict=True))
        total += 2 * tp / (2 * tp + fp + fn)
    return total / len(classes)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 5)), min_size=1, max_size=40))
def test_f1_macro_is_the_mean_over_the_classes_seen(pairs: list[tuple[int, int]]) -> None:
    labels, decisions = [a for a, _ in pairs], [b for _, b in pairs]
    assert metrics.f1_macro(np.array(labels), np.array(decisions)) == pytest.approx(plain_f1(labels, decisions))


def test_rmse_and_mae_by_hand(tmp_path: Path) -> None:
    model = linear(tmp_path / "m.onnx", np.array([[2.0]]))
    x, y = np.array([[1.0], [2.0], [3.0]], np.float32), np.array([2.0, 5.0, 3.0])
    assert measured(model, tmp_path, x, y, "rmse").value() == pytest.approx((10 / 3) ** 0.5)
    outcomes = measured(model, tmp_path, x, y, "mae")
    assert outcomes.value() == pytest.approx(4 / 3)
    low, high = outcomes.accuracy().ci95
    assert 0 <= low < 4 / 3 < high <= 3


def test_scores_may_have_single_axes_between() -> None:
    values = np.ones((4, 10, 1, 1), np.float32)
    for shape in [(4, 10), (4, 10, 1, 1), (4, 1, 1, 10), (4, 1, 10)]:
        assert metrics.class_scores({"y": values.reshape(shape)}, 4).shape == (4, 10)
    assert metrics.class_scores({"label": np.ones(4, np.int64), "p": values[..., 0, 0]}, 4).shape == (4, 10)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"y": np.ones((4, 1), np.float32)}, "one value a sample: is it a regression"),
        ({"y": np.ones((4, 3, 2, 2), np.float32)}, r"no output has one score a class.*\[4, 3, 2, 2\]"),
        ({"y": np.ones((1, 3), np.float32)}, "for 4 samples"),
        ({}, "no output"),
    ],
)
def test_outputs_without_a_score_a_class_are_refused(outputs: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(JobProblem, match=words) as error:
        metrics.class_scores(outputs, 4)
    assert error.value.problem.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("labels", "ordered", "words"),
    [
        (np.array([0, 2, 3]), None, "label of sample 2 is 3; the model has 3 classes"),
        (np.array([0, -1, 2]), None, "label of sample 1 is -1"),
        (np.array([0.0, 1.5, 2.0]), None, "label of sample 1 is 1.5"),
        (np.array([1e30, 1.0, 2.0]), None, "label of sample 0 is 1e"),
        (np.eye(3), None, "no one-hot rows"),
        (np.array([0, 1, 1]), 2, "2 class folders and the model 3 classes"),
    ],
)
def test_labels_that_are_no_classes_of_the_model_are_refused(
    labels: np.ndarray, ordered: int | None, words: str
) -> None:
    with pytest.raises(JobProblem, match=words) as error:
        metrics.class_labels(labels, 3, ordered)
    assert error.value.problem.code == "BAD_FILE"


def test_whole_floats_are_classes() -> None:
    assert metrics.class_labels(np.array([0.0, 2.0]), 3, 3).tolist() == [0, 2]


def test_boxes_are_not_compared_on_a_set_without_any(tmp_path: Path) -> None:
    with pytest.raises(JobProblem, match="give the evaluation set as a COCO JSON") as error:
        measured(picking(tmp_path / "m.onnx", 2, [0, 1]), tmp_path, np.eye(2, dtype=np.float32), np.arange(2), "map")
    assert error.value.problem.code == "BAD_FILE"


def test_a_regression_needs_an_output_of_the_labels_size(tmp_path: Path) -> None:
    with pytest.raises(JobProblem, match="2 values a sample"):
        measured(linear(tmp_path / "m.onnx", np.ones((2, 3))), tmp_path, np.eye(2, dtype=np.float32), np.eye(2), "mae")


def test_top5_of_few_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobProblem, match="always right"):
        measured(picking(tmp_path / "m.onnx", 5, range(5)), tmp_path, scores([0, 1], 5), np.array([0, 1]), "top5")


def test_top1_and_top5_of_planned_decisions(tmp_path: Path) -> None:
    model = picking(tmp_path / "m.onnx", 7, range(7))
    inputs = np.array([[7, 6, 5, 4, 3, 2, 1]] * 4, np.float32) + np.arange(4, dtype=np.float32)[:, None]
    labels = np.array([0, 4, 5, 0])
    assert measured(model, tmp_path, inputs, labels).correct.tolist() == [True, False, False, True]
    top5 = measured(model, tmp_path, inputs, labels, "top5")
    assert top5.correct.tolist() == [True, True, False, True]
    assert (top5.accuracy().value, top5.accuracy().n) == (0.75, 4)
    assert top5.lead.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("batch", ["batch", 1, 4, 50])
def test_any_batch_axis_gives_the_same_outcomes(tmp_path: Path, batch: int | str) -> None:
    decisions = [0, 1, 2, 1, 0, 2, 2] * 10
    labels = np.array([0, 1, 2, 0, 0, 1, 2] * 10)
    outcomes = measured(picking(tmp_path / "m.onnx", 3, range(3), batch=batch), tmp_path, scores(decisions, 3), labels)
    assert outcomes.decisions.tolist() == decisions
    assert len(outcomes.unique) == 70
    assert outcomes.value() == pytest.approx(50 / 70)


def test_every_sample_is_an_inference_of_its_own_where_the_batch_is_free(tmp_path: Path) -> None:
    runner = open_runner(picking(tmp_path / "m.onnx", 3, range(3)))
    np.savez(tmp_path / "d.npz", inputs=scores([0, 1, 2] * 20, 3), labels=np.zeros(60, int))
    shapes: list[tuple[int, ...]] = []

    class Watched:
        name, inputs, outputs = runner.name, runner.inputs, runner.outputs
        native, raw_call = runner.native, runner.raw_call

        def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            shapes.append(feeds["x"].shape)
            return runner.run(feeds)

    progress: list[float] = []
    data = open_dataset(str(tmp_path / "d.npz"), Preprocessing(), runner.inputs, labelled=True)
    rows = [
        len(found.joined()["y"]) for _, _, found in inferences(Watched(), data, lambda done, _: progress.append(done))
    ]
    assert set(shapes) == {(1, 3)} and len(shapes) == 60
    assert sum(rows) == 60
    assert progress[-1] == 1.0 and progress == sorted(progress)


def test_exact_duplicates_count_once_in_the_interval_and_not_in_the_value(tmp_path: Path) -> None:
    model = picking(tmp_path / "m.onnx", 3, range(3))
    inputs = scores([0, 1, 2, 1], 3)
    labels = np.array([0, 1, 2, 2])
    once = measured(model, tmp_path, inputs, labels)
    again = measured(model, tmp_path, np.tile(inputs, (25, 1)), np.tile(labels, 25))
    assert len(again) == 100
    assert again.unique.tolist() == [0, 1, 2, 3]
    assert again.value() == once.value()
    assert again.accuracy().ci95 == once.accuracy().ci95
    relabelled = measured(model, tmp_path, np.tile(inputs, (2, 1)), np.concatenate([labels, (labels + 1) % 3]))
    assert len(relabelled.unique) == 8


def test_outcomes_survive_the_file(tmp_path: Path) -> None:
    outcomes = measured(picking(tmp_path / "m.onnx", 3, range(3)), tmp_path, scores([0, 1, 2], 3), np.array([0, 1, 1]))
    outcomes.save(tmp_path / "outcomes.npz")
    loaded = Outcomes.load(tmp_path / "outcomes.npz")
    for name, value in vars(outcomes).items():
        assert np.array_equal(getattr(loaded, name), value) and type(getattr(loaded, name)) is type(value), name


def test_a_sound_model_is_plausible(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    assert (
        measured(picking(tmp_path / "m.onnx", 3, range(3)), tmp_path, scores(labels.tolist(), 3), labels).implausible()
        is None
    )


def test_a_model_that_knows_nothing_is_implausible(tmp_path: Path) -> None:
    model, labels = picking(tmp_path / "m.onnx", 3, range(3)), np.arange(60) % 3
    guesses = np.random.default_rng(1).integers(0, 3, 60).tolist()
    assert "not above chance" in (measured(model, tmp_path, scores(guesses, 3), labels).implausible() or "")
    # Always the same class of an unbalanced set: 90 % right, and nothing known.
    unbalanced = (np.arange(60) % 10 == 0).astype(int)
    assert "not above chance" in (measured(model, tmp_path, scores([0] * 60, 3), unbalanced).implausible() or "")


def test_constant_outputs_are_implausible(tmp_path: Path) -> None:
    model = linear(tmp_path / "m.onnx", np.zeros((3, 3)), np.array([1.0, 0.0, 0.0]))
    outcomes = measured(model, tmp_path, scores([0, 1, 2], 3), np.array([0, 0, 0]))
    assert "the same for every sample" in (outcomes.implausible() or "")


def test_outputs_that_are_not_numbers_count_as_wrong_and_are_implausible(tmp_path: Path) -> None:
    inputs = scores([0, 1, 2, 0], 3)
    model = linear(tmp_path / "m.onnx", np.full((3, 3), 3e38) * np.eye(3))
    outcomes = measured(model, tmp_path, inputs, np.array([0, 1, 2, 0]))
    assert outcomes.finite.tolist() == [True, False, False, False]
    assert outcomes.decisions.tolist() == [0, -1, -1, -1]
    assert outcomes.value() == 0.25
    assert "3 of 4 samples give NaN or infinite" in (outcomes.implausible() or "")


def test_a_regression_must_beat_one_constant_and_not_be_its_own_label(tmp_path: Path) -> None:
    model = linear(tmp_path / "m.onnx", np.array([[1.0]]))
    x = np.arange(10, dtype=np.float32)[:, None]
    assert measured(model, tmp_path, x, np.arange(10) + 0.5, "rmse").implausible() is None
    assert "guessing one constant" in (measured(model, tmp_path, x, 100.0 - np.arange(10), "mae").implausible() or "")
    assert "model's own outputs" in (measured(model, tmp_path, x, np.arange(10), "rmse").implausible() or "")


@pytest.mark.parametrize(
    ("model", "data", "metric", "published"),
    [
        ("cifar10/resnet20_cifar10.onnx", "cifar10/test_png_dev.npz", "top1", 93.21),
        ("cifar10/mobilenetv2_cifar10_probe.onnx", "cifar10/test_png_dev.npz", "top1", 82.83),
        pytest.param(
            "cifar10/resnet20_cifar10.onnx", "cifar10/test_jpg_dev.npz", "top1", 81.60, marks=pytest.mark.slow
        ),
        pytest.param(
            "imagenet/squeezenet1_1_imagenet.onnx", "imagenet/test_dev_300", "top1", 62.67, marks=pytest.mark.slow
        ),
        pytest.param(
            "imagenet/squeezenet1_1_imagenet.onnx", "imagenet/test_dev_300", "top5", 83.33, marks=pytest.mark.slow
        ),
    ],
)
def test_real_models_score_what_is_published_for_them(model: str, data: str, metric: str, published: float) -> None:
    runner = open_runner(real(model))
    evaluation = Evaluation(dataset_path=real(data), metric=metric, preprocessing=Preprocessing(**CIFAR))  # pyright: ignore[reportArgumentType]
    outcomes = evaluate(runner, open_evaluation(evaluation, runner.inputs), metric, quiet)
    assert round(100 * outcomes.value(), 2) == published
    assert outcomes.implausible() is None


def test_a_real_model_whose_pixels_were_scaled_twice_is_implausible() -> None:
    runner = open_runner(real("cifar10/resnet20_cifar10.onnx"))
    twice = Preprocessing(scale=1 / 255**2, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    evaluation = Evaluation(dataset_path=real("cifar10/test_png_dev.npz"), metric="top1", preprocessing=twice)
    outcomes = evaluate(runner, open_evaluation(evaluation, runner.inputs), "top1", quiet)
    assert "not above chance" in (outcomes.implausible() or "")
