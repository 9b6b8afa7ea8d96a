"""In which numbers an operator computes, and so a model: what was asked for need not be what runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ...contract.measures import Execution, Precision, RunsAs
from .operators import Operator, share, total_us

Kind = Literal["integer", "float32", "float16", "conversions", "other"]

# Convolutions and matrix products, under the names that ONNX Runtime's CPU kernels have.
CONVOLUTIONS = {
    *("Conv", "ConvTranspose", "FusedConv", "NhwcFusedConv"),
    *("ConvInteger", "QLinearConv", "QLinearConvTranspose"),
}
INTEGER_MATMULS = {
    *("QLinearMatMul", "QGemm", "QAttention", "MatMulInteger", "MatMulInteger16", "MatMulIntegerToFloat"),
    *("DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulNBits"),
}
FLOAT_MATMULS = {
    *("Gemm", "FusedGemm", "MatMul", "FusedMatMul", "FusedMatMulActivation", "Attention", "MultiHeadAttention"),
    *("LSTM", "GRU", "RNN"),
}
INTEGER_PRODUCTS = INTEGER_MATMULS | {"ConvInteger", "QLinearConv", "QLinearConvTranspose"}
PRODUCTS = CONVOLUTIONS | INTEGER_MATMULS | FLOAT_MATMULS

# Q/DQ: between integers and floats. Cast: between floats of different sizes, for the most part.
QDQ = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
CONVERSIONS = QDQ | {"Cast"}

BYTES = {"uint8", "int8", "uint4", "int4"}
FLOATS: dict[str, Kind] = {"float": "float32", "double": "float32", "float16": "float16", "bfloat16": "float16"}

# Of the time in convolutions and matrix products: from here on a model runs as asked, up to here it does not.
ALL_BUT = 0.1


def kind(operator: Operator) -> Kind:
    """By the numbers it works on; `other` is arithmetic on shapes and indices."""
    if operator.type in CONVERSIONS:
        return "conversions"
    ends = [tensor.dtype for tensor in (*operator.outputs[:1], *operator.inputs[:1])]
    if operator.type in INTEGER_PRODUCTS or any(dtype in BYTES for dtype in ends):
        return "integer"
    floats: list[Kind] = [FLOATS[dtype] for dtype in ends if dtype in FLOATS]
    return floats[0] if floats else "other"


def of_kind(operators: Iterable[Operator], wanted: Kind) -> list[Operator]:
    return [operator for operator in operators if kind(operator) == wanted]


def products(operators: Iterable[Operator]) -> list[Operator]:
    """The convolutions and matrix products."""
    return [operator for operator in operators if operator.type in PRODUCTS]


def execution(operators: Sequence[Operator]) -> Execution:
    """The shares of the operators' time by the kind of their kernels."""

    def of(wanted: Kind) -> float:
        return round(share(of_kind(operators, wanted), operators), 4)

    return Execution(
        operators_ms=round(total_us(operators) / 1000, 4),
        integer=of("integer"),
        float32=of("float32"),
        float16=of("float16"),
        conversions=of("conversions"),
        other=of("other"),
    )


def runs_as(asked: Precision, operators: Sequence[Operator]) -> RunsAs:
    """What precision really runs: by the time in convolutions and matrix products, or in all operators of a model that
    has none of them."""
    working = products(operators) or [o for o in operators if kind(o) in ("integer", "float32", "float16")]
    wanted: Kind = "integer" if asked == "int8" else "float16"
    as_asked = share(of_kind(working, wanted), working)
    runs: Literal["int8", "fp16", "fp32", "mixed"] = "mixed"
    if as_asked >= 1 - ALL_BUT:
        runs = asked
    elif share(of_kind(working, "float32"), working) >= 1 - ALL_BUT:
        runs = "fp32"
    return RunsAs(asked=asked, runs=runs, share=round(as_asked, 4))


def activation_type(operator: Operator) -> str | None:
    """The 8-bit type of an integer product's activations; uint8 where it quantizes them itself."""
    if operator.type.startswith("DynamicQuantize"):
        return "uint8"
    return next((tensor.dtype for tensor in operator.inputs[:1] if tensor.dtype in BYTES), None)


def weight_type(operator: Operator) -> str | None:
    """The 8-bit type of an integer product's weights. Packed weights are not in the profile; their zero point is: after
    the activations' scale and zero point and before the output's in QLinear operators, last in the others."""
    qlinear = operator.type.startswith(("QLinear", "QGemm"))
    found = [tensor.dtype for tensor in operator.inputs[3 if qlinear else 1 :] if tensor.dtype in BYTES]
    return (found[0] if qlinear else found[-1]) if found else None
