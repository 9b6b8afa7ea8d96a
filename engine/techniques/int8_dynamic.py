"""Weights in 8 bits, activations quantized anew at every run: no calibration, and meant for matrix products."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from ...contract.measures import Interface
from ...contract.steps import Int8Dynamic
from ..bench import Bench
from ..data.dataset import Dataset
from ..models import onnx_file
from .base import Made, refuse_unless_float32, write
from .preparing import prepare


def run(
    parent: Path, step: Int8Dynamic, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    model = onnx_file.load(parent)
    refuse_unless_float32(onnx_file.precision(model), "int8_dynamic")
    prepared = prepare(model, bench.tmp)
    _forget_weight_shapes(prepared)
    source, quantized = bench.tmp / "prepared.onnx", bench.tmp / "quantized.onnx"
    onnx.save(prepared, source)
    quantize_dynamic(source, quantized, weight_type=QuantType.QInt8, per_channel=step.per_channel)
    made = onnx_file.read(quantized)
    write(made, model, out)
    return Made("int8" if onnx_file.precision(made) == "int8" else onnx_file.precision(made), _notes(made))


def _forget_weight_shapes(model: onnx.ModelProto) -> None:
    """The quantizer turns Gemm into MatMul by transposing the weight, and would trip over the old shape."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)


def _notes(model: onnx.ModelProto) -> list[str]:
    found = onnx_file.operators(model)
    notes = []
    if count := found["ConvInteger"]:
        notes.append(
            f"{count} convolutions are quantized dynamically, which is often much slower than float on a CPU:"
            " the benchmark will tell; int8_static is the usual choice for convolutions"
        )
    if onnx_file.precision(model) != "int8":
        notes.append("no operator of this model can be quantized dynamically: nothing is in 8 bits")
    return notes
