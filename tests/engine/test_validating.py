"""The verdict on planned variants: a model that reads its decisions out of columns of the input."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Metric, Preprocessing
from edgeopt.contract.measures import Validation
from edgeopt.engine.bench import Bench
from edgeopt.engine.data.dataset import open_dataset, open_evaluation
from edgeopt.engine.jobs import Validate
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.measure.noninferiority import Bar, judge
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from edgeopt.engine.validating import run
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

from .tiny_models import CIFAR, linear, picking, real, save

CLASSES = 3


@dataclass(frozen=True)
class World:
    """A baseline and a variant with planned outcomes on one data set, and the task that compares them."""

    folder: Path
    task: dict[str, Any]

    def validate(self, **changes: Any) -> Validation:
        for name in ("files", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        bench = Bench(self.folder / "files", self.folder / "tmp")
        return run(Validate.model_validate(self.task | changes), bench).validation

    def refused(self, code: str, words: str, **changes: Any) -> None:
        with pytest.raises(JobProblem, match=words) as error:
            self.validate(**changes)
        assert error.value.problem.code == code


def world(folder: Path, model: str, variant: str, evaluation: Evaluation, **options: Any) -> World:
    """Profiles the model as the baseline, without its timing."""
    runner = open_runner(model)
    data = open_evaluation(evaluation, runner.inputs)
    outcomes = evaluate(runner, data, evaluation.metric, lambda _done, _message: None)
    outcomes.save(folder / "outcomes.npz")
    task = {
        "baseline_path": model,
        "baseline_outcomes": str(folder / "outcomes.npz"),
        "baseline_outcomes_sha256": hashlib.sha256((folder / "outcomes.npz").read_bytes()).hexdigest(),
        "baseline_accuracy": outcomes.value(),
        "variant_path": variant,
        "evaluation": evaluation,
        "data_digest": data.info.digest,
        "tolerance": 0.02,
        "tolerance_kind": "relative",
        "evidence": "proven",
        "exact": False,
        "look_number": 1,
        "alpha": 0.0304,
    }
    return World(folder, task | options)


def planned(
    folder: Path, *, n: int, lost: int = 0, won: int = 0, wrong: int = 0, metric: Metric = "top1", copies: int = 1
) -> World:
    """n samples: `lost` that only the baseline has right, `won` that only the variant has, `wrong` that both have wrong."""
    labels = np.arange(n) % CLASSES
    baseline, variant = labels.copy(), labels.copy()
    variant[:lost] = (labels[:lost] + 1) % CLASSES
    baseline[lost : lost + won] = (labels[lost : lost + won] + 1) % CLASSES
    both = slice(lost + won, lost + won + wrong)
    baseline[both] = variant[both] = (labels[both] + 1) % CLASSES
    # Scores grow with the index, so that every row is different and later flips are surer.
    size = (1 + np.arange(n) / n)[:, None]
    inputs = np.concatenate([np.eye(CLASSES)[baseline] * size, np.eye(CLASSES)[variant] * size], axis=1)
    np.savez(folder / "d.npz", inputs=np.tile(inputs, (copies, 1)).astype(np.float32), labels=np.tile(labels, copies))
    model = picking(folder / "m.onnx", 2 * CLASSES, range(CLASSES))
    other = picking(folder / "v.onnx", 2 * CLASSES, range(CLASSES, 2 * CLASSES))
    return world(folder, model, other, Evaluation(dataset_path=str(folder / "d.npz"), metric=metric))


def regression(folder: Path, *, n: int = 400, worse: float = 1.0, metric: Metric = "rmse") -> World:
    """Predictions with noise, and a variant whose noise is `worse` times as large."""
    rng = np.random.default_rng(2)
    truth, noise = rng.normal(0, 3, n), rng.normal(0, 1, n)
    inputs = np.stack([truth + noise, truth + worse * noise], axis=1).astype(np.float32)
    np.savez(folder / "d.npz", inputs=inputs, labels=truth)
    evaluation = Evaluation(dataset_path=str(folder / "d.npz"), metric=metric)
    return world(folder, picking(folder / "m.onnx", 2, [0]), picking(folder / "v.onnx", 2, [1]), evaluation)


def test_a_harmless_variant_is_proven(tmp_path: Path) -> None:
    v = planned(tmp_path, n=1000, lost=5, won=5, wrong=190).validate()
    assert (v.status, v.decision_required, v.more_samples_needed) == ("PASS", False, None)
    assert (v.baseline, v.optimized, v.delta, v.relative_drop) == (0.805, 0.805, 0.0, 0.0)
    assert v.ci95_relative_drop[0] < 0 < v.ci95_relative_drop[1] < 0.02
    assert (v.samples, v.changed_decisions, v.tolerance, v.evidence) == (1000, 10, "2%", "proven")
    assert (v.look.number, v.look.alpha) == (1, 0.0304)
    assert v.method.startswith("Tango's paired score test, 1000 samples, 5 lost and 5 won")


def test_a_clear_loss_is_proven_too_and_shows_the_surest_errors(tmp_path: Path) -> None:
    v = planned(tmp_path, n=1000, lost=100, wrong=100).validate()
    assert (v.status, v.decision_required) == ("FAIL", True)
    assert v.delta == v.baseline - v.optimized == pytest.approx(0.1)
    assert v.relative_drop == pytest.approx(0.1 / 0.9)
    assert [flip.sample for flip in v.flips] == list(range(99, 89, -1))
    assert (v.flips[0].label, v.flips[0].baseline, v.flips[0].variant) == (0, 0, 1)
    assert v.changed_decisions == 100


def test_what_is_not_proven_is_inconclusive_and_says_what_would_settle_it(tmp_path: Path) -> None:
    few = planned(tmp_path, n=200, lost=2, won=2, wrong=40).validate()
    assert (few.status, few.decision_required) == ("INCONCLUSIVE", True)
    assert few.relative_drop == 0
    assert few.more_samples_needed is not None
    enough = (200 + few.more_samples_needed) // 200 + 1
    many = planned(tmp_path, n=200 * enough, lost=2 * enough, won=2 * enough, wrong=40 * enough).validate()
    assert many.status == "PASS"


def test_a_better_variant_has_a_negative_drop(tmp_path: Path) -> None:
    v = planned(tmp_path, n=500, won=20, wrong=50).validate()
    assert v.delta == pytest.approx(-0.04)
    assert v.relative_drop < 0
    assert v.status == "PASS"


def test_zero_discordance_still_needs_samples(tmp_path: Path) -> None:
    # An absolute margin of .015 at alpha .0304: 231 samples, known from the enumeration of the test.
    too_few = planned(tmp_path, n=230).validate(tolerance=0.015, tolerance_kind="absolute")
    assert (too_few.status, too_few.tolerance) == ("INCONCLUSIVE", "0.015 absolute")
    assert planned(tmp_path, n=231).validate(tolerance=0.015, tolerance_kind="absolute").status == "PASS"


def test_duplicated_samples_prove_nothing_new(tmp_path: Path) -> None:
    once = planned(tmp_path, n=100, lost=1, wrong=10).validate()
    copied = planned(tmp_path, n=100, lost=1, wrong=10, copies=30).validate()
    assert once.status == copied.status == "INCONCLUSIVE"
    assert copied.samples == 3000
    assert copied.relative_drop == pytest.approx(once.relative_drop)
    assert copied.ci95_relative_drop == once.ci95_relative_drop
    assert copied.more_samples_needed == once.more_samples_needed
    assert "2900 exact duplicates count once" in copied.method


def test_the_point_rule_decides_by_the_estimate_and_says_so(tmp_path: Path) -> None:
    v = planned(tmp_path, n=100, lost=1, wrong=10).validate(evidence="point")
    assert (v.status, v.evidence, v.more_samples_needed) == ("PASS", "point", None)
    assert v.method.startswith("point rule: not proven")
    assert planned(tmp_path, n=100, lost=2, wrong=10).validate(evidence="point").status == "FAIL"


def test_a_smaller_alpha_asks_for_more(tmp_path: Path) -> None:
    w = planned(tmp_path, n=600, lost=3, won=3, wrong=60)
    assert w.validate(alpha=0.05).status == "PASS"
    assert w.validate(alpha=0.0001).status == "INCONCLUSIVE"


@pytest.mark.parametrize("metric", ["rmse", "mae"])
def test_errors_get_a_paired_bootstrap(tmp_path: Path, metric: Metric) -> None:
    same = regression(tmp_path, worse=1.001, metric=metric).validate()
    assert same.status == "PASS"
    assert same.relative_drop == pytest.approx(0.001, rel=0.01)
    assert same.delta == same.optimized - same.baseline
    assert (same.flips, same.changed_decisions) == ([], None)
    worse = regression(tmp_path, worse=1.2, metric=metric).validate()
    assert worse.status == "FAIL"
    assert worse.ci95_relative_drop[0] < worse.relative_drop < worse.ci95_relative_drop[1]
    assert "paired bootstrap, 2000 resamples of 400 samples" in worse.method


def test_the_bootstrap_repeats_itself(tmp_path: Path) -> None:
    w = regression(tmp_path, worse=1.02)
    assert w.validate() == w.validate()


def test_few_samples_prove_nothing_by_bootstrap_either(tmp_path: Path) -> None:
    v = regression(tmp_path, n=30).validate()
    assert v.relative_drop == 0
    assert (v.status, v.more_samples_needed) == ("INCONCLUSIVE", 143)
    assert regression(tmp_path, n=30 + 143).validate().status == "PASS"


def test_f1_is_judged_by_bootstrap(tmp_path: Path) -> None:
    assert planned(tmp_path, n=1000, lost=4, won=4, wrong=200, metric="f1_macro").validate().status == "PASS"
    v = planned(tmp_path, n=1000, lost=100, wrong=100, metric="f1_macro").validate()
    assert v.status == "FAIL"
    assert v.changed_decisions == 100
    assert len(v.flips) == 10


def test_a_variant_without_numbers_is_wrong_or_useless(tmp_path: Path) -> None:
    w = planned(tmp_path, n=300)
    nothing = linear(tmp_path / "nan.onnx", np.full((2 * CLASSES, CLASSES), 3e38), np.full(CLASSES, 3e38))
    v = w.validate(variant_path=nothing)
    assert (v.status, v.optimized) == ("FAIL", 0.0)
    assert v.flips[0].variant == -1
    useless = linear(tmp_path / "inf.onnx", np.full((2, 1), 3e38))
    regression(tmp_path).refused("BAD_OUTPUTS", "NaN or infinity", variant_path=useless)


def test_an_exact_conversion_passes_by_parity_on_any_number_of_samples(tmp_path: Path) -> None:
    w = planned(tmp_path, n=10, wrong=2)
    v = w.validate(exact=True)
    assert (v.status, v.changed_decisions, v.delta) == ("PASS", 0, 0.0)
    assert v.method.startswith("parity: no decision differs on 10 samples and outputs differ by 0 at most")
    assert w.validate(exact=False).status == "INCONCLUSIVE"


def test_a_conversion_that_changes_decisions_is_not_exact(tmp_path: Path) -> None:
    v = planned(tmp_path, n=10, lost=1).validate(exact=True)
    assert v.status == "INCONCLUSIVE"
    assert v.method.startswith("not exact (1 decisions and outputs differ by 1")


def test_a_conversion_that_changes_outputs_is_not_exact(tmp_path: Path) -> None:
    w = planned(tmp_path, n=10)
    weight = np.zeros((2 * CLASSES, CLASSES))
    weight[:CLASSES] = np.eye(CLASSES)
    close = linear(tmp_path / "close.onnx", weight * (1 + 1e-6))
    apart = linear(tmp_path / "apart.onnx", weight * (1 + 1e-3))
    assert w.validate(exact=True, variant_path=close).status == "PASS"
    v = w.validate(exact=True, variant_path=apart)
    assert v.changed_decisions == 0
    assert v.status == "INCONCLUSIVE"
    assert v.method.startswith("not exact (0 decisions")


def test_a_decision_that_tips_over_within_the_bound_is_a_changed_decision(tmp_path: Path) -> None:
    inputs = np.array([[1.0, 1.0 - 1e-6], [1.0, 0.0], [0.0, 1.0]], np.float32)
    np.savez(tmp_path / "d.npz", inputs=inputs, labels=np.array([0, 0, 1]))
    weight = np.eye(2)
    model = linear(tmp_path / "m.onnx", weight)
    tipped = linear(tmp_path / "v.onnx", weight, np.array([0.0, 1e-5]))
    v = world(tmp_path, model, tipped, Evaluation(dataset_path=str(tmp_path / "d.npz"), metric="top1")).validate(
        exact=True
    )
    assert v.status == "INCONCLUSIVE"
    assert v.method.startswith("not exact (1 decisions and outputs differ by 1e-05")


def test_an_exact_claim_with_outputs_that_are_no_numbers_fails_parity(tmp_path: Path) -> None:
    w = planned(tmp_path, n=10)
    v = w.validate(exact=True, variant_path=linear(tmp_path / "nan.onnx", np.full((2 * CLASSES, CLASSES), 3e38)))
    assert v.status == "FAIL"
    assert "inf at most" in v.method


def test_a_narrower_input_is_fed_what_the_baseline_was_fed(tmp_path: Path) -> None:
    w = planned(tmp_path, n=300)
    half = save(
        tmp_path / "half.onnx",
        [helper.make_node("Slice", ["x", "start", "stop", "axis"], ["y"])],
        {"x": (TensorProto.FLOAT16, ["batch", 2 * CLASSES])},
        {"y": (TensorProto.FLOAT16, ["batch", CLASSES])},
        {"start": np.array([0]), "stop": np.array([CLASSES]), "axis": np.array([1])},
    )
    assert w.validate(variant_path=half).status == "PASS"


def test_changed_data_is_not_the_same_data_set(tmp_path: Path) -> None:
    w = planned(tmp_path, n=30)
    arrays = dict(np.load(tmp_path / "d.npz"))
    np.savez(tmp_path / "d.npz", **(arrays | {"labels": (arrays["labels"] + 1) % CLASSES}))
    w.refused("SAME_DATASET", "has changed since the baseline was measured")


def test_another_metric_is_not_the_same_measurement(tmp_path: Path) -> None:
    w = planned(tmp_path, n=30)
    w.refused(
        "SAME_DATASET",
        "measured with top1, not with f1_macro",
        evaluation=w.task["evaluation"].model_copy(update={"metric": "f1_macro"}),
    )


def test_outcomes_that_were_touched_are_not_believed(tmp_path: Path) -> None:
    w = planned(tmp_path, n=30)
    path = tmp_path / "outcomes.npz"
    path.write_bytes(path.read_bytes() + b"\0")
    w.refused("BAD_FILE", "have changed")
    path.unlink()
    w.refused("BAD_FILE", "are gone")


def test_a_baseline_of_zero_has_no_relative_drop(tmp_path: Path) -> None:
    truth = np.arange(50, dtype=np.float32)
    np.savez(tmp_path / "d.npz", inputs=truth[:, None], labels=truth)
    model = picking(tmp_path / "m.onnx", 1, [0])
    w = world(tmp_path, model, model, Evaluation(dataset_path=str(tmp_path / "d.npz"), metric="rmse"))
    w.refused("BASELINE_IMPLAUSIBLE", "rmse is 0")


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    planned(tmp_path, n=64).validate(exact=True)
    lines = (tmp_path / "files" / "progress.jsonl").read_text().splitlines()
    assert len(lines) >= 2


def outcomes_of(correct: np.ndarray) -> Outcomes:
    n = len(correct)
    labels = np.zeros(n, np.int64)
    return Outcomes(
        metric="top1",
        labels=labels,
        decisions=np.where(correct, 0, 1),
        correct=correct,
        lead=np.ones(n),
        finite=np.ones(n, np.bool_),
        unique=np.arange(n),
        varies=True,
        chance=0.1,
    )


@given(
    st.integers(1, 300), st.data(), st.sampled_from(["relative", "absolute"]), st.sampled_from([0.0, 0.02, 0.5, 3.0])
)
def test_a_verdict_agrees_with_its_estimate_and_never_with_both_sides(
    right: int, data: st.DataObject, kind: Any, tolerance: float
) -> None:
    lost = data.draw(st.integers(0, right))
    won, wrong = data.draw(st.integers(0, 50)), data.draw(st.integers(0, 50))
    before = np.repeat([True, False], [right, won + wrong])
    now = np.repeat([False, True, False], [lost, right - lost + won, wrong])
    verdict = judge(outcomes_of(before), outcomes_of(now), Bar(tolerance, kind, 0.05))
    assert verdict.drop == pytest.approx(float(before.mean() - now.mean()))
    low, high = verdict.relative_interval
    assert low <= verdict.drop / before.mean() + 1e-9 and verdict.drop / before.mean() - 1e-9 <= high
    if verdict.status == "PASS":
        assert verdict.drop < verdict.margin or verdict.margin == 1.0
    if verdict.status == "FAIL":
        assert verdict.drop > verdict.margin


def predicted(labels: np.ndarray, decisions: np.ndarray) -> Outcomes:
    n = len(labels)
    return Outcomes(
        metric="rmse",
        labels=labels,
        decisions=decisions,
        correct=np.zeros(0, np.bool_),
        lead=np.zeros(0),
        finite=np.ones(n, np.bool_),
        unique=np.arange(n),
        varies=True,
        chance=3.0,
    )


def test_a_drop_that_rests_on_few_large_errors_is_not_proven_small() -> None:
    """With the next large error it would be another one; the same loss on all samples alike is proven."""
    dice = np.random.default_rng(0)
    labels = dice.standard_normal((1000, 1))
    before = labels + dice.choice([-1.0, 1.0], (1000, 1))
    bar = Bar(0.02, "relative", 0.03)
    everywhere = labels + 1.002 * (before - labels)
    somewhere = before.copy()
    somewhere[:4] += 0.5 * (before - labels)[:4]
    assert judge(predicted(labels, before), predicted(labels, everywhere), bar).status == "PASS"
    few = judge(predicted(labels, before), predicted(labels, somewhere), bar)
    assert few.status == "INCONCLUSIVE" and few.samples_needed == pytest.approx(2500, abs=1)
    assert few.drop < 0.3 * few.margin
    assert judge(predicted(labels, before), predicted(labels, before), bar).status == "PASS"


class Calibration(CalibrationDataReader):
    def __init__(self, feeds: list[dict[str, np.ndarray]]):
        self.feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return next(self.feeds, None)


@pytest.mark.parametrize(
    ("name", "status"),
    [("resnet20_cifar10", "PASS"), pytest.param("mobilenetv2_cifar10_probe", "FAIL", marks=pytest.mark.slow)],
)
def test_real_int8_variants(tmp_path: Path, name: str, status: str) -> None:
    """Plain static int8 hardly hurts this ResNet-20 and ruins this MobileNetV2: 501 samples are enough to prove both."""
    model = real(f"cifar10/{name}.onnx")
    evaluation = Evaluation(
        dataset_path=real("cifar10/test_png_dev.npz"),
        metric="top1",
        preprocessing=Preprocessing(**CIFAR),  # pyright: ignore[reportArgumentType]
    )
    inputs = open_runner(model).inputs
    preprocessing = open_evaluation(evaluation, inputs).preprocessing
    samples = open_dataset(real("cifar10/calib_png.npz"), preprocessing, inputs, labelled=False)
    reader = Calibration([samples.feeds(at, at + 1) for at in range(100)])
    variant = str(tmp_path / "int8.onnx")
    quantize_static(model, variant, reader, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    v = world(tmp_path, model, variant, evaluation).validate()
    assert v.status == status, v
    assert v.changed_decisions
