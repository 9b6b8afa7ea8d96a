"""onnxsim: constant folding and fusions of standard operators, without its fusions into one runtime's own operators."""

from __future__ import annotations

from pathlib import Path

import onnxsim
from onnx import ModelProto

from ...contract.measures import Interface
from ...contract.steps import Simplify
from ...contract.text import untrusted
from ..bench import Bench
from ..data.dataset import Dataset
from ..models import onnx_file
from .base import Made, write

# Fusions that put com.microsoft operators into the graph, which TensorRT and TensorFlow Lite do not know.
NOT_PORTABLE = ["fuse_attention", "fuse_gqa"]


def run(
    parent: Path, step: Simplify, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    model = onnx_file.load(parent)
    notes = []
    try:
        simplified, wrong = simplify(model), "they would have put operators of one runtime alone into the graph"
    except RuntimeError as error:  # an assertion of its own, on attributes that may be left out
        simplified, wrong = None, f"they do not cope with this model ({untrusted(str(error), 120)})"
    if simplified is None or onnx_file.foreign_domains(simplified) - onnx_file.foreign_domains(model):
        simplified = simplify(model, fuse=False)
        notes.append(f"onnxsim's fusions were left off: {wrong}")
    write(simplified, model, out)
    return Made(onnx_file.precision(simplified), notes)


def simplify(model: ModelProto, fuse: bool = True) -> ModelProto:
    """The model after onnxsim. `certify` is off: it would run or not depending on what else is installed."""
    options = {"skipped_optimizers": NOT_PORTABLE, "perform_optimization": fuse, "certify": False}
    simplified, _ = onnxsim.simplify(model, **options)
    return simplified
