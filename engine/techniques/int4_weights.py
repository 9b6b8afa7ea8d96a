"""Weights of matrix products in 4 bits, one scale a block of them; activations stay as they are.

For models whose time goes into reading weights (transformers, one token or one sentence at a time). Convolutions have no
such kernel in ONNX Runtime, and stay in float.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto
from onnxruntime.quantization import CalibrationDataReader, QuantFormat
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    GPTQWeightOnlyQuantConfig,
    HQQWeightOnlyQuantConfig,
    KQuantWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
    WeightOnlyQuantConfig,
)
from onnxruntime.quantization.onnx_model import ONNXModel

from ...contract.measures import Interface
from ...contract.steps import Int4Weights
from ..bench import Bench
from ..data.dataset import Dataset
from ..models import onnx_file
from ..problems import JobProblem
from ..runtimes.runner import open_runner
from ..samples import batches, evenly
from .base import Made, refuse_unless_float32, write
from .preparing import prepare

# The kernels compute such products in 8 bits, with activations quantized a row at a time.
_IN_8_BITS = 4
# GPTQ keeps every activation of every layer that it looks at.
_MOST_SAMPLES = 64


def run(
    parent: Path, step: Int4Weights, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    model = onnx_file.load(parent)
    refuse_unless_float32(onnx_file.precision(model), "int4_weights")
    prepared = _with_matmuls(prepare(model, bench.tmp))
    names = _weighted(prepared)
    if not names:
        raise JobProblem("UNAVAILABLE", _nothing_to_do(prepared))
    quantizer = MatMulNBitsQuantizer(
        prepared,
        block_size=step.block_size,
        is_symmetric=True,
        accuracy_level=_IN_8_BITS,
        nodes_to_exclude=[n.name for n in prepared.graph.node if n.op_type == "MatMul" and n.name not in names],
        algo_config=_config(step, parent, calibration, interface),
    )
    bench.report(0.2, f"quantizing the weights of {len(names)} matrix products to 4 bits ({step.algorithm})")
    quantizer.process()
    made = _graph(quantizer.model)
    write(made, model, out)
    return Made("int4", _notes(made, len(names)))


def _with_matmuls(model: ModelProto) -> ModelProto:
    """The quantizer knows MatMul alone: a Gemm with a weight becomes one, and an Add."""
    rewritten = ONNXModel(model)
    rewritten.replace_gemm_with_matmul()
    for index, node in enumerate(rewritten.model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return rewritten.model


def _weighted(model: ModelProto) -> list[str]:
    """The products with a constant matrix of float32: the quantizer would break one of other numbers."""
    constants = model.graph.initializer
    matrices = {t.name for t in constants if len(t.dims) == 2 and t.data_type == TensorProto.FLOAT}
    return [node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in matrices]


def _nothing_to_do(model: ModelProto) -> str:
    convolutions = onnx_file.operators(model)["Conv"]
    has = f"this model has none (it has {convolutions} convolutions)" if convolutions else "this model has none"
    return f"int4_weights quantizes the weights of matrix products, and {has}: take int8_static, or float16 for size"


def _config(
    step: Int4Weights, parent: Path, calibration: Dataset | None, interface: Interface
) -> WeightOnlyQuantConfig:
    match step.algorithm:
        case "rtn":
            return DefaultWeightOnlyQuantConfig(
                block_size=step.block_size,
                is_symmetric=True,
                accuracy_level=_IN_8_BITS,
                quant_format=QuantFormat.QOperator,
            )
        case "hqq":
            return HQQWeightOnlyQuantConfig(block_size=step.block_size)
        case "k_quant":
            return KQuantWeightOnlyQuantConfig()
        case "gptq":
            if calibration is None:
                raise JobProblem(
                    "CALIBRATION_REQUIRED", "gptq weighs errors by calibration samples, and there are none"
                )
            return GPTQWeightOnlyQuantConfig(_Samples(parent, calibration, interface), block_size=step.block_size)


class _Samples(CalibrationDataReader):
    """Calibration samples, as often as they are asked for: the quantizer reads them once for each layer, from a copy."""

    def __init__(self, parent: Path, calibration: Dataset, interface: Interface):
        runner = open_runner(parent, interface=interface)
        chosen = evenly(len(calibration), _MOST_SAMPLES)
        self._fed = [runner.native(fed) for fed in batches(calibration, runner.inputs, chosen)]
        self._left: Iterator[dict[str, np.ndarray]] = iter(())

    def __iter__(self) -> _Samples:
        self._left = iter(self._fed)
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._left)

    def get_next(self) -> dict[str, np.ndarray]:
        return next(self._left, {})

    def __deepcopy__(self, _: object) -> _Samples:
        return self


def _graph(made: object) -> ModelProto:
    """The quantizer's algorithms leave a model of their own class, or the graph itself."""
    return made if isinstance(made, ModelProto) else made.model  # pyright: ignore[reportAttributeAccessIssue]


def _notes(made: ModelProto, products: int) -> list[str]:
    found = onnx_file.operators(made)
    quantized = found["com.microsoft:MatMulNBits"]
    notes = [
        f"the weights of {quantized} of {products} matrix products are in 4 bits, their activations in 8 while they run"
    ]
    if convolutions := found["Conv"]:
        notes.append(f"{convolutions} convolutions stay in float: ONNX Runtime has no 4-bit kernel for them")
    if gathers := found["Gather"]:
        notes.append(f"tables of embeddings ({gathers} Gather) stay in float: they are looked up, not multiplied")
    return notes
