"""Which places belong to the original: pure, of paths whose links were resolved by whoever asks."""

from __future__ import annotations

from pathlib import Path


def is_the_originals(place: Path, original: Path) -> bool:
    """Whether an output `place` would be the original itself, lie inside it (an original may be a folder), or be the folder
    that it lies in. Both are resolved paths."""
    return place == original or original in place.parents or place == original.parent
