"""The techniques that OPTIMIZE offers: each a typed step, discriminated by `technique`, with field-standard defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .measures import Precision
from .record import Record

Ratio = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
# What has not learned its few samples by then learns them by heart.
MOST_EPOCHS = 100
Epochs = Annotated[int, Field(ge=1, le=MOST_EPOCHS)]


class Simplify(Record):
    technique: Literal["simplify"]


class GraphOptimize(Record):
    technique: Literal["graph_optimize"]


class SessionOptions(Record):
    """ONNX Runtime's; auto times them."""

    technique: Literal["session_options"]
    choice: Literal["auto", "no_norm_fusions", "extended", "basic"] = "auto"


class ExportOnnx(Record):
    technique: Literal["export_onnx"]
    opset: Annotated[int, Field(ge=11)] | None = None


class Float16(Record):
    technique: Literal["float16"]


class Int8Dynamic(Record):
    technique: Literal["int8_dynamic"]
    per_channel: bool = True


class Int8Static(Record):
    """By default all that loses less without costing speed. With minmax and the last two off it is plain ONNX Runtime Q/DQ."""

    technique: Literal["int8_static"]
    calibrator: Literal["auto", "minmax", "entropy", "percentile", "mse"] = "auto"
    calibration_samples: Annotated[int, Field(ge=1, le=100_000)] = 256
    per_channel: bool = True
    keep_float: Literal["auto"] | list[str] = []
    equalize: bool = True
    bias_correction: bool = True


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
    finetune_epochs: Epochs = 5


class PruneUnstructured(Record):
    technique: Literal["prune_unstructured"]
    sparsity: Ratio = 0.5
    finetune_epochs: Annotated[int, Field(ge=0, le=MOST_EPOCHS)] = 0


class QatInt8(Record):
    technique: Literal["qat_int8"]
    epochs: Annotated[int, Field(ge=1, le=5)] = 3
    learning_rate: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5


class Distill(Record):
    technique: Literal["distill"]
    student_path: str | None = None
    ratio: Ratio = 0.5
    epochs: Epochs = 5


class TFLite(Record):
    technique: Literal["tflite"]
    quantization: Literal["float32", "float16", "dynamic", "int8"] = "float16"
    calibration_samples: Annotated[int, Field(ge=1, le=100_000)] = 256


class TensorRT(Record):
    technique: Literal["tensorrt"]
    precision: Literal["fp16", "int8"] = "fp16"
    workspace_mb: Count = 1024
    calibration_samples: Annotated[int, Field(ge=1, le=100_000)] = 256

    @model_validator(mode="before")
    @classmethod
    def _no_old_habits(cls, given: Any) -> Any:
        """What TensorRT's builder took up to version 10, by the names that its examples have taught."""
        habits = sorted(set(given) & set(_OLD_HABITS)) if isinstance(given, Mapping) else []
        if habits:
            raise ValueError("; ".join({_OLD_HABITS[habit]: None for habit in habits}))
        return given


_NO_FLAGS = (
    "TensorRT 11 has no precision flags, its networks are strongly typed: the precision is in the ONNX graph, where"
    " precision='fp16' or 'int8' puts it"
)
_NO_CALIBRATORS = (
    "TensorRT 11 has no calibrators and no calibration caches: precision='int8' writes symmetric Q/DQ into the ONNX graph,"
    " calibrated on the session's calibration set"
)
_OLD_HABITS = dict.fromkeys(
    (
        "flags",
        "builder_flags",
        "fp16",
        "int8",
        "best",
        "strict_types",
        "obey_precision_constraints",
        "layer_precisions",
    ),
    _NO_FLAGS,
) | dict.fromkeys(("calibrator", "int8_calibrator", "calib", "calibration_cache", "cache_file"), _NO_CALIBRATORS)


class OpenVINO(Record):
    """`float_layers`: what is not in 8 bits computes in; bfloat16 is faster on CPUs that have it, and less exact."""

    technique: Literal["openvino"]
    precision: Literal["fp32", "fp16", "int8"] = "fp16"
    float_layers: Literal["float32", "bfloat16"] = "float32"
    calibration_samples: Annotated[int, Field(ge=1, le=100_000)] = 256


Step = Annotated[
    Simplify
    | GraphOptimize
    | SessionOptions
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
    "prune_structured": frozenset({"pytorch"}),
    "prune_unstructured": frozenset({"pytorch"}),
    "qat_int8": frozenset({"pytorch"}),
    "distill": frozenset({"pytorch"}),
}
# The techniques that change weights by training, or by pruning what was trained.
TRAINED: frozenset[str] = frozenset({"prune_structured", "prune_unstructured", "qat_int8", "distill"})
PRUNING: frozenset[str] = frozenset({"prune_structured", "prune_unstructured"})
MAKES: dict[str, str] = {"tflite": "tflite", "openvino": "openvino", "tensorrt": "tensorrt"}
# Those that make a model in the format of their parent, to be converted later.
_KEEPING: frozenset[str] = frozenset({"prune_structured", "prune_unstructured", "distill"})
_EXACT = frozenset({"simplify", "graph_optimize", "session_options", "export_onnx"})
_PRECISIONS: dict[str, Precision] = {
    "float16": "fp16",
    "fp16": "fp16",
    "int8_dynamic": "int8",
    "int8_static": "int8",
    "mixed_precision": "int8",
    "qat_int8": "int8",
    "dynamic": "int8",
    "int8": "int8",
}


def takes(technique: str, format: str) -> bool:
    """Whether a technique applies to a parent of this format."""
    return format in TAKES.get(technique, {"onnx"})


def _choice(technique: str, parameters: Mapping[str, Any]) -> str:
    """What a conversion was asked for: `tflite` has a quantization, `openvino` and `tensorrt` a precision."""
    return str(parameters.get("quantization") or parameters.get("precision") or technique)


def claims_exact(technique: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a step claims to compute the same function: it passes by parity, on any number of samples."""
    if parameters.get("float_layers") == "bfloat16":
        return False
    return technique in _EXACT or _choice(technique, parameters) in ("float32", "fp32")


def precision_asked(technique: str, parameters: Mapping[str, Any]) -> Precision | None:
    """The precision that a step is to give; None where it keeps that of its parent."""
    return _PRECISIONS.get(_choice(technique, parameters))


def needs_calibration(technique: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a step finds its ranges on a calibration set."""
    if technique == "int4_weights":
        return parameters.get("algorithm") == "gptq"
    return technique in ("int8_static", "mixed_precision") or (
        technique in MAKES and _choice(technique, parameters) == "int8"
    )


def searches(step: Step) -> bool:
    """Whether a step chooses among candidates by their accuracy, for which it takes labelled calibration data."""
    return isinstance(step, MixedPrecision) or (isinstance(step, Int8Static) and step.keep_float == "auto")


def needs_training(technique: str, parameters: Mapping[str, Any]) -> bool:
    """Whether a step trains, for which it takes a training set."""
    return technique in TRAINED and parameters.get("finetune_epochs") != 0


def made_format(technique: str, parent: str) -> str:
    """The format of what a technique makes of a parent in this one."""
    return parent if technique in _KEEPING else MAKES.get(technique, "onnx")
