"""Layers whose time is that of moving bytes: faster arithmetic does not help them.

By the roofline model (S. Williams, A. Waterman, D. Patterson, "Roofline: an insightful visual performance model for
multicore architectures", CACM 52(4), 2009): a layer is bound by memory where it moves its bytes about as fast as the
machine can, while its arithmetic is far from what the machine can. Bytes are the least that a layer must move: its inputs,
weights and output, once each.
"""

from __future__ import annotations

from collections.abc import Iterable

from .kinds import CONVOLUTIONS, FLOAT_MATMULS, INTEGER_PRODUCTS, of_kind
from .operators import Operator
from .probe import Balance

# Evident: over half of the machine's rate for bytes, under a quarter of its rate for arithmetic.
MOVING = 0.5
COMPUTING = 0.25
# An operator's time is in whole microseconds: below this a rate says nothing.
LEAST_US = 20.0


def bound_by_memory(operators: Iterable[Operator], balance: Balance) -> list[Operator]:
    """The float32 layers that evidently are. Integer layers are left out: their packed weights are not in the profile."""
    return [
        operator
        for operator in of_kind(operators, "float32")
        if operator.us >= LEAST_US
        and operator.type not in INTEGER_PRODUCTS
        and moved_bytes(operator) / operator.us / 1e3 >= MOVING * balance.gb_per_s
        and flops(operator) / operator.us / 1e3 <= COMPUTING * balance.gflops
    ]


def moved_bytes(operator: Operator) -> int:
    """Inputs, weights and output, once each; the weights of a matrix product are counted where they are packed, too."""
    weights = operator.parameter_bytes
    if operator.type in FLOAT_MATMULS and operator.inputs and operator.outputs:
        packed = operator.activation_bytes <= operator.inputs[0].bytes
        rows, columns = _inner(operator), operator.outputs[0].shape[-1:]
        if packed and columns:
            weights = max(weights, rows * columns[0] * operator.inputs[0].width)
    return operator.activation_bytes + weights + operator.output_bytes


def flops(operator: Operator) -> int:
    """Two for each multiplication and addition; 1 for each number that any other operator makes."""
    if not operator.inputs or not operator.outputs:
        return 0
    made = operator.outputs[0].elements
    if operator.type in FLOAT_MATMULS:
        return 2 * made * _inner(operator)
    if operator.type in CONVOLUTIONS and len(operator.inputs) > 1:
        images, weights = operator.inputs[0], operator.inputs[1]
        taken = images.elements if operator.type == "ConvTranspose" else made
        return 2 * taken * weights.elements // max(1, weights.shape[0])
    return made


def _inner(operator: Operator) -> int:
    """The length of the sums in a matrix product; Gemm may take its first matrix transposed."""
    first = operator.inputs[0]
    if "Gemm" in operator.type:
        return first.elements // max(1, operator.outputs[0].shape[0])
    return first.shape[-1] if first.shape else 1
