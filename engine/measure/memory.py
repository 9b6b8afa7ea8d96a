"""Peak memory of one model, in processes of its own."""

from __future__ import annotations

import statistics
from pathlib import Path

from ...contract.record import Record
from . import memory_process
from .fresh_process import ask

# Of five processes one held 3 % less than the others: the median of three leaves such a one out.
PROCESSES = 3


class MemoryTask(Record):
    """`inputs`: the file of `inputs.save`, of which the first batch is run."""

    model: str
    inputs: str
    threads: int


class Peak(Record):
    kb: int


def peak_memory_mb(model: str | Path, inputs: Path, threads: int, tmp: Path) -> float:
    """Peak resident memory, in MB (2**20 bytes), of a fresh process: Python, numpy, the runtime, this model, 3 inferences."""
    task = MemoryTask(model=str(model), inputs=str(inputs), threads=threads)
    peaks = [ask(memory_process.__name__, task, Peak, tmp).kb for _ in range(PROCESSES)]
    return statistics.median(peaks) / 1024
