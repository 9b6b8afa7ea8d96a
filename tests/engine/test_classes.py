"""Classes that a variant ruins behind a total that looks well."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Metric
from edgeopt.engine.measure.classes import FEWEST, class_drops
from edgeopt.engine.measure.noninferiority import Bar
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.engine.measure.statistics import exact_p_above, holm, tango_z
from hypothesis import given
from hypothesis import strategies as st

from .test_validating import World, world
from .tiny_models import picking

BAR = Bar(0.02, "relative", 0.05)


def outcomes(labels: np.ndarray, correct: np.ndarray) -> Outcomes:
    n = len(labels)
    return Outcomes(
        metric="top1",
        labels=labels,
        decisions=np.where(correct, labels, -1),
        correct=correct,
        lead=np.ones(n),
        finite=np.ones(n, np.bool_),
        unique=np.arange(n),
        varies=True,
        chance=0.1,
    )


def brute_p(b: int, c: int, n: int, margin: float) -> float:
    """The same p-value by enumeration of all tables, at many rates of gains."""
    z = tango_z(b, c, n, margin)
    tail = [(i, j) for i in range(n + 1) for j in range(n + 1 - i) if tango_z(i, j, n, margin) >= z]
    worst = 0.0
    for gains in np.linspace(0, (1 - margin) / 2, 400).tolist():
        same = max(0.0, 1 - 2 * gains - margin)
        ways = ((math.comb(n, i) * math.comb(n - i, j), i, j) for i, j in tail)
        worst = max(worst, sum(w * (gains + margin) ** i * gains**j * same ** (n - i - j) for w, i, j in ways))
    return worst


@pytest.mark.parametrize(
    ("b", "c", "n", "margin"), [(3, 0, 12, 0.02), (5, 1, 12, 0.1), (4, 0, 10, 0.0), (7, 2, 15, 0.05), (9, 0, 9, 0.3)]
)
def test_the_exact_test_is_the_worst_case_over_the_nuisance(b: int, c: int, n: int, margin: float) -> None:
    assert exact_p_above(b, c, n, margin) == pytest.approx(brute_p(b, c, n, margin), rel=0.02)


def test_what_is_no_loss_beyond_the_margin_proves_nothing() -> None:
    assert exact_p_above(1, 1, 50, 0.02) == exact_p_above(0, 0, 50, 0.0) == 1.0


@given(st.integers(10, 60), st.data())
def test_one_more_lost_sample_is_more_evidence_and_one_more_won_is_less(n: int, data: st.DataObject) -> None:
    b = data.draw(st.integers(1, n - 2))
    c = data.draw(st.integers(0, n - 1 - b))
    p = exact_p_above(b, c, n, 0.02)
    assert exact_p_above(b + 1, c, n, 0.02) <= p * 1.001
    assert exact_p_above(b, c + 1, n, 0.02) >= p * 0.999


def test_holm_steps_down_until_one_is_not_rejected() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]  # Holm's procedure by hand
    assert holm([0.02, 0.02], 0.05) == [True, True]
    assert holm([0.03, 0.02], 0.03) == [False, False]
    assert holm([], 0.05) == []


@pytest.mark.parametrize(("lost", "won"), [(0.03, 0.03), (0.047, 0.03), (0.017, 0.0)])
@pytest.mark.parametrize("size", [20, 60])
def test_a_variant_that_ruins_nothing_is_seldom_called_ruinous(lost: float, won: float, size: int) -> None:
    """Ten classes of which 85 % are right and none loses more than 2 % of that; any class called ruined is an error."""
    rng = np.random.default_rng(7)
    labels, trials, errors = np.repeat(np.arange(10), size), 300, 0
    for _ in range(trials):
        before = rng.random(len(labels)) < 0.85
        flip = rng.random(len(labels)) < np.where(before, lost / 0.85, won / 0.15)
        errors += any(c.ruined for c in class_drops(outcomes(labels, before), outcomes(labels, before ^ flip), BAR))
    assert errors <= BAR.alpha * trials


def test_a_ruined_class_is_found_among_many() -> None:
    labels = np.repeat(np.arange(100), 50)
    before = np.arange(len(labels)) % 50 != 0
    now = before.copy()
    now[(labels == 42) & (np.arange(len(labels)) % 2 == 0)] = False
    found = class_drops(outcomes(labels, before), outcomes(labels, now), BAR)
    assert len(found) == 100
    (ruined,) = (c for c in found if c.ruined)
    assert str(ruined) == "class 42 is ruined: 0.98 -> 0.50 on 50 samples"
    assert ruined.drop == pytest.approx(0.48)


def test_small_classes_are_not_tested_and_duplicates_count_once() -> None:
    labels = np.repeat([0, 1], [FEWEST - 1, 40])
    right, wrong = np.ones(len(labels), np.bool_), np.zeros(len(labels), np.bool_)
    assert [c.label for c in class_drops(outcomes(labels, right), outcomes(labels, wrong), BAR)] == [1]
    copied = outcomes(labels, right)
    once = replace(copied, unique=np.array([0, FEWEST]))
    assert class_drops(once, outcomes(labels, wrong), BAR) == []


def ruined(
    folder: Path, *, classes: int, size: int, lost: dict[int, int], won: int = 0, metric: Metric = "top1"
) -> World:
    """Classes of `size` samples, of which the variant loses some of these classes and wins some of class 0."""
    labels = np.repeat(np.arange(classes), size)
    baseline, variant = labels.copy(), labels.copy()
    for label, count in lost.items():
        at = np.flatnonzero(labels == label)[:count]
        variant[at] = (label + 1) % classes
    baseline[:won] = 1
    scale = (1 + np.arange(len(labels)) / len(labels))[:, None]
    inputs = np.concatenate([np.eye(classes)[baseline] * scale, np.eye(classes)[variant] * scale], axis=1)
    np.savez(folder / "d.npz", inputs=inputs.astype(np.float32), labels=labels)
    model = picking(folder / "m.onnx", 2 * classes, range(classes))
    other = picking(folder / "v.onnx", 2 * classes, range(classes, 2 * classes))
    return world(folder, model, other, Evaluation(dataset_path=str(folder / "d.npz"), metric=metric))


@pytest.mark.parametrize("metric", ["top1", "f1_macro"])
def test_a_total_that_passes_does_not_pass_over_a_ruined_class(tmp_path: Path, metric: Metric) -> None:
    v = ruined(tmp_path, classes=20, size=60, lost={7: 14, 3: 1}, won=16, metric=metric).validate()
    assert (v.status, v.decision_required, v.more_samples_needed) == ("FAIL", True, None)
    assert v.method.startswith(
        "the total alone would be PASS, but class 7 is ruined: 1.00 -> 0.77 on 60 samples (exact paired tests, Holm over 20"
    )
    assert [(c.label, c.ruined) for c in v.classes] == [(7, True), (3, False)]
    assert v.delta < 0


def test_a_total_that_passes_passes_where_no_class_is_proven_ruined(tmp_path: Path) -> None:
    v = ruined(tmp_path, classes=20, size=60, lost={7: 3, 3: 2}, won=6).validate()
    assert v.status == "PASS"
    assert [(c.label, c.ruined) for c in v.classes] == [(7, False), (3, False)]


def test_proof_of_ruin_holds_under_the_point_rule_too(tmp_path: Path) -> None:
    v = ruined(tmp_path, classes=20, size=60, lost={7: 14}).validate(evidence="point")
    assert v.status == "FAIL"
    assert v.method.startswith("the total alone would be PASS, but class 7")


def test_many_ruined_classes_are_counted_and_the_worst_named(tmp_path: Path) -> None:
    v = ruined(tmp_path, classes=20, size=40, lost={label: 20 + label for label in range(14)}).validate()
    assert v.status == "FAIL"
    assert [c.label for c in v.classes] == list(range(13, 3, -1))
    assert v.method.startswith("class 13 is ruined")
    assert "and 11 more classes" in v.method
