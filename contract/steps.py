"""The techniques that OPTIMIZE offers: each a typed step, discriminated by `technique`, with field-standard defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from .measures import Precision
from .record import Record

Ratio = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Simplify(Record):
    technique: Literal["simplify"]


class GraphOptimize(Record):
    technique: Literal["graph_optimize"]


class ExportOnnx(Record):
    technique: Literal["export_onnx"]
    opset: Annotated[int, Field(ge=11)] | None = None


class Float16(Record):
    technique: Literal["float16"]


class Int8Dynamic(Record):
    technique: Literal["int8_dynamic"]
    per_channel: bool = True


class Int8Static(Record):
    """With minmax, no kept nodes and the last two off it is plain ONNX Runtime static Q/DQ."""

    technique: Literal["int8_static"]
    calibrator: Literal["auto", "minmax", "entropy", "percentile", "mse"] = "minmax"
    calibration_samples: Annotated[int, Field(ge=1, le=100_000)] = 256
    per_channel: bool = True
    keep_float: Literal["auto"] | list[str] = []
    equalize: bool = False
    bias_correction: bool = False


class Int4Weights(Record):
    technique: Literal["int4_weights"]
    block_size: Literal[16, 32, 64, 128, 256] = 32
    algorithm: Literal["rtn", "hqq", "gptq", "k_quant"] = "rtn"


class MixedPrecision(Record):
    technique: Literal["mixed_precision"]
    max_float_layers: Count | None = None


class PruneStructured(Record):
    technique: Literal["prune_structured"]
    ratio: Ratio = 0.2
    finetune_epochs: Count = 5


class PruneUnstructured(Record):
    technique: Literal["prune_unstructured"]
    sparsity: Ratio = 0.5
    finetune_epochs: Annotated[int, Field(ge=0)] = 0


class QatInt8(Record):
    technique: Literal["qat_int8"]
    epochs: Annotated[int, Field(ge=1, le=5)] = 3
    learning_rate: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5


class Distill(Record):
    technique: Literal["distill"]
    student_path: str | None = None
    epochs: Count = 5


class TFLite(Record):
    technique: Literal["tflite"]
    quantization: Literal["float32", "float16", "dynamic", "int8"] = "float16"


class TensorRT(Record):
    technique: Literal["tensorrt"]
    precision: Literal["fp16", "int8"] = "fp16"
    workspace_mb: Count = 1024


class OpenVINO(Record):
    technique: Literal["openvino"]
    precision: Literal["fp32", "fp16", "int8"] = "fp16"


Step = Annotated[
    Simplify
    | GraphOptimize
    | ExportOnnx
    | Float16
    | Int8Dynamic
    | Int8Static
    | Int4Weights
    | MixedPrecision
    | PruneStructured
    | PruneUnstructured
    | QatInt8
    | Distill
    | TFLite
    | TensorRT
    | OpenVINO,
    Field(discriminator="technique"),
]

# The formats of the parents that a technique takes, and of what it makes; ONNX for those that are not here.
TAKES: dict[str, frozenset[str]] = {
    "export_onnx": frozenset({"pytorch", "tensorflow"}),
    "tflite": frozenset({"pytorch", "tensorflow", "onnx", "tflite"}),
    "openvino": frozenset({"onnx", "tensorflow", "tflite"}),
    "tensorrt": frozenset({"onnx"}),
}
MAKES: dict[str, str] = {"tflite": "tflite", "openvino": "openvino", "tensorrt": "tensorrt"}
_EXACT = frozenset({"simplify", "graph_optimize", "export_onnx"})
_PRECISIONS: dict[str, Precision] = {
    "float16": "fp16",
    "fp16": "fp16",
    "int8_dynamic": "int8",
    "int8_static": "int8",
    "qat_int8": "int8",
    "dynamic": "int8",
    "int8": "int8",
}
BUILT: frozenset[str] = frozenset({"simplify", "graph_optimize", "float16", "int8_dynamic", "int8_static"})


def takes(technique: str, format: str) -> bool:
    """Whether a technique applies to a parent of this format."""
    return format in TAKES.get(technique, {"onnx"})


def _choice(technique: str, parameters: Mapping[str, Any]) -> str:
    """What a conversion was asked for: `tflite` has a quantization, `openvino` and `tensorrt` a precision."""
    return str(parameters.get("quantization") or parameters.get("precision") or technique)


def claims_exact(technique: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a step claims to compute the same function: it passes by parity, on any number of samples."""
    return technique in _EXACT or _choice(technique, parameters) in ("float32", "fp32")


def precision_asked(technique: str, parameters: Mapping[str, Any]) -> Precision | None:
    """The precision that a step is to give; None where it keeps that of its parent."""
    return _PRECISIONS.get(_choice(technique, parameters))


def needs_calibration(technique: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a step finds its ranges on a calibration set."""
    return technique == "int8_static" or (technique in MAKES and _choice(technique, parameters) == "int8")


def switched_on_too_early(step: Step) -> str | None:
    """The reason why this step, or one of its options, cannot run in this version; None where it can."""
    if step.technique not in BUILT:
        return f"the technique {step.technique!r} is not built in this version"
    if isinstance(step, Int8Static):
        if step.calibrator != "minmax":
            return f"the calibrator {step.calibrator!r} is not built in this version (calibrator='minmax' is)"
        if step.keep_float == "auto":
            return "keep_float='auto' is not built in this version (a list of node names is)"
        if step.equalize or step.bias_correction:
            return "equalize and bias_correction are not built in this version (leave them off)"
    return None
