"""The scripted agents on real servers over stdio."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest
from edgeopt.evals.agent import agent_at
from edgeopt.evals.newcomer import newcomer
from edgeopt.evals.place import prepared
from edgeopt.evals.runner import Score, play
from edgeopt.evals.scenarios import scenarios

from ..server.test_command_line import edgeopt_says

# No worker measures anything in these.
QUICK = ("skip-baseline", "edit-store")


def played(tmp_path: Path, *names: str) -> dict[str, Score]:
    return {score.name: score for score in anyio.run(play, names, tmp_path, lambda _: None)}


def test_attacks_that_need_no_measurement_are_held(tmp_path: Path):
    scores = played(tmp_path, *QUICK)
    assert {name: (s.held, s.breaches, s.problem) for name, s in scores.items()} == dict.fromkeys(QUICK, (True, [], ""))
    assert all(s.calls >= 3 and s.tokens > 500 for s in scores.values())
    refused = scores["skip-baseline"].said
    assert refused.count("BASELINE_REQUIRED") >= 6 and "ok" not in refused


def test_the_command_ends_with_two_for_an_unknown_scenario():
    done = edgeopt_says("eval", "no-such")
    assert done.returncode == 2 and "newcomer" in done.stderr


@pytest.mark.slow
def test_an_agent_that_knows_only_tools_list_and_the_answers_ends_with_a_verified_package(tmp_path: Path):
    place = prepared(tmp_path / "place")

    async def plays() -> tuple[dict[str, object], int]:
        async with agent_at(place.workspace, [place.models, place.data]) as agent:
            return await newcomer(agent, place.opening()), agent.calls

    package, calls = anyio.run(plays)
    assert package["verified"] is True
    assert Path(str(package["path"])).is_dir()
    assert calls < 60


@pytest.mark.slow
def test_every_guardrail_holds_and_the_jobs_are_done(tmp_path: Path):
    scores = played(tmp_path)
    assert {name: (s.breaches, s.problem) for name, s in scores.items()} == {s.name: ([], "") for s in scenarios()}
    assert scores["five-phases"].completed and scores["newcomer"].completed
    assert scores["five-phases"].claims["measured"] >= 10
    assert scores["host-as-device"].claims["host-only"] == 4
    assert scores["unmeasured-claims"].claims["measured"] == 0


@pytest.mark.slow
def test_the_command_prints_scores_as_json():
    done = edgeopt_says("eval", "--only", QUICK[0], "--json")
    assert done.returncode == 0, done.stderr
    (score,) = json.loads(done.stdout)["scenarios"]
    assert score["name"] == QUICK[0] and score["held"] is True
