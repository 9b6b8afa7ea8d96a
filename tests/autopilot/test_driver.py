"""The driver against a real server in memory: planted sessions for what needs no work, a small real model for what does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from edgeopt.autopilot.calling import Answer, finish
from edgeopt.autopilot.driver import Ended, drive, recorded
from edgeopt.autopilot.history import History
from edgeopt.autopilot.policy import Call, Goal, Known, Stop, next_move
from edgeopt.server.app import build
from edgeopt.state.events import DecisionMade
from edgeopt.tools.workshop import Settings
from mcp import Client, MCPError

from ..state import worlds
from ..tools import planted
from ..tools.agents import Person, settings
from ..tools.finished import small_world

pytestmark = pytest.mark.anyio
NOTHING_NEW = Goal(budget_s=0)


@dataclass
class Watcher:
    """Remembers what it was told."""

    calls: list[Call] = field(default_factory=list)
    answered: list[Answer] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)

    def begins(self, call: Call) -> None:
        self.calls.append(call)

    def goes_on(self, share: float, message: str) -> None:
        self.shares.append(share)

    def answers(self, call: Call, answer: Answer, history: History) -> None:
        assert call == self.calls[-1]
        self.answered.append(answer)

    @property
    def tools(self) -> list[str]:
        return [call.tool for call in self.calls]


async def driven(
    chosen: Settings,
    session: str = planted.SESSION,
    goal: Goal = NOTHING_NEW,
    person: Person | None = None,
    **more: Any,
) -> tuple[Ended, Watcher]:
    watcher = Watcher()
    goal = replace(goal, person=person is not None)
    async with Client(build(chosen), elicitation_callback=person) as client:
        return await drive(client, session, goal, watcher, **more), watcher


def decisions(folder: Path) -> list[tuple[str, str, bool]]:
    events = (recorded.event for recorded in planted.recorded(folder).history)
    return [(e.variant_id, e.outcome, e.by_person) for e in events if isinstance(e, DecisionMade)]


async def test_a_loss_is_given_up_where_nobody_can_be_asked(tmp_path: Path):
    planted.failing(tmp_path)
    ended, watcher = await driven(settings(tmp_path))
    assert watcher.tools == ["decide_variant", "render_report"]
    assert decisions(tmp_path) == [("v1", "revert", False)]
    assert ended.stop == Stop("The budget of 0 minutes is spent.", waiting=("v1",))
    assert (ended.found, ended.packaged, ended.unfinished) == (None, None, False)
    assert "v1 int8_static (reverted)" in ended.report
    assert Path(ended.report_files[0]).read_text() == ended.report


async def test_a_person_is_asked_by_the_server_and_a_no_is_theirs(tmp_path: Path):
    planted.failing(tmp_path)
    person = Person(["revert"])
    ended, watcher = await driven(settings(tmp_path), person=person)
    assert watcher.tools == ["decide_variant", "decide_variant", "render_report"]
    assert len(person.asked) == 1 and "FAIL" in person.asked[0]
    assert decisions(tmp_path) == [("v1", "revert", False), ("v1", "revert", True)]
    assert ended.stop.waiting == ()
    assert ended.problem.startswith("HUMAN_DECLINED")


async def test_what_a_person_keeps_is_packaged_and_a_package_that_fails_is_said(tmp_path: Path):
    planted.failing(tmp_path)  # its model is no model: packaging it cannot succeed
    ended, watcher = await driven(settings(tmp_path), person=Person(["keep"]))
    assert watcher.tools == ["decide_variant", "decide_variant", "package_variant", "render_report"]
    assert decisions(tmp_path)[-1] == ("v1", "keep", True)
    assert (ended.found, ended.packaged, ended.unfinished) == ("v1", None, True)
    assert ended.problem


async def test_what_is_packaged_already_is_not_packaged_again(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"))
    planted.append(tmp_path, worlds.decided(planted.recorded(tmp_path), "v1", "keep", by_person=False))
    planted.append(tmp_path, *worlds.packaged(90, "v1"))
    ended, watcher = await driven(settings(tmp_path))
    assert watcher.tools == ["render_report"]
    assert ended.packaged == "v1"


async def test_a_policy_of_ones_own_is_driven_all_the_same(tmp_path: Path):
    planted.failing(tmp_path)

    def says_no(known: Known, goal: Goal) -> Call | Stop:
        assert known.history.trials["v1"].speedup == 2.0
        assert {call.tool for call in known.recommended} == {"decide_variant"}
        return Stop("enough")

    ended, watcher = await driven(settings(tmp_path), policy=says_no)
    assert (ended.stop, watcher.calls, ended.report) == (Stop("enough"), [], "")


async def test_a_session_that_is_not_there_is_an_error(tmp_path: Path):
    async with Client(build(settings(tmp_path))) as client:
        with pytest.raises(MCPError, match="no such session"):
            await recorded(client, "s_" + "f" * 32)


# Real work


@pytest.mark.slow
async def test_a_small_model_goes_the_whole_way_and_a_job_ends_at_its_deadline(tmp_path: Path):
    """One technique, by real workers."""
    watcher = Watcher()

    def one_step(known: Known, goal: Goal) -> Call | Stop:
        return next_move(known, NOTHING_NEW if known.history.trials and not _open(known.history) else goal)

    async with Client(build(settings(tmp_path))) as client:
        opened = await finish(client, "open_session", small_world(tmp_path))
        of = {"session_id": opened.data["session_id"]}
        ended = await drive(client, of["session_id"], Goal(smaller=True), watcher, one_step)
        measured = ["profile_model", "optimize_model", "benchmark_variant", "validate_variant", "decide_variant"]
        assert watcher.tools[:5] == measured
        assert watcher.tools[-1] == "render_report"
        assert all(answer.ok for answer in watcher.answered), ended.problem
        assert watcher.shares and max(watcher.shares) <= 1
        trial = ended.history.trials["v1"]
        assert trial.comparison and trial.validation and trial.outcome
        assert (ended.packaged == "v1") == trial.kept

        began = time.monotonic()
        cut = await finish(client, "benchmark_variant", {**of, "variant_id": "baseline"}, deadline=began + 1)
        assert (cut.status, cut.problem.partition(":")[0]) == ("failed", "CANCELLED")
        assert (await recorded(client, of["session_id"])).running == {}


def _open(history: History) -> bool:
    return any(trial.outcome is None for trial in history.trials.values())
