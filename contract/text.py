"""Text from files, models and callers, made safe to show: one line, no control characters, capped."""

from __future__ import annotations


def untrusted(text: str, limit: int = 120) -> str:
    """`text` on one line, without control or formatting characters, at most `limit` characters long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
