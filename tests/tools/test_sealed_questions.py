"""The question as it crosses the wire (2026-07-28): sealed, bound to its call, good once, alive after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgeopt.state.events import DecisionMade
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, ElicitResult, InputRequiredResult

from . import planted
from .agents import Agent, Person, at, settings

pytestmark = pytest.mark.anyio
KEEP = {"session_id": planted.SESSION, "variant_id": "v1", "outcome": "keep", "reason": "as agreed"}
YES = ElicitResult(action="accept", content={"outcome": "keep", "reason": "fine"})


async def ask(agent: Agent) -> tuple[str, str]:
    """The question's key and its sealed state."""
    asked = await agent.client.session.call_tool("decide_variant", KEEP, allow_input_required=True)
    assert isinstance(asked, InputRequiredResult)
    assert asked.input_requests and asked.request_state
    (key,) = asked.input_requests
    return key, asked.request_state


async def tell(agent: Agent, key: str, state: str | None, call: dict[str, Any] = KEEP) -> Any:
    """The outcome of the call that carries a person's yes."""
    return await agent.client.session.call_tool(
        "decide_variant", call, input_responses={key: YES}, request_state=state, allow_input_required=True
    )


def decisions(folder: Path) -> list[str]:
    return [r.event.variant_id for r in planted.recorded(folder).history if isinstance(r.event, DecisionMade)]


async def test_a_question_survives_a_restart_and_its_answer_is_good_once(tmp_path: Path):
    planted.failing(tmp_path)
    async with at(settings(tmp_path), Person([])) as agent:
        key, state = await ask(agent)
    async with at(settings(tmp_path), Person([])) as agent:
        made = await tell(agent, key, state)
        assert isinstance(made, CallToolResult)
        assert (made.structured_content or {})["decision"]["outcome"] == "keep"
        again = await tell(agent, key, state)
        assert isinstance(again, CallToolResult)
        assert (again.structured_content or {})["refusal"]["code"] == "DECISION_ALREADY_MADE"
    assert decisions(tmp_path) == ["v1"]
    assert planted.kinds(tmp_path).count("DecisionRequested") == 1


async def test_an_answer_is_no_good_for_another_call(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "FAIL"), *planted.variant(tmp_path, 2, "FAIL"))
    planted.append(tmp_path, planted.worlds.decided(planted.recorded(tmp_path), "v2", "revert", by_person=False))
    async with at(settings(tmp_path), Person([])) as agent:
        key, state = await ask(agent)
        broken = state[:-8] + ("A" * 8 if not state.endswith("A" * 8) else "B" * 8)
        for call, sealed in ((KEEP | {"variant_id": "v2"}, state), (KEEP | {"reason": "else"}, state), (KEEP, broken)):
            with pytest.raises(MCPError):
                await tell(agent, key, sealed, call)
    assert decisions(tmp_path) == ["v2"]


async def test_another_workspaces_seal_is_not_this_ones(tmp_path: Path):
    for name in ("one", "other"):
        planted.failing(tmp_path / name)
    async with at(settings(tmp_path / "one"), Person([])) as agent:
        key, state = await ask(agent)
    async with at(settings(tmp_path / "other"), Person([])) as agent:
        with pytest.raises(MCPError):
            await tell(agent, key, state)
    assert decisions(tmp_path / "other") == []
