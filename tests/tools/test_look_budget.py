"""The budget of looks is spent: a person may allow one more, for one variant, and nobody else can."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from edgeopt.state.ledger import Ledger, fold, look_alpha, stream
from edgeopt.state.store import Store
from edgeopt.tools.workshop import Policy, Settings

from . import planted
from .agents import ERAS, Person, at, settings
from .test_across_sessions import benchmarked, looked

pytestmark = pytest.mark.anyio
Era = Literal["auto", "legacy"]
V1: dict[str, Any] = {"session_id": planted.SESSION, "variant_id": "v1"}
V2: dict[str, Any] = {"session_id": planted.SESSION, "variant_id": "v2"}
ACCEPT, REFUSE = {"outcome": "accept"}, {"outcome": "refuse"}


def spent(folder: Path) -> Settings:
    """Two variants that wait for their validation, and a budget of one look, which was taken at another file."""
    planted.plant(folder, *benchmarked(folder, 1), *benchmarked(folder, 2))
    planted.file(folder / "workspace" / "v9.onnx")
    looked(folder, "v9")
    return settings(folder, policy=Policy(look_budget=1))


def ledger(folder: Path) -> Ledger:
    store = Store(folder / "workspace")
    try:
        return fold(store.load(stream(planted.worlds.opened().weights))[0])
    finally:
        store.close()


@pytest.mark.parametrize("mode", ERAS)
async def test_a_yes_allows_one_look_at_one_variant(tmp_path: Path, mode: Era):
    rules = spent(tmp_path)
    person = Person([ACCEPT, REFUSE])
    async with at(rules, person, mode) as agent:
        for _ in range(
            2
        ):  # the worker finds no outcomes, but the look is taken: again it costs neither look nor question
            (await agent.finish("validate_variant", **V1)).refused("BAD_FILE")
        assert len(person.asked) == 1
        (await agent.call("validate_variant", **V2)).refused("HUMAN_DECLINED")
    for words in ("v1 of net.onnx", "1 looks taken, 1 allowed", planted.identity(_file(tmp_path, 1)).sha256[:16]):
        assert words in person.asked[0]
    assert "asked for 1 times before" in person.asked[1]
    known = ledger(tmp_path)
    assert [look.number for look in known.looks] == [1, 2]
    assert known.looks[1].alpha == look_alpha(2)
    assert [(a.outcome, a.answered_by) for a in known.look_answers] == [
        ("accept", "a person through test-client 7"),
        ("refuse", "a person through test-client 7"),
    ]


def _file(folder: Path, number: int) -> Path:
    return folder / "workspace" / f"v{number}.onnx"


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("answer", ["decline", REFUSE])
async def test_a_no_is_final_for_the_variant(tmp_path: Path, mode: Era, answer: Any):
    rules = spent(tmp_path)
    person = Person([answer, ACCEPT])
    for _ in range(2):  # also after a restart
        async with at(rules, person, mode) as agent:
            refusal = (await agent.call("validate_variant", **V1)).refused("HUMAN_DECLINED")
            assert refusal["next_calls"][0]["arguments"]["outcome"] == "revert"
    assert len(person.asked) == 1
    assert [look.number for look in ledger(tmp_path).looks] == [1]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_silence_leaves_the_question_open_three_times(tmp_path: Path, mode: Era):
    rules = spent(tmp_path)
    person = Person(["cancel"] * 9)
    async with at(rules, person, mode) as agent:
        for _ in range(5):
            (await agent.call("validate_variant", **V1)).refused("LOOK_BUDGET")
    assert len(person.asked) == 3
    assert "closed unanswered 2 times" in person.asked[2]


async def test_where_nobody_can_be_asked_the_policy_file_is_named(tmp_path: Path):
    rules = spent(tmp_path)
    async with at(rules) as agent:
        refusal = (await agent.call("validate_variant", **V1)).refused("LOOK_BUDGET")
    assert "look_budget in the policy file" in refusal["message"]
    terminal = settings(tmp_path, policy=Policy(look_budget=1, decisions="terminal"))
    person = Person([ACCEPT])
    async with at(terminal, person) as agent:
        (await agent.call("validate_variant", **V1)).refused("LOOK_BUDGET")
    assert person.asked == []


async def test_nobody_is_asked_for_what_would_not_run_anyway(tmp_path: Path):
    rules = spent(tmp_path)
    _file(tmp_path, 1).write_text("another file")
    person = Person([ACCEPT])
    async with at(rules, person) as agent:
        (await agent.call("validate_variant", **V1)).refused("VARIANT_CHANGED")
        (await agent.call("validate_variant", **V1 | {"variant_id": "v7"})).refused("UNKNOWN_VARIANT")
    assert person.asked == []
