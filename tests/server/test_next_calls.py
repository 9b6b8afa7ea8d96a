"""Every refusal names calls that can be made as they stand: valid for the listed schema of the tool that they name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import hypothesis
import pytest
from edgeopt.contract.refusals import Code, NextCall, Refusal
from edgeopt.contract.steps import ExportOnnx, Int8Static, PruneStructured, TensorRT
from edgeopt.state.guardrails import RULES, judge
from edgeopt.state.request import Facts, Request
from edgeopt.state.session import Session
from edgeopt.tools.answers import GUARDRAILS
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ..state import worlds
from ..state.test_guardrails_exhaustively import calls, explored
from ..tools import planted
from ..tools.agents import at, settings
from ..tools.finished import small_world

pytestmark = pytest.mark.anyio
SNAPSHOTS = Path(__file__).parent / "snapshots"
SCHEMAS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))["inputSchema"] for path in SNAPSHOTS.glob("*.json")
}
MINE = Facts(owner="uid:0", asking="chat")
STEP, PRUNE = Int8Static(technique="int8_static"), PruneStructured(technique="prune_structured")


def can_be_made(call: NextCall) -> None:
    schema = SCHEMAS[call.tool]
    assert set(call.arguments) <= set(schema.get("properties", {})), call
    Draft202012Validator(schema).validate(call.arguments)
    assert call.why


def test_in_every_reachable_state_each_refusal_names_calls_that_can_be_made():
    states, _ = explored()
    seen: set[str] = set()
    for session in states:
        for request, facts in calls(session):
            if refusal := judge(session, request, facts):
                assert refusal.next_calls, refusal
                key = json.dumps([c.model_dump() for c in refusal.next_calls], sort_keys=True)
                if key not in seen:
                    for call in refusal.next_calls:
                        can_be_made(call)
                seen.add(key)
    assert len(seen) > 20


def _of_the_world(plain: Session, made: Session) -> Iterator[tuple[Session, Request, Facts]]:
    """What the exploration does not vary: files, hardware, code and limits."""
    bench = Request("benchmark_variant", variant_id="v1", identity="x")
    validate = Request("validate_variant", variant_id="v1", identity="x")
    package = Request("package_variant", variant_id="v1", identity="x")
    optimize = Request("optimize_model", variant_id="baseline", step=STEP, identity="x")
    yield plain, Request("get_state"), replace(MINE, owner="uid:9")
    yield plain, Request("profile_model", identity="other"), MINE
    yield plain, Request("benchmark_variant", variant_id="v9", identity="x"), MINE
    for output in ("outside", "occupied", "original"):
        yield made, package, replace(MINE, output=output)
    yield made, bench, replace(MINE, user_code="not_allowed")
    for state in ("changed", "gone"):
        yield made, bench, replace(MINE, original=state)
        yield made, bench, replace(MINE, variant_file=state)
        yield made, validate, replace(MINE, evaluation=state)
        yield made, validate, replace(MINE, user_code=state)
        yield plain, optimize, replace(MINE, calibration=state)
    without = worlds.begun(*worlds.profiled(), calibration_path=None)
    yield without, optimize, MINE
    prune = replace(optimize, step=PRUNE)
    for path in (None, "/data/train.npz"):
        yield worlds.begun(*worlds.profiled(), training_path=path), prune, replace(MINE, training="gone")
    with_training = worlds.begun(*worlds.profiled(), training_path="/data/train.npz", accuracy_tolerance=0.0)
    yield with_training, prune, MINE
    yield made, bench, replace(MINE, where="target")
    wrong = replace(optimize, step=TensorRT(technique="tensorrt"))
    yield plain, wrong, replace(MINE, instead=(STEP, ExportOnnx(technique="export_onnx")))
    yield made, bench, replace(MINE, engine="built by another TensorRT")
    yield made, validate, replace(MINE, looks_allowed=1, looks_spent=1)
    yield made, bench, replace(MINE, disk_free_mb=1.0, disk_needed_mb=100.0)
    yield made, bench, replace(MINE, unavailable="the runtime is not installed")
    running = worlds.grown(made, worlds.started(7, "benchmark_variant", "v1"))
    yield running, validate, MINE


def test_every_rule_of_the_table_names_calls_that_can_be_made():
    plain = worlds.begun(*worlds.profiled())
    made = worlds.grown(plain, *worlds.created(2, 1))
    refused: dict[str, list[Refusal]] = {}
    for session, request, facts in _of_the_world(plain, made):
        refusal = judge(session, request, facts)
        assert refusal is not None, (request, facts)
        refused.setdefault(refusal.code, []).append(refusal)
    states, _ = explored()
    elsewhere = {r.code for s in states for q, f in calls(s) if (r := judge(s, q, f))}
    assert set(refused) | elsewhere >= {rule.code for rule in RULES}
    for refusals in refused.values():
        for refusal in refusals:
            assert refusal.next_calls, refusal
            for call in refusal.next_calls:
                can_be_made(call)


def test_every_code_belongs_to_a_guardrail():
    named = {rule.code for rule in RULES} | set(GUARDRAILS)
    assert named == set(get_args(Code))


names = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=12)


@hypothesis.settings(max_examples=10, deadline=None)
@given(extra=st.dictionaries(names, st.integers(), min_size=1, max_size=4), where=st.sampled_from(["top", "step"]))
async def test_what_is_unknown_is_left_out_of_the_next_call(tmp_path_factory: Any, extra: dict[str, int], where: str):
    folder = tmp_path_factory.mktemp("session")
    planted.failing(folder)
    step: dict[str, Any] = {"technique": "simplify"}
    call: dict[str, Any] = {"session_id": planted.SESSION, "step": step}
    (step if where == "step" else call).update({f"x_{name}": value for name, value in extra.items()})
    async with at(settings(folder)) as agent:
        (mended,) = (await agent.call("optimize_model", **call)).refused("INVALID_ARGUMENT")["next_calls"]
        assert mended["tool"] == "optimize_model"
        assert mended["arguments"] == {"session_id": planted.SESSION, "step": {"technique": "simplify"}}
        (await agent.call("optimize_model", **mended["arguments"])).refused("DECISION_REQUIRED")


async def test_wrong_numbers_with_a_usual_value_are_left_out_and_the_rest_is_recommended(tmp_path: Path):
    planted.plant(tmp_path)
    of = {"session_id": planted.SESSION}
    async with at(settings(tmp_path)) as agent:
        (call,) = (await agent.call("profile_model", **of, iterations=3)).refused("INVALID_ARGUMENT")["next_calls"]
        assert (call["tool"], call["arguments"]) == ("profile_model", of)
        (call,) = (await agent.call("optimize_model", **of)).refused("INVALID_ARGUMENT")["next_calls"]
        assert (call["tool"], call["arguments"]) == ("recommend_next", of)


async def test_a_session_that_cannot_be_opened_names_the_call_to_repeat(tmp_path: Path):
    evaluation = {"dataset_path": str(tmp_path / "test.npz"), "metric": "top1"}
    call = {"model_path": str(tmp_path / "net.onnx"), "target_device": "cpu-generic", "evaluation": evaluation}
    async with at(settings(tmp_path)) as agent:
        (again,) = (await agent.call("open_session", **call)).refused("BAD_FILE")["next_calls"]
        assert (again["tool"], again["arguments"]) == ("open_session", call)
        small_world(tmp_path)
        loose = {**call, "accuracy_tolerance": 0.5, "evidence": "point"}
        (bar,) = (await agent.call("open_session", **loose)).refused("HUMAN_UNAVAILABLE")["next_calls"]
        assert bar["arguments"] == {**call, "accuracy_tolerance": 0.02, "evidence": "proven"}
        loose = {**call, "accuracy_tolerance": "0.5"}  # which is a number to the reader of the schema
        (bar,) = (await agent.call("open_session", **loose)).refused("HUMAN_UNAVAILABLE")["next_calls"]
        assert bar["arguments"]["accuracy_tolerance"] == 0.02


async def test_a_call_that_is_too_long_is_not_repeated(tmp_path: Path):
    names = [f"/model/layer.{n}/Conv" for n in range(500)]
    step = {"technique": "int8_static", "keep_float": names}
    planted.failing(tmp_path)
    async with at(settings(tmp_path)) as agent:
        answer = await agent.call("optimize_model", session_id=planted.SESSION, step=step, parent="v1")
        assert answer.status == "refused" and answer.data["refusal"]["next_calls"]
        assert len(answer.text) < 6_000
