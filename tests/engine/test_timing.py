"""What is counted of a call while others want the CPU too."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import repeat

import pytest
from edgeopt.engine.measure.timing import time_on_one_thread

WORK_MS = 10.0


@pytest.fixture
def shared_cpu() -> Iterator[None]:
    """This thread and a process that never rests, on one CPU."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()
        os.sched_setaffinity(0, allowed)


def compute() -> None:
    ends = time.process_time_ns() + WORK_MS * 1e6
    while time.process_time_ns() < ends:
        pass


def wait() -> None:
    time.sleep(WORK_MS / 1000)


@pytest.mark.usefixtures("shared_cpu")
def test_what_others_had_of_a_preempted_call_is_not_its_own():
    times = time_on_one_thread(repeat(compute), 20)
    assert statistics.median(times.own) == pytest.approx(WORK_MS, rel=0.1)
    assert sum(times.clock) > 1.3 * sum(times.own)


@pytest.mark.usefixtures("shared_cpu")
def test_a_call_that_waits_by_itself_counts_whole():
    times = time_on_one_thread(repeat(wait), 20)
    assert times.own == times.clock


def test_a_call_that_nothing_interrupts_counts_by_the_clock():
    times = time_on_one_thread(repeat(compute), 20)
    assert all(own <= clock for own, clock in zip(times.own, times.clock, strict=True))
    assert statistics.median(times.own) == pytest.approx(WORK_MS, rel=0.1)
