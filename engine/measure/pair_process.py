"""One process of the paired design: two models side by side, timed in alternating blocks.

`python -P -m edgeopt.engine.measure.pair_process`, started by `pairing`.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import cycle
from typing import Any

import numpy as np

from ..runtimes.opening import open_session
from . import inputs, machine
from .cores import cores_for
from .reply import BrokenModel, reply
from .timing import Times, no_collection, time_calls, time_on_one_thread, warm_up

# Each quad is two blocks of each model in the order ABBA, in which a linear drift cancels. Of five, a 20 % trimmed mean
# leaves out the highest and the lowest.
QUADS = 5
BLOCK_MS = 20.0
BLOCK_CALLS = 10
# Ten calls of a slow model would make a quad longer than the load of the machine stays the same.
LONG_BLOCK_MS = 100.0
LEAST_CALLS = 3
# After a switch the other model's weights fill the caches: the first call cost +20 to 29 %, the fifth nothing.
DROPPED_CALLS = 4
DROPPED_MS = 20.0
CHECKED_INPUTS = 3
# After 75 ms the first quad is as fast as the later ones, to 0.3 %; with 150 ms it was no closer.
WARM_UP_MS = 75


def block_calls(call_ms: float, least: int) -> int:
    """The calls that make a block: 20 ms and 10 calls, fewer than 10 where they take over 100 ms, at least 3."""
    many = min(BLOCK_CALLS, int(LONG_BLOCK_MS / call_ms))
    return max(math.ceil(BLOCK_MS / call_ms), many, LEAST_CALLS, least)


def dropped_calls(call_ms: float) -> int:
    """The calls after a switch that are not counted: 4, fewer where a call alone is long enough to refill the caches."""
    return min(DROPPED_CALLS, math.ceil(DROPPED_MS / call_ms))


class Side:
    """One model of the pair, fed with real inputs in rotation."""

    def __init__(self, name: str, path: str, threads: int, cores: list[int], batches: list[inputs.Feeds]):
        self._name, self._one_thread = name, threads == 1
        self._session = open_session(path, threads, cores)
        self._batches = batches
        self._calls = cycle([self._session.call(batch) for batch in batches])
        self._block = self._dropped = 0
        self.times: list[float] = []

    def warm_up(self, least_calls: int) -> None:
        """Keeps the outputs for `check_unchanged`, warms up, and sets the block by the time of a call."""
        self._first = self._outputs()
        call_ms = warm_up(self._calls, least_calls=5, least_ms=WARM_UP_MS)
        self._block, self._dropped = block_calls(call_ms, least_calls), dropped_calls(call_ms)

    def time_block(self) -> float:
        """Times a block of calls; returns the logarithm of the median of what they took of their own."""
        time_calls(self._calls, self._dropped)
        times = self._time(self._block)
        self.times += times.clock
        return math.log(np.median(times.own))

    def check_unchanged(self) -> None:
        """A BrokenModel where the same inputs no longer give the same outputs."""
        if not all(map(_alike, self._first, self._outputs())):
            raise BrokenModel(f"The {self._name} gave other outputs on the same inputs after it was timed than before.")

    def _time(self, calls: int) -> Times:
        if self._one_thread:
            return time_on_one_thread(self._calls, calls)
        times = time_calls(self._calls, calls)
        return Times(clock=times, own=times)

    def _outputs(self) -> list[np.ndarray]:
        outputs = [output for batch in self._batches[:CHECKED_INPUTS] for output in self._session.run(batch)]
        arrays = [output for output in outputs if isinstance(output, np.ndarray)]
        if not all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f"):
            raise BrokenModel(
                f"The {self._name} gives NaN or infinite outputs on real inputs: its speed means nothing."
            )
        return arrays


def _alike(before: np.ndarray, now: np.ndarray) -> bool:
    """Equal, for floats to a relative 1e-3: threads may share a sum out otherwise from one run to the next."""
    if before.shape != now.shape:
        return False
    return np.allclose(before, now, rtol=1e-3, atol=1e-5) if before.dtype.kind == "f" else bool((before == now).all())


def time_pair(task: dict[str, Any]) -> dict[str, Any]:
    """Times both models of a `pairing.PairTask`; the answer is a `pairing.PairTimes`.

    The process' index decides which model is opened first (its memory is laid out first) and which is timed first.
    """
    index = task["index"]
    names = ["baseline", "variant"]
    with cores_for(task["threads"]) as cores, no_collection():
        opening = names if index % 2 == 0 else names[::-1]
        sides = {
            name: Side(name, task[name], task["threads"], cores, inputs.load(task[f"{name}_inputs"]))
            for name in opening
        }
        for name in opening:
            sides[name].warm_up(task["least_calls"])
        first, second = names if index // 2 % 2 == 0 else names[::-1]
        before = machine.read()
        quads = []
        for _ in range(QUADS):
            order = (first, second, second, first)
            blocks = [(name, sides[name].time_block()) for name in order]
            quads.append(sum(log if name == "baseline" else -log for name, log in blocks) / 2)
        load = before.until(machine.read())
        for side in sides.values():
            side.check_unchanged()
    return {
        "index": index,
        "quads": quads,
        "baseline_ms": sides["baseline"].times,
        "variant_ms": sides["variant"].times,
        "load": asdict(load),
    }


if __name__ == "__main__":
    reply(time_pair)
