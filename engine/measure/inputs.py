"""Real inputs for timing: a few batches in rotation, and the file that takes them to a measuring process."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Feeds = dict[str, np.ndarray]


def save(batches: list[Feeds], path: Path) -> None:
    """Writes the batches to an .npz; `load` reads them back in order."""
    arrays = {f"{index}.{name}": array for index, batch in enumerate(batches) for name, array in batch.items()}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load(path: str | Path, most: int | None = None) -> list[Feeds]:
    """The batches that `save` wrote, the first `most` of them; the others are not read."""
    batches: dict[int, Feeds] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            index, name = key.split(".", 1)
            if most is None or int(index) < most:
                batches.setdefault(int(index), {})[name] = arrays[key]
    return [batches[index] for index in sorted(batches)]
