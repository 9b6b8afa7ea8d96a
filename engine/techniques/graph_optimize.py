"""ONNX Runtime's graph optimizations that stay within the standard: constants folded, dead and doubled nodes removed,
batch norms, adds and pads merged into their neighbours. Higher levels write nodes that only one CPU and version know."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
from onnx import ModelProto

from ...contract.measures import Interface
from ...contract.steps import GraphOptimize
from ..bench import Bench
from ..data.dataset import Dataset
from ..models import onnx_file
from ..problems import JobProblem
from .base import Made, write


def run(
    parent: Path, step: GraphOptimize, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    model = onnx_file.load(parent)
    if onnx_file.precision(model) == "fp16":
        raise JobProblem(
            "UNAVAILABLE",
            "graph_optimize would take this half-precision model back to float: on a CPU, ONNX Runtime casts around"
            " every operator and would write that down; use the technique simplify instead",
        )
    optimized = optimize(model, bench.tmp / "graph_optimized.onnx")
    added = onnx_file.foreign_domains(optimized) - onnx_file.foreign_domains(model)
    if added:
        raise JobProblem(
            "UNAVAILABLE",
            f"ONNX Runtime {ort.__version__} would put operators of {sorted(added)} into this model, which other"
            " runtimes do not know; use the technique simplify instead",
        )
    write(optimized, model, out)
    return Made(onnx_file.precision(optimized))


def optimize(model: ModelProto, scratch: Path) -> ModelProto:
    """The model after ORT_ENABLE_BASIC, by way of the file `scratch`."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(scratch)
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx_file.read(scratch)
