"""The ONNX graph that TensorRT builds from: precision is in the graph (strong typing), for version 10 and 11 alike.

TensorRT 10 still has precision flags and calibrators, 11 has neither. Both build a strongly typed network, in which each
operator computes in the type that the graph gives it: one road, and what runs is what was measured to be accurate.
"""

from __future__ import annotations

from onnx import ModelProto

from ...contract.steps import TensorRT
from ..bench import Bench
from ..models import onnx_file
from ..problems import JobProblem
from ..quantization.samples import Samples
from .float16 import halved
from .symmetric_qdq import objections, symmetric_qdq

# The least, the best and the largest batch that an engine with a dynamic batch axis is planned for.
BATCHES = (1, 1, 32)

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def typed_graph(model: ModelProto, step: TensorRT, calibration: Samples | None, bench: Bench) -> ModelProto:
    """The model in the step's precision, its inputs and outputs in their own types. It may be changed into it.

    Raises JobProblem: UNAVAILABLE for a parent in a precision that the step does not start from;
    CALIBRATION_REQUIRED for int8 without a set.
    """
    has = onnx_file.precision(model)
    if has == step.precision == "int8":
        return _require_symmetric(model)
    if has == step.precision:
        return model
    if has != "fp32":
        raise JobProblem(
            "UNAVAILABLE",
            f"tensorrt with precision={step.precision!r} does not apply to a parent that is {has} already: run it on the"
            " baseline or on a kept variant in fp32 (parent='baseline')",
        )
    if step.precision == "fp16":
        return halved(model)
    if calibration is None:
        raise JobProblem(
            "CALIBRATION_REQUIRED",
            "tensorrt with precision='int8' finds its ranges on a calibration set, and there is none: open a session with"
            " calibration_path",
        )
    return symmetric_qdq(model, calibration, step.calibration_samples, bench)


def _require_symmetric(model: ModelProto) -> ModelProto:
    if found := objections(model):
        raise JobProblem(
            "UNAVAILABLE",
            f"this parent is quantized as TensorRT does not take it: {'; '.join(found)}. TensorRT's int8 is symmetric: run"
            " tensorrt with precision='int8' on the float parent (parent='baseline'), which quantizes it so",
        )
    return model


def profile_shapes(model: ModelProto) -> dict[str, Shapes]:
    """The least, best and largest shape of every input with dynamic axes, by name.

    Raises JobProblem UNAVAILABLE where an axis other than the batch is dynamic: an engine is planned for sizes, and nothing
    says which.
    """
    found = {}
    for info in onnx_file.inputs(model):
        if None in info.shape[1:]:
            axes = [axis for axis, size in enumerate(info.shape) if axis and size is None]
            raise JobProblem(
                "UNAVAILABLE",
                f"the axes {axes} of the input {info.name!r} are dynamic, and TensorRT plans an engine for given sizes: export"
                " the model with these axes fixed (texts padded to one length); the batch axis may stay dynamic",
            )
        if None in info.shape:
            least, best, most = ((batch, *(size or 0 for size in info.shape[1:])) for batch in BATCHES)
            found[info.name] = (least, best, most)
    return found
