"""A fresh process that times models as others do, one after the other, or side by side to learn a true difference.

`python -P -m edgeopt.benchmarks.honesty_process`, started by `fresh_process.ask`. It shares no timing code with the
product's design: what that design is checked by must not have its faults.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import onnxruntime
from edgeopt.contract.record import Record
from edgeopt.engine.measure import inputs
from edgeopt.engine.measure.fresh_process import ask
from edgeopt.engine.measure.reply import reply

Call = Callable[[], object]

_DROPPED_CALLS = 5
_LEAST_BLOCK_MS = 30.0


class InSequence(Record):
    """Each model on its own, one after the other, on one input: at least `warm_calls` and `warm_ms` that do not count,
    then at least `calls` and `ms` that do."""

    models: list[str]
    inputs: str
    threads: int
    warm_calls: int = 0
    warm_ms: float = 0
    calls: int = 1
    ms: float = 0


class SideBySide(Record):
    """The first model against the second in blocks of calls, in the order ABBA BAAB, for `ms` in all."""

    models: tuple[str, str]
    inputs: str
    threads: int
    ms: float


class Times(Record):
    """`times_ms`: every timed call of each model in turn. `log_ratios`: log(second / first), one for each four blocks."""

    times_ms: list[list[float]] = []
    log_ratios: list[float] = []


def measure(task: InSequence | SideBySide, tmp: Any) -> Times:
    """The times that a fresh process measured."""
    return ask("edgeopt.benchmarks.honesty_process", task, Times, tmp)


def _time_for(call: Call, calls: int, ms: float) -> list[float]:
    """Times of calls in milliseconds, until there are so many and their sum is so large."""
    times: list[float] = []
    total = 0.0
    while len(times) < calls or total < ms:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000)
        total += times[-1]
    return times


def _open(path: str, threads: int, feeds: inputs.Feeds) -> Call:
    """A session with ONNX Runtime's defaults, but for the number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feeds)


def _in_sequence(task: InSequence) -> Times:
    (feeds,) = inputs.load(task.inputs, most=1)
    measured = []
    for path in task.models:
        call = _open(path, task.threads, feeds)
        _time_for(call, task.warm_calls, task.warm_ms)
        measured.append(_time_for(call, task.calls, task.ms))
    return Times(times_ms=measured)


def _side_by_side(task: SideBySide) -> Times:
    (feeds,) = inputs.load(task.inputs, most=1)
    first, second = (_open(path, task.threads, feeds) for path in task.models)
    _time_for(second, 5, 200)
    call_ms = statistics.median(_time_for(first, 5, 200))
    calls = max(10, math.ceil(_LEAST_BLOCK_MS / call_ms))
    ratios = []
    for index in range(max(2, math.ceil(task.ms / (4 * calls * call_ms)))):
        order = (first, second, second, first) if index % 2 == 0 else (second, first, first, second)
        logs = [(call is second, _block(call, calls)) for call in order]
        ratios.append(sum(log if is_second else -log for is_second, log in logs) / 2)
    return Times(log_ratios=ratios)


def _block(call: Call, calls: int) -> float:
    """The logarithm of a block's lower quartile: the call undisturbed, which is what a true difference is of."""
    _time_for(call, _DROPPED_CALLS, 0)
    return math.log(statistics.quantiles(_time_for(call, calls, 0), n=4)[0])


def work(task: dict[str, Any]) -> dict[str, Any]:
    times = _side_by_side(SideBySide(**task)) if "calls" not in task else _in_sequence(InSequence(**task))
    return times.model_dump()


if __name__ == "__main__":
    reply(work)
