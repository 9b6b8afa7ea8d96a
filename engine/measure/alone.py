"""One model timed in a process of its own: a runtime may settle its threads with the first model that a process opens, and
the job has opened this one before, on one thread, to judge its decisions."""

from __future__ import annotations

from pathlib import Path

from ...contract.measures import Latency, MachineCondition
from ...contract.record import Record
from . import alone_process
from .condition import Condition
from .fresh_process import ask
from .latency import summarize
from .machine import Load
from .watch import condition


class AloneTask(Record):
    """`inputs`: the file of `inputs.save`, whose batches are fed in rotation, one a call, `iterations` times."""

    model: str
    inputs: str
    threads: int
    iterations: int


class AloneTimes(Record):
    """Every timed call in ms, the machine meanwhile."""

    times_ms: list[float]
    load: Load


def time_alone(task: AloneTask, tmp: Path) -> tuple[Latency, MachineCondition]:
    """Single calls on real inputs in rotation, after a warm-up of at least 10 calls and half a second.

    Raises JobProblem MEASUREMENT_FAILED where the process died.
    """
    before = Condition.read()
    timed = ask(alone_process.__name__, task, AloneTimes, tmp)
    return summarize(timed.times_ms), condition(before, Condition.read(), timed.load)
