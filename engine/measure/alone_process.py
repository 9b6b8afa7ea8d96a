"""The process that times one model.

`python -P -m edgeopt.engine.measure.alone_process`, started by `alone`.
"""

from __future__ import annotations

from dataclasses import asdict
from itertools import cycle
from typing import Any

from ..runtimes.opening import open_session
from . import inputs, machine
from .cores import cores_for
from .reply import reply
from .timing import no_collection, time_calls, warm_up


def time_one(task: dict[str, Any]) -> dict[str, Any]:
    """Times the model of an `alone.AloneTask`; the answer is an `alone.AloneTimes`."""
    batches = inputs.load(task["inputs"])
    with cores_for(task["threads"]) as cores, no_collection():
        session = open_session(task["model"], task["threads"], cores)
        calls = cycle([session.call(batch) for batch in batches])
        warm_up(calls, least_calls=10, least_ms=500)
        before = machine.read()
        times = time_calls(calls, task["iterations"])
        load = before.until(machine.read())
    return {"times_ms": times, "load": asdict(load)}


if __name__ == "__main__":
    reply(time_one)
