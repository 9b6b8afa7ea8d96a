"""What the logs, the Markdown and the page write in the same way."""

from __future__ import annotations

from ..contract.measures import Measurement
from ..contract.text import untrusted

MB = 2**20
Rows = list[list[str]]


def table(header: list[str], rows: Rows) -> str:
    """A Markdown table. A file's name with a bar or a line's end in it stays in its cell."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(words: str) -> str:
    return untrusted(words, 600).replace("|", "\\|")


def memory_text(measured: Measurement) -> str:
    """The peak, and how much of it is the model's own."""
    peak = f"{measured.peak_memory_mb:.1f} MB"
    if measured.runtime_memory_mb is None:
        return peak
    return f"{peak} ({max(0.0, measured.peak_memory_mb - measured.runtime_memory_mb):.1f} MB over the runtime)"
