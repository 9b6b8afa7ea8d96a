"""TensorFlow Lite of any parent that a converter takes: first a float32 model, then, where it was asked for, smaller weights.

Whatever made the float32 model, one quantizer makes the rest of it (`tflite_quantizing` has the figures).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ...contract.measures import Interface
from ...contract.steps import TFLite
from ..bench import Bench
from ..data.dataset import Dataset
from ..models.model_file import ModelFile, open_file
from ..problems import JobProblem
from ..runtimes.catalog import missing, version
from .base import Made, refuse_unless_float32

# By the parent's format. Each brings a framework, so it is imported when it is wanted.
_CONVERTERS = {"tensorflow": "tflite_tensorflow", "pytorch": "tflite_toolchain", "onnx": "tflite_toolchain"}


class Converter(Protocol):
    def convert(self, parent: ModelFile, out: Path, interface: Interface, bench: Bench) -> list[str]:
        """Writes a float32 .tflite to `out`; returns what the caller should know, a sentence each. JobProblem."""
        ...


def run(parent: Path, step: TFLite, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench) -> Made:
    _require(step)
    source = open_file(parent)
    refuse_unless_float32(source.precision, "tflite")
    if source.format == "tflite" and step.quantization == "float32":
        raise JobProblem(
            "UNAVAILABLE",
            "the parent is a float32 TensorFlow Lite model already, so quantization='float32' would change nothing: take"
            " float16, dynamic or int8",
        )
    notes: list[str] = []
    floats = parent
    if source.format != "tflite":
        floats = out if step.quantization == "float32" else bench.tmp / "float32.tflite"
        bench.report(0.1, f"converting {source.format} to TensorFlow Lite")
        notes += _converter(source.format).convert(source, floats, interface, bench)
    if step.quantization != "float32":
        from .tflite_quantizing import quantize

        notes += quantize(floats, out, step, calibration, interface, bench)
    return Made(open_file(out).precision, notes)


def _require(step: TFLite) -> None:
    """JobProblem UNAVAILABLE where what the step needs of the extra `tflite` is not installed."""
    lacking = missing("tflite")
    if lacking is None and step.quantization != "float32" and version("ai-edge-quantizer") is None:
        lacking = (
            "ai-edge-quantizer is not installed, which makes float16, dynamic and int8: pip install 'edgeopt[tflite]'"
        )
    if lacking is not None:
        raise JobProblem("UNAVAILABLE", lacking)


def _converter(format: str) -> Converter:
    return cast(Converter, import_module(f".{_CONVERTERS[format]}", __package__))
