"""The record of what the machine's condition was while something was measured."""

from __future__ import annotations

from ...contract.measures import MachineCondition
from .condition import Condition
from .machine import Load


def condition(before: Condition, after: Condition, load: Load) -> MachineCondition:
    """Of a measurement between two moments; `load` is of the time that was measured."""
    governors = dict.fromkeys(name for name in (before.governor, after.governor) if name)
    throttled = None
    if before.throttling is not None and after.throttling is not None:
        throttled = load.throttled or before.throttling.until(after.throttling)
    return MachineCondition(
        load=(before.load, after.load),
        foreign=round(load.foreign, 4),
        steal=round(load.steal, 4),
        mhz=None if before.mhz is None or after.mhz is None else (round(before.mhz), round(after.mhz)),
        governor=", then ".join(governors) or None,
        throttled=throttled,
    )
