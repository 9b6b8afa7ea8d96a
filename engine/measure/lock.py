"""One measurement at a time on a machine: a kernel lock that every session, server, workspace and user shares.

The lock is on the kernel's own folder of the CPUs. That folder is there before any of us and for everyone, nobody can
replace or delete it, and to lock it is no write: a sandboxed worker may. The kernel releases it when its holder dies.
A container with a sysfs of its own has a lock of its own; what runs beside it shows as foreign CPU time.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

MACHINE = Path("/sys/devices/system/cpu")
# Where sysfs is not mounted.
INSTEAD = Path("/")
LOOK_EVERY_S = 0.5


@contextmanager
def one_at_a_time(report: Callable[[str], None], place: Path = MACHINE) -> Iterator[None]:
    """Has the machine to itself, among measurements; calls `report` while it waits for that.

    It waits as long as the other takes: each measurement is part of a job, which has its time limit. Not to be nested: the
    inner one would wait for the outer one.
    """
    folder = os.open(place if place.is_dir() else INSTEAD, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _taken(folder):
            report("waiting for another measurement on this machine to end")
            time.sleep(LOOK_EVERY_S)
        yield
    finally:
        os.close(folder)


def _taken(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
