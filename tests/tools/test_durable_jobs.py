"""Long work: waited for, joined, cancelled, and recorded once whatever becomes of the servers."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from edgeopt.contract.measures import Stamp
from edgeopt.engine.jobs import JobSpec, Profile
from edgeopt.state.events import BaselineMeasured, JobStarted, ends
from edgeopt.tools.road import identity

from ..state import worlds
from . import planted
from .agents import Agent, at, settings
from .finished import opened

pytestmark = pytest.mark.anyio
SHORT = {"iterations": 100}
LONG = {"iterations": 100_000}


def count(folder: Path, session_id: str, kind: str) -> int:
    return planted.kinds(folder, session_id).count(kind)


async def started(agent: Agent, session_id: str, **arguments: Any) -> str:
    """A profile job that is under way."""
    answer = await agent.call("profile_model", session_id=session_id, **arguments, wait_s=0)
    assert answer.status == "running"
    assert answer.data["suggested_wait_s"] > 0
    assert 0 <= answer.data["progress"] <= 1
    return answer.data["job_id"]


async def test_one_job_at_a_time_is_joined_waited_for_and_cancelled(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        of = {"session_id": await opened(agent, tmp_path)}
        job = await started(agent, of["session_id"], **LONG)
        assert await started(agent, of["session_id"], **LONG) == job
        refusal = (await agent.call("profile_model", **of, **SHORT)).refused("SESSION_BUSY")
        assert [(c["tool"], c["arguments"]["job_id"]) for c in refusal["next_calls"]] == [
            ("wait_for_job", job),
            ("cancel_job", job),
        ]
        (recommended,) = (await agent.call("recommend_next", **of)).ok()["recommendations"]
        assert (recommended["tool"], recommended["arguments"]["job_id"]) == ("wait_for_job", job)
        waiting = await agent.call("wait_for_job", **of, job_id=job, wait_s=0)
        assert (waiting.status, waiting.data["job_id"]) == ("running", job)

        assert (await agent.call("cancel_job", **of, job_id=job)).ok()["job"]["state"] == "cancelling"
        ended = await agent.finish("wait_for_job", **of, job_id=job)
        assert ended.status == "failed"
        assert "CANCELLED" in ended.data["message"]
        assert (await agent.call("cancel_job", **of, job_id=job)).ok()["job"]["state"] == "over"
        assert count(tmp_path, of["session_id"], "JobFailed") == 1
        assert (await agent.finish("profile_model", **of, **SHORT)).ok()["baseline"]["latency_ms"]["n"] == 100


async def test_who_does_not_say_how_long_waits_as_the_server_is_set(tmp_path: Path):
    async with at(replace(settings(tmp_path), max_wait_s=2.5)) as agent:
        of = {"session_id": await opened(agent, tmp_path)}
        job = await started(agent, of["session_id"], **LONG)
        busy = (await agent.call("profile_model", **of, **SHORT)).refused("SESSION_BUSY")
        (recommended,) = (await agent.call("recommend_next", **of)).ok()["recommendations"]
        for call in (busy["next_calls"][0], recommended):
            assert (call["tool"], call["arguments"]) == ("wait_for_job", {**of, "job_id": job})
            began = time.monotonic()
            waited = await agent.call("wait_for_job", **call["arguments"])
            assert (waited.status, waited.data["suggested_wait_s"]) == ("running", 2.5)
            assert 2.5 <= time.monotonic() - began < 45
        await agent.call("cancel_job", **of, job_id=job)
        await agent.finish("wait_for_job", **of, job_id=job)


async def test_a_job_outlives_its_server_and_is_recorded_once(tmp_path: Path):
    async with at(settings(tmp_path)) as first:
        of = {"session_id": await opened(first, tmp_path)}
        with anyio.move_on_after(0.5) as impatience:  # a client that gives up does not end the job either
            await first.call("profile_model", **of, **SHORT, wait_s=50)
        assert impatience.cancelled_caught
        (running,) = planted.recorded(tmp_path, of["session_id"]).running
        job = running.job_id
    assert count(tmp_path, of["session_id"], "BaselineMeasured") == 0
    measured: list[str] = []
    async with (
        at(settings(tmp_path)) as one,
        at(settings(tmp_path)) as other,
        anyio.create_task_group() as group,
    ):

        async def wait(agent: Agent) -> None:
            answer = await agent.finish("wait_for_job", **of, job_id=job)
            measured.append(answer.ok()["baseline"]["measurement_id"])

        for agent in (one, other, one):
            group.start_soon(wait, agent)
    assert len(measured) == 3
    assert len(set(measured)) == 1
    assert count(tmp_path, of["session_id"], "JobStarted") == 1
    assert count(tmp_path, of["session_id"], "BaselineMeasured") == 1


async def test_a_job_that_no_server_lived_to_start_is_started_by_the_next(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        session_id = await opened(agent, tmp_path)
    opening = planted.recorded(tmp_path, session_id).opened
    task = Profile(
        model_path=opening.files[0].path,
        evaluation=opening.evaluation,
        data_digest=opening.data.digest,
        iterations=100,
        threads=1,
        batch_size=1,
        stamp=Stamp.model_validate(worlds.STAMP),
        measurement_id="m",
    )
    spec = JobSpec(job_id="j1-abc", task=task, memory_mb=2000, timeout_s=60)
    request = identity("profile_model", {"iterations": 100, "threads": 1, "batch_size": 1})
    event = JobStarted(
        job_id="j1-abc", tool="profile_model", request=request, arguments={}, spec=spec.model_dump(mode="json")
    )
    planted.append(tmp_path, event, session_id=session_id)
    async with at(settings(tmp_path)) as agent:
        (await agent.finish("profile_model", session_id=session_id, **SHORT)).ok()
    assert count(tmp_path, session_id, "JobStarted") == 1
    assert count(tmp_path, session_id, "BaselineMeasured") == 1


async def test_what_chooses_by_time_does_so_on_the_baselines_threads(tmp_path: Path):
    begun, measured = worlds.profiled()
    assert isinstance(measured, BaselineMeasured)
    baseline = measured.baseline.model_copy(update={"threads": 3})
    planted.plant(tmp_path, begun, measured.model_copy(update={"baseline": baseline}), profiled=False)
    async with at(settings(tmp_path)) as agent:
        await agent.call("optimize_model", session_id=planted.SESSION, step={"technique": "session_options"}, wait_s=0)
    jobs = [r.event for r in planted.recorded(tmp_path).history if isinstance(r.event, JobStarted)]
    assert jobs[-1].spec["task"]["threads"] == 3


async def test_of_calls_that_come_at_once_no_two_jobs_run_at_once(tmp_path: Path):
    """Two servers and eight calls on one session whose files no worker can read: every job breaks and the next may start."""
    planted.plant(tmp_path)
    answers: list[str] = []
    async with (
        at(settings(tmp_path)) as one,
        at(settings(tmp_path)) as other,
        anyio.create_task_group() as group,
    ):

        async def optimize(agent: Agent, technique: str) -> None:
            step = {"technique": technique}
            answer = await agent.call("optimize_model", session_id=planted.SESSION, step=step, wait_s=0)
            answers.append(answer.data["refusal"]["code"] if answer.status == "refused" else answer.status)

        for agent in (one, other):
            for technique in ("simplify", "graph_optimize", "float16", "int8_dynamic"):
                group.start_soon(optimize, agent, technique)
    assert len(answers) == 8
    assert set(answers) <= {"running", "SESSION_BUSY", "BAD_FILE"}
    under_way: set[str] = set()
    for recorded in planted.recorded(tmp_path).history:
        if isinstance(recorded.event, JobStarted):
            assert not under_way
            under_way.add(recorded.event.job_id)
        elif job := ends(recorded.event):
            under_way.remove(job)
    assert "running" in answers and "SESSION_BUSY" in answers
