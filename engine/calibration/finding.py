"""What the audit of a calibration set finds: a sentence with its evidence, and whether the set can be used all the same."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`unfit`: the set is refused for this alone; else the caller is told."""

    unfit: bool
    text: str


def percent(share: float) -> str:
    """A share of 1 as people read it; what is not nothing never reads 0 %."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"
