"""The hostile load: processes of normal priority that spin and rest in turn, 2 to 7 seconds each, at random.

`python -P -m edgeopt.benchmarks.honesty_load SEED` is one of them; it ends with the process that started it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

LEAST_S, MOST_S = 2.0, 7.0


@contextmanager
def hostile_load(seed: int) -> Iterator[None]:
    """As many spinners as this process has CPUs: at times none of them works, at times every CPU has another job."""
    command = [sys.executable, "-P", "-m", "edgeopt.benchmarks.honesty_load"]
    spinners = [subprocess.Popen([*command, str(seed + index)]) for index in range(len(os.sched_getaffinity(0)))]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def spin_and_rest(dice: random.Random, parent: int) -> None:
    spinning = dice.random() < 0.5
    until = time.monotonic() + dice.uniform(0, MOST_S)
    while os.getppid() == parent:
        if time.monotonic() > until:
            spinning = not spinning
            until = time.monotonic() + dice.uniform(LEAST_S, MOST_S)
        if spinning:
            sum(range(100_000))
        else:
            time.sleep(0.05)


if __name__ == "__main__":
    spin_and_rest(random.Random(int(sys.argv[1])), os.getppid())
