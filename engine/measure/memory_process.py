"""A process that holds the runtime and one model, runs a few inferences, and says what it held at most.

`python -P -m edgeopt.engine.measure.memory_process`, started by `memory`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..runtimes.opening import load_runtime, open_session
from . import inputs
from .cores import cores_for
from .reply import reply

INFERENCES = 3


def weigh(task: dict[str, Any]) -> dict[str, Any]:
    """Loads and runs the model of a `memory.MemoryTask`; the answer is a `memory.Peak`."""
    if task["model"] is None:
        load_runtime(task["format"])
        return {"kb": _peak_kb()}
    (batch,) = inputs.load(task["inputs"], most=1)
    with cores_for(task["threads"]) as cores:
        session = open_session(task["model"], task["threads"], cores)
        for _ in range(INFERENCES):
            session.run(batch)
    return {"kb": _peak_kb()}


def _peak_kb() -> int:
    """VmHWM of proc(5). getrusage's ru_maxrss would not do: it starts from the peak of the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


if __name__ == "__main__":
    reply(weigh)
