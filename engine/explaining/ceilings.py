"""The ceiling before a technique: by Amdahl's law, from the share of the baseline's time that it can change.

G. M. Amdahl, "Validity of the single processor approach to achieving large scale computing capabilities", 1967: what is
left as it is bounds the speedup, however fast the rest becomes. The shares are of the time in operators, without the
runtime's own work between them, so the true bound is lower still.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...contract.measures import UNBOUNDED, Ceiling
from .kernels import Kernels
from .kinds import CONVOLUTIONS, PRODUCTS, kind, of_kind, products
from .operators import Operator, share, slowest_types
from .probe import Gains

# Other operators that static quantization can turn into 8-bit ones, or take away: a quarter of the bytes, and four times
# as many numbers in a register.
EIGHT_BIT = {
    *("Add", "Mul", "Concat", "Softmax", "Sigmoid", "LeakyRelu", "Where", "ReduceMean", "Relu", "Clip"),
    *("AveragePool", "GlobalAveragePool", "MaxPool", "Resize", "Gather", "Pad", "Slice", "Split"),
    *("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "ReorderInput", "ReorderOutput"),
}
NARROWER = 4

NO_HALF = "On this CPU ONNX Runtime computes float16 convolutions and matrix products in float32, between casts."


def ceilings(operators: Sequence[Operator], kernels: Kernels, gains: Gains | None) -> list[Ceiling]:
    """Of each technique that changes the precision; none for a model that is not in float32, to which they do not apply."""
    if any(kind(operator) in ("integer", "float16") for operator in products(operators)):
        return []
    return [int8_static(operators, gains), int8_dynamic(operators, gains), float16(operators, kernels)]


def int8_static(operators: Sequence[Operator], gains: Gains | None) -> Ceiling:
    """Convolutions and matrix products at no cost, the other operators with 8-bit kernels at a quarter."""
    working = of_kind(products(operators), "float32")
    narrowed = [o for o in of_kind(operators, "float32") if o.type in EIGHT_BIT]
    kept = 1 - share(working, operators) - (1 - 1 / NARROWER) * share(narrowed, operators)
    return _ceiling("int8_static", operators, working, kept, gains)


def int8_dynamic(operators: Sequence[Operator], gains: Gains | None) -> Ceiling:
    """Matrix products with constant weights at no cost. Convolutions lose."""
    working = [o for o in of_kind(operators, "float32") if o.type in PRODUCTS - CONVOLUTIONS and not two_activations(o)]
    convolved = share([o for o in operators if o.type in CONVOLUTIONS], operators)
    warning = None
    if convolved:
        warning = f"It slows convolutions down ({convolved:.0%} of the time): ConvInteger has no fast kernel."
    return _ceiling("int8_dynamic", operators, working, 1 - share(working, operators), gains, warning)


def float16(operators: Sequence[Operator], kernels: Kernels) -> Ceiling:
    """Half the bytes and twice the numbers in a register, where the CPU has such kernels at all."""
    if not kernels.half:
        return Ceiling(technique="float16", operators=[], share=0, at_most=1, warning=NO_HALF)
    working = of_kind(products(operators), "float32")
    kept = 1 - share(of_kind(operators, "float32"), operators) / 2
    return _ceiling("float16", operators, working, kept, None)


def _ceiling(
    technique: str,
    operators: Sequence[Operator],
    working: Sequence[Operator],
    kept: float,
    gains: Gains | None,
    warning: str | None = None,
) -> Ceiling:
    """`kept`: the share of the time that is left at the bound."""
    part = share(working, operators)
    with_kernels = None
    if gains and part:
        with_kernels = 1 / (1 - part + part * sum(share([o], working) / gain(o, gains) for o in working))
    return Ceiling(
        technique=technique,
        operators=slowest_types(working),
        share=round(part, 4),
        at_most=round(1 / max(kept, 1 / UNBOUNDED), 2),
        realistic=round(with_kernels, 2) if with_kernels else None,
        warning=warning,
    )


def gain(operator: Operator, gains: Gains) -> float:
    """How much faster a product is likely to be in 8 bits. Depthwise convolutions gain nothing: each number is used a few
    times only, and ONNX Runtime's 8-bit kernel for them was measured 1.5 times slower than the one in float32."""
    if operator.type not in CONVOLUTIONS:
        return gains.matmul
    return 1.0 if depthwise(operator) else gains.convolution


def depthwise(operator: Operator) -> bool:
    """Whether each channel is convolved by itself; known where the weights are in the profile (float32)."""
    if operator.type not in CONVOLUTIONS or len(operator.inputs) < 2 or len(operator.inputs[1].shape) < 3:
        return False
    images, weights = operator.inputs[0].shape, operator.inputs[1].shape
    return weights[1] == 1 and images[1] > 1


def two_activations(operator: Operator) -> bool:
    """Whether a product is of two activations (attention), which dynamic quantization leaves alone."""
    pair = operator.inputs[:2]
    return len(pair) == 2 and operator.activation_bytes >= sum(tensor.bytes for tensor in pair)
