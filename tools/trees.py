"""The seeds' decision trees: what to try next for a kind of device, best first, each step with its reason and its rule.

Where a tree begins is policy data: the first format of the device. The steps are suggestions alone; whoever shows them
leaves out what the guardrails would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..contract.devices import DEVICES
from ..contract.steps import (
    ExportOnnx,
    Float16,
    GraphOptimize,
    Int8Dynamic,
    Int8Static,
    OpenVINO,
    PruneStructured,
    QatInt8,
    SessionOptions,
    Simplify,
    Step,
    TensorRT,
    TFLite,
    takes,
)
from ..state.session import Session

# Of operators by their names in any format: Conv, CONV_2D, aten.conv2d.default; MatMul, FULLY_CONNECTED, aten.linear.default.
CONVOLUTIONS = re.compile(r"conv(?!ert)", re.IGNORECASE)
PRODUCTS = re.compile(r"matmul|gemm|fully_?connected|\blinear|addmm|\bb?mm\b|\bdense|einsum|attention", re.IGNORECASE)


# The seeds' rungs of structured pruning: the next one only where the one before passed.
PRUNING_LADDER = (0.2, 0.3, 0.4)
TO_ONNX = ExportOnnx(technique="export_onnx")
# What comes first where the device's first format is to be made.
FIRST_CHOICE: dict[str, Step] = {
    "tensorrt": TensorRT(technique="tensorrt", precision="fp16"),
    "tflite": TFLite(technique="tflite", quantization="float16"),
}


# One scale a channel, and everything that makes 8 bits lose less without costing speed.
AUTOMATIC_INT8 = Int8Static(technique="int8_static")


class Suggestion(NamedTuple):
    step: Step
    because: str
    rule: str


@dataclass(frozen=True)
class Case:
    """What a tree branches by. `can`: whether a step could be taken on some model of the best one's chain."""

    session: Session
    can: Callable[[Step], bool]

    @property
    def format(self) -> str:
        """Of the best model so far."""
        return self.session.format_of(self.session.best)

    @property
    def precisions(self) -> set[str]:
        """What the best one's chain has gone through."""
        return {made.precision for made in self.session.chain(self.session.best)}

    @property
    def calibrated(self) -> bool:
        return self.session.opened.calibration_path is not None

    @property
    def trainable(self) -> bool:
        """A model of PyTorch's, and a set to train it on."""
        return self.session.opened.training_path is not None and self.session.opened.source_format == "pytorch"

    @property
    def convolutional(self) -> bool:
        return any(CONVOLUTIONS.search(name) for name in self.session.opened.model.operators)

    @property
    def products_alone(self) -> bool:
        """Matrix products and no convolutions."""
        operators = self.session.opened.model.operators
        return not self.convolutional and any(PRODUCTS.search(name) for name in operators)


def suggestions(case: Case) -> list[Suggestion]:
    """The tree of the session's device, then what takes training."""
    first = DEVICES[case.session.opened.target_device].deploys[0].format
    return [*_TREES[first](case), *_trained(case)]


def _trained(case: Case) -> Iterator[Suggestion]:
    """Training for INT8 where INT8 lost too much, and pruning rung by rung: where there is a training set."""
    if not case.trainable:
        return
    if any(r.artifact.precision == "int8" and r.validation and not r.passed for r in case.session.variants.values()):
        yield Suggestion(QatInt8(technique="qat_int8"), "INT8 lost too much: train the model for it, gently.", "INT8 that loses too much: QAT")  # fmt: skip
    rung = _rung(case.session)
    if rung is not None and not case.precisions & {"int8", "fp16"}:
        yield Suggestion(PruneStructured(technique="prune_structured", ratio=rung), f"Smaller dense layers: prune {rung:.0%}, fine-tune, and go on only while the accuracy holds.", "structured pruning: 20 %, 30 %, 40 %")  # fmt: skip


