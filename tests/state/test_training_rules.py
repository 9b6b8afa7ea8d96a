"""Training takes a set of its own, and pruning something to spend."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edgeopt.contract.measures import Accuracy
from edgeopt.contract.steps import Distill, PruneStructured, PruneUnstructured, QatInt8, Step
from edgeopt.state.guardrails import judge
from edgeopt.state.request import Facts, FileState, Request
from edgeopt.state.session import Session
from hypothesis import given
from hypothesis import strategies as st

from . import worlds

OWNER = Facts(owner="uid:0")
PRUNE = PruneStructured(technique="prune_structured")
TRAINING: list[Step] = [
    PRUNE,
    PruneUnstructured(technique="prune_unstructured", finetune_epochs=1),
    QatInt8(technique="qat_int8"),
    Distill(technique="distill"),
]
SET = {"source_format": "pytorch", "training_path": "/data/train.npz", "training_digest": "4" * 64}


def codes(session: Session, step: Step, facts: Facts = OWNER) -> str | None:
    refusal = judge(session, Request("optimize_model", variant_id="baseline", step=step), facts)
    return refusal.code if refusal else None


@pytest.mark.parametrize("step", TRAINING, ids=lambda step: step.technique)
def test_a_step_that_trains_takes_an_intact_training_set(step: Step):
    states: dict[FileState, str | None] = {
        "intact": None,
        "changed": "TRAINING_REQUIRED",
        "gone": "TRAINING_REQUIRED",
    }
    for state, code in states.items():
        assert codes(worlds.begun(*worlds.profiled(), **SET), step, replace(OWNER, training=state)) == code
    assert codes(worlds.begun(*worlds.profiled(), source_format="pytorch"), step) == "TRAINING_REQUIRED"


def test_zeroing_weights_alone_takes_no_training_set():
    step = PruneUnstructured(technique="prune_unstructured", finetune_epochs=0)
    assert codes(worlds.begun(*worlds.profiled(), source_format="pytorch"), step) is None


def of_original(value: float, metric: str, tolerance: float, kind: str, samples: int) -> Session:
    session = worlds.begun(*worlds.profiled(), **SET, accuracy_tolerance=tolerance, tolerance_kind=kind)
    assert session.baseline is not None
    accuracy = Accuracy(metric=metric, value=value, n=samples, ci95=(value, value))
    return replace(session, baseline=session.baseline.model_copy(update={"accuracy": accuracy}))


@given(
    value=st.floats(0.1, 1),
    tolerance=st.floats(0, 0.1),
    kind=st.sampled_from(["relative", "absolute"]),
    samples=st.integers(10, 10_000),
)
def test_an_original_is_pruned_only_where_the_tolerance_is_worth_a_sample(
    value: float, tolerance: float, kind: str, samples: int
):
    worth = tolerance * value if kind == "relative" else min(tolerance, 0.02 * value)  # the policy's share of it
    session = of_original(value, "top1", tolerance, kind, samples)
    assert codes(session, PRUNE) == (None if worth > 1 / samples else "NO_HEADROOM")
    assert codes(session, QatInt8(technique="qat_int8")) is None


def test_errors_have_a_ceiling_for_a_floor():
    assert codes(of_original(2.0, "rmse", 0.02, "relative", 100), PRUNE) is None
    assert codes(of_original(2.0, "rmse", 0.0, "relative", 100), PRUNE) == "NO_HEADROOM"


def test_a_kept_variant_that_has_spent_the_tolerance_is_not_pruned():
    steps = [*worlds.created(2, 1), *worlds.benchmarked(3, "v1"), *worlds.validated(4, "v1", "FAIL")]
    session = worlds.begun(*worlds.profiled(), *steps, **SET)
    session = worlds.grown(session, worlds.decided(session, "v1", "keep", by_person=True))
    request = Request("optimize_model", variant_id="v1", step=PRUNE)
    refusal = judge(session, request, OWNER)
    assert refusal
    assert refusal.code == "NO_HEADROOM"
    assert codes(session, PRUNE) is None
