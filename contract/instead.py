"""What to ask for where a step's format is wrong for the device: the same precision in a format that deploys there."""

from __future__ import annotations

from .devices import DEVICES
from .measures import Precision
from .steps import (
    ExportOnnx,
    Float16,
    GraphOptimize,
    Int8Dynamic,
    Int8Static,
    OpenVINO,
    Step,
    TensorRT,
    TFLite,
    needs_calibration,
    precision_asked,
    takes,
)


def instead(step: Step, device: str, parent: str) -> list[Step]:
    """The steps of this version that give what `step` was to give, in the device's formats, best first; `parent` is the
    format that they start from. None of them asks for a calibration set where `step` does not."""
    asked, calibrated = precision_asked(step.technique, step.model_dump()), _calibrated(step)
    made = [
        _making(d.format, asked, calibrated, parent)
        for d in DEVICES[device].deploys
        if asked or d.format != parent or d.format == "onnx"  # ONNX alone has steps that change nothing but the graph
    ]
    return [s for s in made if s and takes(s.technique, parent)]


def deployable(device: str, parent: str) -> list[Step]:
    """The steps that make a model in the format `parent` one that deploys on the device, at its own precision."""
    made = [_making(d.format, None, False, parent) for d in DEVICES[device].deploys if d.format != parent]
    return [s for s in made if s and takes(s.technique, parent)]


def _calibrated(step: Step) -> bool:
    return needs_calibration(step.technique, step.model_dump())


def _making(format: str, precision: Precision | None, calibrated: bool, parent: str) -> Step | None:
    """The step that makes this format at a precision (None: that of the parent); None where there is no such step."""
    if format == "onnx":
        return _onnx(precision, calibrated, parent)
    if format == "tflite":
        choices = {"int8": "int8" if calibrated else "dynamic", "fp16": "float16", None: "float32"}
        return TFLite.model_validate({"technique": "tflite", "quantization": choices[precision]})
    if precision == "int8" and not calibrated:
        return None
    if format == "openvino":
        return OpenVINO(technique="openvino", precision=precision or "fp32")
    if format == "tensorrt":
        return TensorRT(technique="tensorrt", precision=precision or "fp16")
    return None


def _onnx(precision: Precision | None, calibrated: bool, parent: str) -> Step:
    if takes("export_onnx", parent):
        return ExportOnnx(technique="export_onnx")
    if precision == "int8":
        return Int8Static(technique="int8_static") if calibrated else Int8Dynamic(technique="int8_dynamic")
    return Float16(technique="float16") if precision == "fp16" else GraphOptimize(technique="graph_optimize")
