"""Timed calls. Imports little: what times a model shares the process, and the caches, with it."""

from __future__ import annotations

import gc
import itertools
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

Call = Callable[[], object]


@contextmanager
def no_collection() -> Iterator[None]:
    """Python's garbage collector off: its pauses are not the model's."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def time_calls(calls: Iterator[Call], n: int) -> list[float]:
    """The times of the next `n` calls, each on its own, in milliseconds."""
    clock = time.perf_counter_ns
    times = []
    for call in itertools.islice(calls, n):
        start = clock()
        call()
        times.append((clock() - start) / 1e6)
    return times


@dataclass(frozen=True)
class Times:
    """Of the same calls, in milliseconds: by the clock, and without what the kernel gave to other processes meanwhile."""

    clock: list[float]
    own: list[float]


def time_on_one_thread(calls: Iterator[Call], n: int) -> Times:
    """The times of the next `n` calls of a model that computes on one thread.

    A call that was preempted and did not itself wait counts its CPU time as its own: what is missing, others had. All other
    calls count as the clock has them, those too that waited for a device. Under a load of two spinners on two CPUs a 3 ms
    call loses 4 ms or nothing, so that a median of ten is one or the other.
    """
    clock, cpu, usage = time.perf_counter_ns, time.process_time_ns, resource.getrusage
    times = Times([], [])
    for call in itertools.islice(calls, n):
        before, cpu_start, start = usage(resource.RUSAGE_SELF), cpu(), clock()
        call()
        elapsed, used, after = clock() - start, cpu() - cpu_start, usage(resource.RUSAGE_SELF)
        preempted = after.ru_nivcsw > before.ru_nivcsw and after.ru_nvcsw == before.ru_nvcsw
        times.clock.append(elapsed / 1e6)
        times.own.append(min(elapsed, used) / 1e6 if preempted else elapsed / 1e6)
    return times


def warm_up(calls: Iterator[Call], *, least_calls: int, least_ms: float) -> float:
    """Calls until both are reached; returns the median of the later half of the times, in milliseconds."""
    times: list[float] = []
    while len(times) < least_calls or sum(times) < least_ms:
        times += time_calls(calls, 1)
    return statistics.median(times[len(times) // 2 :])
