"""Whose the CPU time was while something was timed, and whether the CPU was throttled meanwhile."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from .condition import Throttling, governor

# /proc/stat, first line: user nice system idle iowait irq softirq steal (guest time is within user and nice).
_IDLE = (3, 4)
_STEAL = 7

MOST_FOREIGN = 0.10
MOST_STEAL = 0.02


@dataclass(frozen=True)
class Load:
    """Seconds of a span of time: the machine's capacity (elapsed x CPUs), what others used of it, what was stolen; and
    whether the CPU was throttled, as far as the kernel shows it."""

    capacity_s: float = 0.0
    foreign_s: float = 0.0
    steal_s: float = 0.0
    throttled: bool = False

    def __add__(self, other: Load) -> Load:
        return Load(
            self.capacity_s + other.capacity_s,
            self.foreign_s + other.foreign_s,
            self.steal_s + other.steal_s,
            self.throttled or other.throttled,
        )

    @property
    def foreign(self) -> float:
        """The share of the machine's CPU time that others used."""
        return self.foreign_s / self.capacity_s if self.capacity_s else 0.0

    @property
    def steal(self) -> float:
        """The share of the machine's CPU time that the hypervisor took."""
        return self.steal_s / self.capacity_s if self.capacity_s else 0.0

    @property
    def slowed(self) -> bool:
        """By what no process of this machine does: over 2 % of the time taken by the hypervisor, or throttling."""
        return self.throttled or self.steal > MOST_STEAL

    @property
    def disturbed(self) -> bool:
        """Slowed, or others used more than 10 % of the machine's CPU time."""
        return self.slowed or self.foreign > MOST_FOREIGN


@dataclass(frozen=True)
class Reading:
    """CPU seconds since boot: capacity, busy (all processes) and stolen; and this process' own, since it started."""

    capacity_s: float
    busy_s: float
    steal_s: float
    own_s: float
    throttling: Throttling | None = None

    def until(self, later: Reading) -> Load:
        """What the machine did between two readings. Clock ticks (10 ms) limit it: spans below 0.2 s say little."""
        busy = later.busy_s - self.busy_s
        return Load(
            capacity_s=later.capacity_s - self.capacity_s,
            foreign_s=max(0.0, busy - (later.own_s - self.own_s)),
            steal_s=later.steal_s - self.steal_s,
            throttled=bool(self.throttling and later.throttling and self.throttling.until(later.throttling)),
        )


def read() -> Reading:
    """The CPU clocks of the machine (proc(5), /proc/stat) and of this process, and its throttling."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    seconds = [tick / os.sysconf("SC_CLK_TCK") for tick in ticks]
    idle = sum(seconds[field] for field in _IDLE)
    return Reading(
        capacity_s=sum(seconds),
        busy_s=sum(seconds) - idle - seconds[_STEAL],
        steal_s=seconds[_STEAL],
        own_s=time.process_time(),
        throttling=Throttling.read(),
    )


def describe() -> str:
    """The CPU's model name and, where the kernel shows it, its frequency governor (`performance`, `schedutil` ...)."""
    name = governor()
    return f"{_processor()}, governor {name}" if name else _processor()


def _processor() -> str:
    """The architecture where the kernel names no model (most ARM boards)."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.split(":", 1)[1].strip()
    return os.uname().machine
