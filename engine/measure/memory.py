"""Peak memory of one model, in processes of its own, and of the runtime alone."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper

from ...contract.record import Record
from . import memory_process
from .fresh_process import ask
from .inputs import save

# Where the kernel puts the heap decides whether a freed buffer can be given back: of identical processes a third held 3 %
# more (none without address randomization). The least of five is the same from one measurement to the next.
PROCESSES = 5
# From one least of five to the next a model's own share moved by 0.1 MB: of less than 1 MB a ratio would say nothing.
LEAST_MB = 1.0


class MemoryTask(Record):
    """`inputs`: the file of `inputs.save`, of which the first batch is run. Without a `model` only the runtime of `format`
    is loaded."""

    model: str | None
    format: str = ""
    inputs: str
    threads: int


class Peak(Record):
    kb: int


def peak_memory_mb(model: str | Path, inputs: Path, threads: int, tmp: Path) -> float:
    """Peak resident memory, in MB (2**20 bytes), of a fresh process: Python, numpy, the runtime, this model, 3 inferences.

    The least of five processes.
    """
    return _least_mb(MemoryTask(model=str(model), inputs=str(inputs), threads=threads), tmp)


def _least_mb(task: MemoryTask, tmp: Path) -> float:
    return min(ask(memory_process.__name__, task, Peak, tmp).kb for _ in range(PROCESSES)) / 1024


def runtime_memory_mb(format: str, threads: int, tmp: Path) -> float:
    """The own footprint of a format's runtime: the peak memory of a process whose model hands on one number, in ONNX; of
    one that has loaded the runtime, for the other formats."""
    if format != "onnx":
        return _least_mb(MemoryTask(model=None, format=format, inputs="", threads=threads), tmp)
    numbers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "nothing", numbers[:1], numbers[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with TemporaryDirectory(dir=tmp) as folder:
        onnx.save(model, Path(folder, "nothing.onnx"))
        save([{"x": np.zeros(1, np.float32)}], Path(folder, "nothing.npz"))
        return peak_memory_mb(Path(folder, "nothing.onnx"), Path(folder, "nothing.npz"), threads, tmp)


def memory_ratio(baseline_mb: float, variant_mb: float, runtime_mb: float) -> float:
    """Baseline / variant of what each model takes over the runtime's footprint; what is under 1 MB counts as 1 MB."""
    return max(baseline_mb - runtime_mb, LEAST_MB) / max(variant_mb - runtime_mb, LEAST_MB)