def _rung(session: Session) -> float | None:
    """The next rung of the ladder; None after one that did not pass."""
    pruned = [r for r in session.variants.values() if r.artifact.technique == "prune_structured"]
    if any(r.validation is not None and not r.passed for r in pruned):
        return None
    climbed = max((float(r.artifact.parameters.get("ratio", 0)) for r in pruned), default=0.0)
    return next((rung for rung in PRUNING_LADDER if rung > climbed + 1e-9), None)


def _jetson(case: Case) -> Iterator[Suggestion]:
    """TensorRT FP16, then INT8; what ONNX Runtime can do where no engine can be built here."""
    if case.precisions & {"int8"}:
        return
    engine = FIRST_CHOICE["tensorrt"]
    yield from _to_onnx(case, "jetson")
    if case.precisions <= {"fp32"}:
        yield Suggestion(Simplify(technique="simplify"), "Fewer nodes for TensorRT to read; the same function.", "jetson: simplify before TensorRT")  # fmt: skip
    yield Suggestion(engine, "FP16 is the first choice on a Jetson's GPU.", "jetson: TensorRT FP16 first")
    if case.calibrated:
        yield Suggestion(TensorRT(technique="tensorrt", precision="int8"), "INT8 where FP16 does not suffice; calibrate on 500 to 1,000 samples.", "jetson: then TensorRT INT8")  # fmt: skip
    if not case.can(engine):
        yield from _on_onnx_runtime(case, "jetson: ONNX Runtime where no engine can be built here")


def _arm(case: Case) -> Iterator[Suggestion]:
    """TFLite float16, then full INT8; ONNX Runtime's INT8 is the alternative."""
    if case.precisions & {"int8"}:
        return
    half = FIRST_CHOICE["tflite"]
    yield Suggestion(half, "Half the size and seldom any loss.", "arm: TFLite float16 first")
    if case.products_alone:
        yield Suggestion(TFLite(technique="tflite", quantization="dynamic"), "Mostly matrix products: dynamic INT8 needs no calibration.", "arm: MatMul nets, dynamic INT8")  # fmt: skip
    if case.calibrated:
        yield Suggestion(TFLite(technique="tflite", quantization="int8"), "Full INT8 where float16 does not suffice; calibrate on 200 to 500 samples.", "arm: then TFLite full INT8")  # fmt: skip
    yield from _to_onnx(case, "arm")
    if not case.can(half):
        yield from _on_onnx_runtime(case, "arm: ONNX Runtime where TFLite cannot be made here")
    elif case.calibrated:
        yield Suggestion(Int8Static(technique="int8_static"), "ONNX Runtime's INT8, where TFLite's does not do.", "arm: INT8 on ONNX Runtime, the alternative")  # fmt: skip


def _cpu(case: Case) -> Iterator[Suggestion]:
    """Graph optimization, then INT8 in every runtime that deploys there, since which is fastest differs from net to net,
    then other runtimes in float and half precision."""
    if case.precisions & {"int8"}:
        yield from (other for other in _int8_on_cpu(case) if other.step.technique != "int8_static")
        yield from _session_options(case)
        yield from _float_in_openvino()
        return
    yield from _to_onnx(case, "cpu")
    yield Suggestion(GraphOptimize(technique="graph_optimize"), "Graph optimization costs no accuracy; it shows what is left to gain.", "cpu: graph optimization first")  # fmt: skip
    yield from _int8_on_cpu(case)
    yield from _session_options(case)
    yield from _float_in_openvino()
    half = TFLite(technique="tflite", quantization="float16") if case.format in ("tflite", "tensorflow") else Float16(technique="float16")  # fmt: skip
    yield Suggestion(half, "Half the size; on a CPU seldom faster.", "cpu: half precision for size")


def _float_in_openvino() -> Iterator[Suggestion]:
    """After INT8 too: what is not quantized (recurrent layers, say) may gain more by another runtime."""
    yield Suggestion(OpenVINO(technique="openvino", precision="fp32"), "The same function in another runtime: no accuracy is at stake.", "cpu: OpenVINO in float32")  # fmt: skip
    yield Suggestion(OpenVINO(technique="openvino", precision="fp16", float_layers="bfloat16"), "Half precision that some CPUs compute in: twice as fast there, and no calibration.", "cpu: OpenVINO in bfloat16")  # fmt: skip


