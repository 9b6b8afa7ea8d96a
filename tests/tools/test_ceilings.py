"""What the baseline's profile allows a technique is said with it; a target beyond all of it is said to be out of reach."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from edgeopt.contract.measures import Ceiling
from edgeopt.state.events import BaselineMeasured, parse
from edgeopt.state.session import Session
from edgeopt.tools.measuring import asked_precision
from edgeopt.tools.recommending import out_of_reach, recommendations

from . import planted
from .finished import Finished

STATIC = Ceiling(technique="int8_static", operators=["Conv"], share=0.8, at_most=5.0, realistic=2.5)
HALF = Ceiling(technique="float16", operators=[], share=0, at_most=1, warning="There are no such kernels.")


def profiled(folder: Path, ceilings: list[Ceiling], target: float | None = None) -> Session:
    """A session whose baseline takes 2 ms."""
    planted.plant(folder, latency_target_ms=target)
    return replace(planted.recorded(folder), ceilings=ceilings)


def test_a_technique_is_recommended_with_its_ceiling(tmp_path: Path):
    found = recommendations(profiled(tmp_path, [STATIC, HALF]))
    reasons = {r.arguments["step"]["technique"]: r.reason for r in found if r.tool == "optimize_model"}
    assert (
        "at most 5.0x, about 2.5x with this machine's 8-bit kernels (80% of the time is in Conv)"
        in reasons["int8_static"]
    )
    assert "float16: no gain. There are no such kernels." in reasons["float16"]
    assert "at most" not in reasons["graph_optimize"]


@pytest.mark.parametrize(("target", "beyond"), [(None, False), (0.5, False), (0.39, True)])
def test_a_target_beyond_the_highest_ceiling_is_out_of_reach(tmp_path: Path, target: float | None, beyond: bool):
    said = out_of_reach(profiled(tmp_path, [HALF, STATIC], target))
    assert (said is not None) == beyond
    if said:
        assert "0.39 ms is out of reach" in said
        assert "5.0x (int8_static)" in said
        assert "0.4 ms at best" in said


def test_without_ceilings_or_bound_nothing_is_claimed(tmp_path: Path):
    assert out_of_reach(profiled(tmp_path / "old", [], 0.001)) is None
    unbounded = STATIC.model_copy(update={"at_most": 100.0})
    assert out_of_reach(profiled(tmp_path / "new", [unbounded], 0.001)) is None


def test_a_baseline_recorded_before_there_were_ceilings_is_read(tmp_path: Path):
    planted.plant(tmp_path)
    (event,) = [r.event for r in planted.recorded(tmp_path).history if isinstance(r.event, BaselineMeasured)]
    body = json.loads(event.model_dump_json())
    del body["ceilings"]
    assert parse(json.dumps(body)) == event


def test_what_was_asked_for_is_the_last_step_that_changes_the_precision(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"))
    session = planted.recorded(tmp_path)
    assert asked_precision(session, "v1") == "int8"
    assert asked_precision(session, "baseline") is None


def test_the_profile_says_what_can_be_gained(finished: Finished):
    answer = finished.answers["profile_model"]
    assert [c["technique"] for c in answer.data["ceilings"]] == ["int8_static", "int8_dynamic", "float16"]
    assert "int8_dynamic: " in answer.text
    compared = finished.answers["benchmark_variant"].data["comparison"]
    assert compared["runs_as"] is None
    assert compared["execution"]["operators_ms"] >= 0
