"""The cores that a measured model runs on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


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
