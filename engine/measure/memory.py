"""Peak memory of one model, in processes of its own."""

from __future__ import annotations

from pathlib import Path

from ...contract.record import Record
from . import memory_process
from .fresh_process import ask

# Where the kernel puts the heap decides whether a freed buffer can be given back: of identical processes a third held 3 %
# more (none without address randomization). The least of five is the same from one measurement to the next.
PROCESSES = 5


class MemoryTask(Record):
    """`inputs`: the file of `inputs.save`, of which the first batch is run."""

    model: str
    inputs: str
    threads: int


class Peak(Record):
    kb: int


def peak_memory_mb(model: str | Path, inputs: Path, threads: int, tmp: Path) -> float:
    """Peak resident memory, in MB (2**20 bytes), of a fresh process: Python, numpy, the runtime, this model, 3 inferences.

    The least of five processes.
    """
    task = MemoryTask(model=str(model), inputs=str(inputs), threads=threads)
    peaks = [ask(memory_process.__name__, task, Peak, tmp).kb for _ in range(PROCESSES)]
    return min(peaks) / 1024
