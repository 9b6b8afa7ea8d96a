"""What a technique runs with that may not be installed here, and how to come by it. Nothing is imported to say so."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..contract.steps import (
    Distill,
    ExportOnnx,
    Int4Weights,
    OpenVINO,
    PruneStructured,
    QatInt8,
    Step,
    TFLite,
    made_format,
)
from .explaining.kernels import has_bfloat16
from .runtimes.catalog import missing, version
from .toolchains import catalog as toolchains


class Converter(NamedTuple):
    """A distribution that converts or quantizes, and runs nothing. `extra`: of edgeopt, that brings it."""

    distribution: str
    extra: str
    does: str


ONNXSCRIPT = Converter("onnxscript", "torch", "exports PyTorch models to ONNX")
TF2ONNX = Converter("tf2onnx", "tensorflow", "exports TensorFlow models to ONNX")
NNCF = Converter("nncf", "openvino", "quantizes to INT8 for OpenVINO")
ONNX_IR = Converter("onnx-ir", "torch", "ONNX Runtime's 4-bit quantizer works with")
TORCH = Converter("torch", "torch", "the algorithm hqq computes with")
QUANTIZER = Converter("ai-edge-quantizer", "tflite", "quantizes TFLite models")
TORCH_PRUNING = Converter("torch-pruning", "torch", "finds what must be pruned together")
TORCHAO = Converter("torchao", "torch", "trains PyTorch models for INT8")
CONVERTERS = (ONNXSCRIPT, TF2ONNX, NNCF, QUANTIZER, TORCH_PRUNING, TORCHAO)

# What makes TFLite of a parent in these formats.
_TOOLCHAINS = {"pytorch": "litert-torch", "onnx": "onnx2tf"}


def lacking(step: Step, parent: str, folder: Path | None = None) -> str | None:
    """What to install before this step can be taken on a parent of this format, or what the machine lacks; None where
    nothing is missing. `folder`: where the toolchains lie."""
    if isinstance(step, OpenVINO) and step.float_layers == "bfloat16" and not has_bfloat16():
        return (
            "this CPU has no bfloat16 (avx512_bf16, amx_bf16), and OpenVINO would compute in float32 all the same: take"
            " float_layers='float32'"
        )
    makes = made_format(step.technique, parent)
    for format in {makes: None, parent: None}:
        if reason := missing(format):
            return reason
    for needed in _converters(step, parent):
        if version(needed.distribution) is None:
            return f"{needed.distribution} is not installed, which {needed.does}: pip install 'edgeopt[{needed.extra}]'"
    return toolchains.missing(_TOOLCHAINS[parent], folder) if makes == "tflite" and parent in _TOOLCHAINS else None


def _converters(step: Step, parent: str) -> list[Converter]:
    match step:
        case ExportOnnx():
            return [TF2ONNX if parent == "tensorflow" else ONNXSCRIPT]
        case QatInt8():
            return [TORCHAO, ONNXSCRIPT]
        case PruneStructured() | Distill(student_path=None):
            return [TORCH_PRUNING]
        case OpenVINO(precision="int8"):
            return [NNCF]
        case Int4Weights(algorithm="hqq"):
            return [ONNX_IR, TORCH]
        case Int4Weights():
            return [ONNX_IR]
        case TFLite(quantization="float32"):
            return []
        case TFLite():
            return [QUANTIZER]
        case _:
            return []