def _int8_in_openvino() -> Iterator[Suggestion]:
    """What NNCF leaves in float is in float32 and then, as OpenVINO by itself would compute, in bfloat16: on MiniLM that was 9 %
    slower, and recurrent layers may gain by it."""
    yield Suggestion(OpenVINO(technique="openvino", precision="int8"), "INT8 of the float model in OpenVINO, whose kernels are made for x86 CPUs.", "cpu: INT8 in OpenVINO too")  # fmt: skip
    yield Suggestion(OpenVINO(technique="openvino", precision="int8", float_layers="bfloat16"), "The same with what stays in float in bfloat16, which some CPUs compute in.", "cpu: INT8 in OpenVINO, the rest in bfloat16")  # fmt: skip


def _int8_on_cpu(case: Case) -> Iterator[Suggestion]:
    """What the operator mix suggests first: dynamic for matrix products, static for convolutions, where dynamic INT8 of ONNX
    Runtime is ten times slower."""
    dynamic = TFLite(technique="tflite", quantization="dynamic")
    if case.products_alone:
        yield Suggestion(Int8Dynamic(technique="int8_dynamic"), "Mostly matrix products: dynamic INT8 needs no calibration.", "cpu: MatMul nets, dynamic INT8")  # fmt: skip
        yield Suggestion(dynamic, "Mostly matrix products: dynamic INT8 needs no calibration.", "cpu: MatMul nets, dynamic INT8 in TFLite")  # fmt: skip
    if case.calibrated:
        yield _static(case, "cpu: static INT8 with calibration")
        yield from _int8_in_openvino()
    if not case.products_alone:
        if case.calibrated:
            yield Suggestion(TFLite(technique="tflite", quantization="int8"), "INT8 of the float model in TFLite, whose kernels win on some convolutional nets.", "cpu: INT8 in TFLite too")  # fmt: skip
        yield Suggestion(dynamic, "INT8 weights without calibration; in TFLite convolutions gain by it.", "cpu: dynamic INT8 in TFLite")  # fmt: skip


def _session_options(case: Case) -> Iterator[Suggestion]:
    if case.products_alone and case.format == "onnx":
        yield Suggestion(SessionOptions(technique="session_options"), "ONNX Runtime's fusions of matrix products and norms do not pay on every CPU: this times the model with and without.", "cpu: MatMul nets, session options")  # fmt: skip


def _to_onnx(case: Case, branch: str) -> Iterator[Suggestion]:
    if takes("export_onnx", case.format):
        yield Suggestion(TO_ONNX, f"Of {case.format} models little else can be made directly; ONNX is the same function.", f"{branch}: to ONNX first")  # fmt: skip


def _on_onnx_runtime(case: Case, rule: str) -> Iterator[Suggestion]:
    yield Suggestion(GraphOptimize(technique="graph_optimize"), "Graph optimization costs no accuracy.", rule)
    if case.products_alone:
        yield Suggestion(Int8Dynamic(technique="int8_dynamic"), "Mostly matrix products: dynamic INT8 needs no calibration.", rule)  # fmt: skip
    if case.calibrated:
        yield _static(case, rule)
    yield Suggestion(Float16(technique="float16"), "Half the size.", rule)


def _static(case: Case, rule: str) -> Suggestion:
    step = AUTOMATIC_INT8
    if any(r.artifact.technique == step.technique for r in case.session.variants.values()):
        return Suggestion(
            step,
            "INT8 with ranges chosen on held-out calibration samples, equalized channels and corrected biases loses less.",
            "gentler quantization",
        )
    reason = (
        "Convolutions: static INT8; dynamic INT8 is slower there."
        if case.convolutional
        else "Static INT8 fixes the scales beforehand."
    )
    return Suggestion(step, reason, rule)


_TREES: dict[str, Callable[[Case], Iterator[Suggestion]]] = {"tensorrt": _jetson, "tflite": _arm, "onnx": _cpu}
