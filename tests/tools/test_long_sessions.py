"""Answers stay small however long a session grows, and however many there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from . import planted
from .agents import Person, at, settings

pytestmark = pytest.mark.anyio
OF = {"session_id": planted.SESSION}
# 2,000 tokens of o200k: hashes take a token for every other character, words one for every four.
CHARACTERS = 6000


async def test_a_long_session_is_summed_up(tmp_path: Path):
    long_ago = [event for n in range(1, 40) for event in planted.variant(tmp_path, n, "PASS")]
    planted.plant(tmp_path, *long_ago, *planted.variant(tmp_path, 40, "FAIL"))
    planted.append(tmp_path, planted.worlds.decided(planted.recorded(tmp_path), "v1", "keep", by_person=False))
    async with at(settings(tmp_path)) as agent:
        for tool in ("get_state", "recommend_next", "render_report"):
            answer = await agent.call(tool, **OF)
            assert max(len(json.dumps(answer.ok())), len(answer.text)) < CHARACTERS, tool
        state = (await agent.call("get_state", **OF)).ok()
        assert [v["variant_id"] for v in state["variants"]] == ["baseline", "v1", "v37", "v38", "v39", "v40"]
        assert f"edgeopt://sessions/{planted.SESSION}/events" in state["message"]


async def test_many_sessions_are_listed_newest_first(tmp_path: Path):
    ids = [planted.plant(tmp_path, session_id=f"s_{n:032x}") for n in range(30)]
    async with at(settings(tmp_path)) as agent:
        answer = await agent.call("list_sessions")
        assert [line["session_id"] for line in answer.ok()["sessions"]] == ids[:-21:-1]
        assert max(len(json.dumps(answer.data)), len(answer.text)) < CHARACTERS
        few = (await agent.call("list_sessions", limit=2)).ok()["sessions"]
        assert [line["session_id"] for line in few] == ids[:-3:-1]


async def test_a_benchmark_that_was_repeated_is_said_to_have_been(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"), *planted.variant(tmp_path, 2, "FAIL"))
    again = [event for job in (51, 52) for event in planted.worlds.benchmarked(job, "v2", speedup=3.0)]
    planted.append(tmp_path, *again)
    person = Person(["keep"])
    async with at(settings(tmp_path), person) as agent:
        kept = {**OF, "variant_id": "v2", "outcome": "keep", "reason": ""}
        (await agent.call("decide_variant", **kept)).ok()
        for kind in ("tradeoff", "summary"):
            shown = (await agent.call("render_report", **OF, kind=kind)).ok()["markdown"]
            assert "3.00x" in shown and "the last of 3 runs" in shown
            assert shown.count("the last of") == shown.count("the last of 3 runs")
        state = (await agent.call("get_state", **OF)).ok()
    assert state["message"].startswith("All times: Host Estimate (not target hardware)")
    assert state["message"].endswith("The speed of v2 is that of the last of 3 runs.")
    assert "Host Estimate" in next(line["detail"] for line in state["history"] if line["event"] == "VariantBenchmarked")
    assert "the last of 3 runs" in person.asked[0]
