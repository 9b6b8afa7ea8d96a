"""What benchmark_variant asks for, refuses and says; and a measurement that waits for another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from edgeopt.contract.measures import Comparison, MachineCondition, Noise, Sustained
from edgeopt.engine.jobs import Benchmark, JobSpec
from edgeopt.engine.measure.lock import one_at_a_time
from edgeopt.state.events import BaselineMeasured, JobStarted
from edgeopt.tools.log import benchmark_log
from edgeopt.tools.measuring import LEAST_SUSTAINED_S

from ..state import worlds
from . import planted
from .agents import at, settings
from .finished import opened

pytestmark = pytest.mark.anyio
V1 = {"session_id": planted.SESSION, "variant_id": "v1"}
BUSY = MachineCondition(
    load=(0.5, 1.25), foreign=0.31, steal=0.004, mhz=(2400, 1500), governor="ondemand", throttled=True
)
SUSTAINED = Sustained(
    seconds=240,
    calls=120_000,
    window_s=60,
    first_ms=2.0,
    last_ms=2.5,
    slowdown=0.25,
    ci95=(0.2, 0.3),
    verdict="slower",
    disturbed=False,
    machine=BUSY,
)


async def task(folder: Path, **arguments: Any) -> Benchmark:
    """What the job of benchmark_variant is told."""
    async with at(settings(folder)) as agent:
        await agent.call("benchmark_variant", **V1, **arguments)
    (job,) = [
        r.event
        for r in planted.recorded(folder).history
        if isinstance(r.event, JobStarted) and r.event.tool == "benchmark_variant"
    ]
    assert job.arguments["sustained_seconds"] == arguments.get("sustained_seconds", 0)
    told = JobSpec.model_validate(job.spec).task
    assert isinstance(told, Benchmark)
    return told


@pytest.mark.parametrize(("threads", "most_s"), [(1, 30), (2, 60)])
async def test_the_time_budget_depends_on_the_threads(threads: int, most_s: float, tmp_path: Path):
    started, measured = worlds.profiled(5)
    assert isinstance(measured, BaselineMeasured)
    baseline = measured.baseline.model_copy(update={"threads": threads})
    again = [started, measured.model_copy(update={"baseline": baseline})]
    planted.plant(tmp_path, *again, *planted.variant(tmp_path, 1, None))
    told = await task(tmp_path)
    assert (told.threads, told.sustained_seconds) == (threads, 0)
    assert most_s / 2 < told.seconds < most_s


async def test_a_constant_load_is_part_of_the_call(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, None))
    assert (await task(tmp_path, sustained_seconds=240)).sustained_seconds == 240


@pytest.mark.parametrize("seconds", [0.5, LEAST_SUSTAINED_S - 0.1])
async def test_too_short_a_load_is_refused(seconds: float, tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, None))
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("benchmark_variant", **V1, sustained_seconds=seconds)).refused("INVALID_ARGUMENT")
        assert f"give {LEAST_SUSTAINED_S} or more" in refusal["message"]


async def test_a_load_longer_than_a_job_may_take_is_refused(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, None))
    async with at(settings(tmp_path, job_minutes=2)) as agent:
        refusal = (await agent.call("benchmark_variant", **V1, sustained_seconds=120)).refused("INVALID_ARGUMENT")
        assert "--job-minutes" in refusal["message"]


def comparison(**changes: Any) -> Comparison:
    return worlds.comparison().model_copy(update=changes)


async def test_the_log_says_what_disturbed_a_comparison():
    noise = Noise(half_width=0.01, processes=12, disturbed=True, replaced=4, machine=BUSY)
    log = benchmark_log("v1", comparison(noise=noise))
    assert "12 processes (4 more set aside as disturbed)" in log
    assert "disturbed this run" in log
    assert "load 0.50 -> 1.25, other work 31%, steal 0.4%, clock 2400 -> 1500 MHz, governor ondemand, THROTTLED" in log
    quiet = benchmark_log("v1", comparison())
    assert "disturbed" not in quiet
    assert "set aside" not in quiet


async def test_the_log_says_what_a_constant_load_did():
    log = benchmark_log("v1", comparison(sustained=SUSTAINED))
    assert "(240 s, 120000 calls): 2.000 ms in the first 60 s, 2.500 ms in the last: +25.0%" in log
    assert "(95 % interval +20.0% to +30.0%): slower" in log
    disturbed = SUSTAINED.model_copy(update={"disturbed": True, "verdict": "undecided"})
    assert "undecided, because other work disturbed it" in benchmark_log("v1", comparison(sustained=disturbed))


async def test_the_log_says_where_a_percentile_has_too_few_runs():
    assert "2.000 (of 200 runs: no P99 bound) ms" in benchmark_log("v1", comparison())
    measured = worlds.measurement()
    many = measured.model_copy(update={"latency_ms": measured.latency_ms.model_copy(update={"p99_is_bound": True})})
    assert "no P99 bound" not in benchmark_log("v1", comparison(baseline=many, variant=many))


async def test_memory_is_shown_over_the_runtimes_own():
    measured = worlds.comparison().baseline.model_copy(update={"peak_memory_mb": 61.25, "runtime_memory_mb": 54.0})
    assert "61.2 MB (7.2 MB over the runtime)" in benchmark_log("v1", comparison(baseline=measured))


async def test_a_measurement_waits_for_the_one_that_runs(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        of = {"session_id": await opened(agent, tmp_path)}
        with one_at_a_time(lambda why: None), anyio.fail_after(60):
            answer = await agent.call("profile_model", **of, iterations=100, wait_s=0)
            while answer.data["message"] != "waiting for another measurement on this machine to end":
                assert answer.status == "running"
                answer = await agent.call("wait_for_job", **of, job_id=answer.data["job_id"], wait_s=0.1)
        measured = (await agent.finish("wait_for_job", **of, job_id=answer.data["job_id"])).ok()["baseline"]
        assert measured["machine"]["load"]
        assert measured["runtime_memory_mb"] > 20
