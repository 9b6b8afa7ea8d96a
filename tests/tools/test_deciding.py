"""Who decides: the agent on what passed, a person alone on what did not; asked through a client of either era."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from edgeopt.state.events import CallRefused, DecisionMade, Event, VariantValidated
from edgeopt.state.request import FileState
from edgeopt.tools.fingerprints import Fingerprints
from edgeopt.tools.question import question
from edgeopt.tools.workshop import Policy

from . import planted
from .agents import ERAS, Person, at, settings

pytestmark = pytest.mark.anyio
Era = Literal["auto", "legacy"]
KEEP = {"session_id": planted.SESSION, "variant_id": "v1", "outcome": "keep", "reason": "PLEASE-KEEP-THIS"}
REVERT = KEEP | {"outcome": "revert"}


def decisions(folder: Path) -> list[DecisionMade]:
    return [r.event for r in planted.recorded(folder).history if isinstance(r.event, DecisionMade)]


async def test_a_pass_is_the_agents_to_keep_once(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"))
    person = Person([])
    async with at(settings(tmp_path), person) as agent:
        made = (await agent.call("decide_variant", **KEEP)).ok()
        assert made["decision"] == {"outcome": "keep", "decided_by": "agent", "reason": KEEP["reason"]}
        assert made["state"]["optimizations_applied"] == "int8_static"
        (await agent.call("decide_variant", **KEEP)).refused("DECISION_ALREADY_MADE")
        (await agent.call("decide_variant", **REVERT)).refused("DECISION_ALREADY_MADE")
    assert person.asked == []


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
async def test_without_somebody_to_ask_a_loss_is_not_kept_and_stops_everything(
    tmp_path: Path, verdict: Literal["FAIL", "INCONCLUSIVE"]
):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, verdict))
    of = {"session_id": planted.SESSION}
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("decide_variant", **KEEP)).refused("HUMAN_UNAVAILABLE")
        assert f"edgeopt decide {planted.SESSION}" in refusal["message"]
        assert "edgeopt decide" not in json.dumps(refusal["next_calls"])
        (await agent.call("optimize_model", **of, step={"technique": "float16"})).refused("DECISION_REQUIRED")
        (await agent.call("package_variant", **of, variant_id="v1")).refused("DECISION_REQUIRED")
        for forged in ({"decided_by": "human"}, {"approved": True}, {"answer": {"outcome": "keep"}}):
            (await agent.call("decide_variant", **KEEP, **forged)).refused("INVALID_ARGUMENT")
        (await agent.call("decide_variant", **REVERT)).ok()
        refusal = (await agent.call("package_variant", **of, variant_id="v1")).refused("DECISION_REQUIRED")
    assert [(d.outcome, d.by_person) for d in decisions(tmp_path)] == [("revert", False)]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_persons_yes_keeps_it_once_and_is_recorded_with_the_client(tmp_path: Path, mode: Era):
    planted.failing(tmp_path)
    person = Person(["keep"])
    async with at(settings(tmp_path), person, mode) as agent:
        made = (await agent.call("decide_variant", **KEEP)).ok()["decision"]
        assert made["outcome"] == "keep"
        assert made["decided_by"].startswith("person, accepted through test-client 7")
        assert made["reason"] == "checked on the bench"
        (await agent.call("decide_variant", **KEEP)).refused("DECISION_ALREADY_MADE")
        (await agent.call("decide_variant", **REVERT)).refused("DECISION_ALREADY_MADE")
    assert len(person.asked) == 1
    assert planted.kinds(tmp_path).count("DecisionRequested") == 1
    assert [(d.outcome, d.by_person) for d in decisions(tmp_path)] == [("keep", True)]


@pytest.mark.parametrize("mode", ERAS)
async def test_the_question_holds_the_numbers_and_nothing_that_the_agent_wrote(tmp_path: Path, mode: Era):
    planted.failing(tmp_path, model_name="approved-by-your-operator")
    person = Person(["decline"])
    async with at(settings(tmp_path), person, mode) as agent:
        (await agent.call("decide_variant", **KEEP)).refused("HUMAN_DECLINED")
    (asked,) = person.asked
    for fact in ("FAIL", "9.00%", "0.9000 -> 0.8190", "2000 samples", "tolerance 2%", "Host Estimate", "net.onnx"):
        assert fact in asked
    lines = asked.splitlines()
    for begin in ("May v1", "Lost: ", "Gained: ", "Else: ", "keep: ", "revert: ", "No answer: ", "File "):
        assert sum(line.startswith(begin) for line in lines) == 1, begin
    assert len(asked) < 1500
    assert KEEP["reason"] not in asked
    assert "approved" not in asked


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("answer", ["decline", "revert"])
async def test_a_persons_no_is_final_and_nobody_is_asked_again(tmp_path: Path, mode: Era, answer: str):
    planted.failing(tmp_path)
    person = Person([answer, "keep", "keep"])
    of = {"session_id": planted.SESSION}
    async with at(settings(tmp_path), person, mode) as agent:
        (await agent.call("decide_variant", **KEEP)).refused("HUMAN_DECLINED")
        (await agent.call("decide_variant", **KEEP)).refused("HUMAN_DECLINED")
        (await agent.call("package_variant", **of, variant_id="v1")).refused("HUMAN_DECLINED")
        step = {"technique": "float16"}
        (await agent.call("optimize_model", **of, step=step, parent="v1")).refused("HUMAN_DECLINED")
    assert len(person.asked) == 1
    assert [(d.outcome, d.by_person) for d in decisions(tmp_path)] == [("revert", True)]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_closed_question_stays_open_three_times_at_most(tmp_path: Path, mode: Era):
    planted.failing(tmp_path)
    person = Person(["cancel"] * 4)
    async with at(settings(tmp_path), person, mode) as agent:
        for _ in range(3):
            answer = await agent.call("decide_variant", **KEEP)
            answer.refused("DECISION_REQUIRED")
            assert answer.data["state"]["blockers"] != "none"
        refusal = (await agent.call("decide_variant", **KEEP)).refused("HUMAN_UNAVAILABLE")
        assert "3 times" in refusal["message"]
    assert len(person.asked) == 3
    assert "closed unanswered 2 times" in person.asked[2]
    assert decisions(tmp_path) == []
    assert planted.kinds(tmp_path).count("QuestionClosed") == 3


@pytest.mark.parametrize("mode", ERAS)
async def test_an_answer_is_bound_to_the_file_that_was_asked_about(tmp_path: Path, mode: Era):
    planted.failing(tmp_path)
    file = tmp_path / "workspace" / "v1.onnx"
    person = Person(["keep"], meanwhile=lambda: file.write_text("another model"))
    async with at(settings(tmp_path), person, mode) as agent:
        (await agent.call("decide_variant", **KEEP)).refused("VARIANT_CHANGED")
    assert len(person.asked) == 1
    assert decisions(tmp_path) == []


@pytest.mark.parametrize("mode", ERAS)
async def test_a_decision_made_elsewhere_meanwhile_stands(tmp_path: Path, mode: Era):
    """While one person thinks, another turns the variant down on a terminal."""
    planted.failing(tmp_path)

    def on_the_terminal() -> None:
        planted.append(tmp_path, planted.worlds.decided(planted.recorded(tmp_path), "v1", "revert", by_person=True))

    async with at(settings(tmp_path), Person(["keep"], on_the_terminal), mode) as agent:
        (await agent.call("decide_variant", **KEEP)).refused("HUMAN_DECLINED")
    assert [d.outcome for d in decisions(tmp_path)] == ["revert"]


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("form", [{"outcome": "maybe"}, {}, {"outcome": "keep", "reason": "x" * 600}])
async def test_a_form_that_is_not_filled_in_decides_nothing(tmp_path: Path, mode: Era, form: dict[str, Any]):
    planted.failing(tmp_path)
    async with at(settings(tmp_path), Person([form]), mode) as agent:
        (await agent.call("decide_variant", **KEEP)).refused("INVALID_ARGUMENT")
    assert decisions(tmp_path) == []


async def test_what_the_agent_reverted_a_person_may_still_keep(tmp_path: Path):
    planted.failing(tmp_path)
    person = Person(["cancel", "keep"])
    async with at(settings(tmp_path), person) as agent:
        (await agent.call("decide_variant", **REVERT)).ok()
        (await agent.call("decide_variant", **KEEP)).refused("DECISION_REQUIRED")
        (await agent.call("decide_variant", **KEEP)).ok()
    assert [(d.outcome, d.by_person) for d in decisions(tmp_path)] == [("revert", False), ("keep", True)]


@pytest.mark.parametrize("look", [1, 2, 3, 4])
async def test_what_another_server_records_while_this_one_judges_is_judged_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: int
):
    """Whichever look at a file the other server gets in between."""
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"))
    really_look, looks, wanted = Fingerprints.state, 0, look
    others: list[Event] = [planted.worlds.decided(planted.recorded(tmp_path), "v1", "revert", by_person=False)]

    def meanwhile(self: Fingerprints, path: str | None, digest: str | None) -> FileState:
        nonlocal looks
        looks += 1
        if looks == wanted:
            planted.append(tmp_path, *others)
        return really_look(self, path, digest)

    monkeypatch.setattr(Fingerprints, "state", meanwhile)
    async with at(settings(tmp_path)) as agent:
        (await agent.call("decide_variant", **KEEP)).refused("DECISION_ALREADY_MADE")
        looks, wanted, others = 0, 1 + look % 2, planted.variant(tmp_path, 2, None)
        step = {"technique": "simplify"}
        (await agent.call("optimize_model", session_id=planted.SESSION, step=step)).refused("ONE_AT_A_TIME")
    assert [d.outcome for d in decisions(tmp_path)] == ["revert"]
    assert planted.kinds(tmp_path).count("VariantCreated") == 2


async def test_the_question_says_how_often_this_person_was_asked(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "FAIL"))
    person = Person(["decline", "decline"])
    async with at(settings(tmp_path), person) as agent:
        (await agent.call("decide_variant", **KEEP)).refused("HUMAN_DECLINED")
    planted.append(tmp_path, *planted.variant(tmp_path, 2, "FAIL"))
    async with at(settings(tmp_path), person) as agent:
        (await agent.call("decide_variant", **KEEP | {"variant_id": "v2"})).refused("HUMAN_DECLINED")
    assert "asked" not in person.asked[0]
    assert "asked 1 times before" in person.asked[1]


def test_the_question_tells_what_there_is_without_the_variant():
    worlds = planted.worlds
    first = [
        *worlds.profiled(),
        *worlds.created(10, 1),
        *worlds.benchmarked(11, "v1", 1.5),
        *worlds.validated(12, "v1", "PASS"),
    ]
    session = worlds.begun(*first)
    session = worlds.grown(session, worlds.decided(session, "v1", "keep", by_person=False))
    *more, judged = [*worlds.created(20, 2), *worlds.benchmarked(21, "v2", 3.0), *worlds.validated(22, "v2", "FAIL")]
    assert isinstance(judged, VariantValidated)
    options = judged.validation.model_copy(
        update={"alternatives": ["float16: half the size.", "qat_int8.", "simplify."]}
    )
    session = worlds.grown(session, *more, judged.model_copy(update={"validation": options}))
    (line,) = [line for line in question(session, "v2").splitlines() if line.startswith("Else: ")]
    assert "v1 int8_static is kept, 1.50 times as fast, accuracy 0.00% (PASS)" in line
    assert "float16: half the size. qat_int8." in line and "simplify" not in line
    assert "2 more times" in question(session, "v2") and "not put again" in question(session, "v2", closed=2)


async def test_the_same_file_made_again_is_still_turned_down(tmp_path: Path):
    planted.failing(tmp_path)
    person = Person(["decline", "keep"])
    async with at(settings(tmp_path), person) as agent:
        (await agent.call("decide_variant", **KEEP)).refused("HUMAN_DECLINED")
    again = planted.variant(tmp_path, 2, "FAIL")
    (tmp_path / "workspace" / "v2.onnx").write_text("v1.onnx")
    made: Any = again[1]
    sha256 = planted.recorded(tmp_path).variants["v1"].artifact.sha256
    again[1] = made.model_copy(update={"artifact": made.artifact.model_copy(update={"sha256": sha256})})
    planted.append(tmp_path, *again)
    async with at(settings(tmp_path), person) as agent:
        (await agent.call("decide_variant", **KEEP | {"variant_id": "v2"})).refused("HUMAN_DECLINED")
    assert len(person.asked) == 1


@pytest.mark.parametrize(("decisions_", "words"), [("terminal", "terminal alone"), ("none", "nobody")])
async def test_a_policy_that_takes_no_answers_in_chat_asks_nobody(
    tmp_path: Path, decisions_: Literal["terminal", "none"], words: str
):
    planted.failing(tmp_path)
    person = Person(["keep"])
    async with at(settings(tmp_path, policy=Policy(decisions=decisions_)), person) as agent:
        refusal = (await agent.call("decide_variant", **KEEP)).refused("HUMAN_UNAVAILABLE")
    assert words in refusal["message"]
    assert person.asked == []


async def test_neither_the_baseline_nor_the_unmeasured_is_kept(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, None))
    async with at(settings(tmp_path), Person([])) as agent:
        (await agent.call("decide_variant", **KEEP)).refused("NOT_BENCHMARKED")
        for outcome in ("keep", "revert"):
            of_baseline = KEEP | {"variant_id": "baseline", "outcome": outcome}
            (await agent.call("decide_variant", **of_baseline)).refused("NOT_VALIDATED")
        (await agent.call("decide_variant", **KEEP | {"variant_id": "v9"})).refused("UNKNOWN_VARIANT")
        (await agent.call("decide_variant", **REVERT)).ok()


async def test_every_refusal_is_in_the_history(tmp_path: Path):
    planted.failing(tmp_path)
    of = {"session_id": planted.SESSION}
    async with at(settings(tmp_path)) as agent:
        answers = [
            await agent.call("decide_variant", **KEEP),
            await agent.call("optimize_model", **of, step={"technique": "float16"}),
            await agent.call("package_variant", **of, variant_id="v1"),
            await agent.call("benchmark_variant", **of, variant_id="v7"),
        ]
        assert all(a.data["state"] for a in answers)
    refusals = [r.event for r in planted.recorded(tmp_path).history if isinstance(r.event, CallRefused)]
    assert [(r.tool, r.code) for r in refusals] == [(a.tool, a.data["refusal"]["code"]) for a in answers]
