"""What the logs, the Markdown and the page write in the same way."""

from __future__ import annotations

from ..contract.measures import Measurement

MB = 2**20
Rows = list[list[str]]


def table(header: list[str], rows: Rows) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def memory_text(measured: Measurement) -> str:
    """The peak, and how much of it is the model's own."""
    peak = f"{measured.peak_memory_mb:.1f} MB"
    if measured.runtime_memory_mb is None:
        return peak
    return f"{peak} ({max(0.0, measured.peak_memory_mb - measured.runtime_memory_mb):.1f} MB over the runtime)"
