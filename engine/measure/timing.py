"""Timed calls. Imports little: what times a model shares the process, and the caches, with it."""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


def warm_up(calls: Iterator[Call], *, least_calls: int, least_ms: float) -> float:
    """Calls until both are reached; returns the median of the later half of the times, in milliseconds."""
    times: list[float] = []
    while len(times) < least_calls or sum(times) < least_ms:
        times += time_calls(calls, 1)
    return statistics.median(times[len(times) // 2 :])
