"""Why a variant is not faster: each cause a pure function of the evidence, with the share of the time that it concerns.

A sentence says what was measured. What it recommends is a technique that exists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...contract.measures import Precision
from .ceilings import depthwise, int8_dynamic, int8_static
from .kernels import Kernels
from .kinds import (
    CONVERSIONS,
    CONVOLUTIONS,
    INTEGER_PRODUCTS,
    PRODUCTS,
    QDQ,
    activation_type,
    kind,
    of_kind,
    products,
    weight_type,
)
from .memory import bound_by_memory, moved_bytes
from .operators import Operator, bottleneck, count, share, slowest_types, total_us
from .probe import Balance


class Zeros(NamedTuple):
    """The shares of weights that are exactly zero."""

    baseline: float
    variant: float


class Evidence(NamedTuple):
    """Both models' operators, of one run; `asked`: the precision that the variant was to have. `call_us`: of the variant,
    right afterwards and without the profiler; 0 where it is not known."""

    baseline: Sequence[Operator]
    variant: Sequence[Operator]
    asked: Precision | None
    kernels: Kernels
    balance: Balance
    zeros: Zeros | None
    call_us: float


class Cause(NamedTuple):
    """`weight`: the share of the variant's time in operators that it concerns."""

    weight: float
    sentence: str


# Smaller shares explain nothing.
NOTABLE = 0.1
MOST_CAUSES = 3


def explain(evidence: Evidence) -> str:
    """The causes, at most three, the weightiest first; where none is evident, where the time goes."""
    found = [cause for look in CAUSES if (cause := look(evidence)) is not None and cause.weight >= NOTABLE]
    found.sort(key=lambda cause: cause.weight, reverse=True)
    if not found:
        before, after = total_us(evidence.baseline) / 1000, total_us(evidence.variant) / 1000
        return (
            f"No single cause is evident: the operators take {before:.3g} ms in the baseline and {after:.3g} ms in the"
            f" variant. {bottleneck(evidence.variant)}"
        )
    return " ".join(cause.sentence for cause in found[:MOST_CAUSES])


def same_operators(e: Evidence) -> Cause | None:
    if count(e.variant) != count(e.baseline) or [kind(o) for o in e.variant] != [kind(o) for o in e.baseline]:
        return None
    return Cause(1.0, "After ONNX Runtime's own optimizations both models run the same operators, in the same numbers.")


def dynamic_convolutions(e: Evidence) -> Cause | None:
    found = [o for o in e.variant if o.type == "ConvInteger"]
    if not found:
        return None
    part = share(found, e.variant)
    before = total_us([o for o in e.baseline if o.type in CONVOLUTIONS])
    times = f", {total_us(found) / before:.1f} times that of the baseline's convolutions" if before else ""
    return Cause(
        part,
        f"{len(found)} convolutions run as ConvInteger (quantized dynamically): {part:.0%} of the time in operators{times}."
        " ONNX Runtime has no fast kernel for it; int8_static makes QLinearConv of them.",
    )


def unfused(e: Evidence) -> Cause | None:
    """Products in float32 between Q/DQ; where the activations' type is the reason, that."""
    pairs = [o for o in e.variant if o.type in QDQ]
    left = of_kind(products(e.variant), "float32")
    if not pairs or not left or e.asked == "fp16":
        return None
    part = share([*left, *pairs], e.variant)
    these = (
        f"{len(left)} of {len(products(e.variant))} convolutions and matrix products still run in float32, with {len(pairs)}"
        f" quantizing and dequantizing operators around them ({part:.0%} of the time in operators together)"
    )
    foreign = sorted(_activation_types(pairs) - e.kernels.fused) if e.kernels.fused is not None else []
    if foreign:
        fused = " or ".join(sorted(e.kernels.fused or ()))
        return Cause(
            part,
            f"{these}: activations are {' and '.join(foreign)}, and on this CPU ONNX Runtime has integer kernels for {fused}"
            " alone; int8_static for such a CPU (target cpu-generic), on the float32 original, gives uint8.",
        )
    return Cause(part, f"{these}: these pairs were not fused into integer kernels.")


def _activation_types(pairs: Sequence[Operator]) -> set[str]:
    """Weights are quantized when the file is made: what is quantized at run time is an activation."""
    return {o.outputs[0].dtype for o in pairs if o.type == "QuantizeLinear" and o.outputs}


def slow_pairs(e: Evidence) -> Cause | None:
    """Integer products in types without dot-product instructions on this CPU, where other types have them."""
    if not e.kernels.fast:
        return None
    slow = {
        (activation, weight)
        for o in e.variant
        if o.type in INTEGER_PRODUCTS and o.type != "ConvInteger"
        if (activation := activation_type(o)) and (weight := weight_type(o))
    } - e.kernels.fast
    found = [o for o in e.variant if (activation_type(o), weight_type(o)) in slow and o.type in INTEGER_PRODUCTS]
    if not found:
        return None
    part = share(found, e.variant)
    types = ", ".join(f"{activation} x {weight}" for activation, weight in sorted(slow))
    better = ", ".join(f"{activation} x {weight}" for activation, weight in sorted(e.kernels.fast))
    return Cause(
        part,
        f"{len(found)} integer products are {types} ({part:.0%} of the time in operators), for which this CPU's"
        f" {e.kernels.by[0]} kernels are not made ({better} is); int8_static for"
        " such a CPU (target cpu-generic), on the float32 original, gives uint8 x int8.",
    )


def no_dot_products(e: Evidence) -> Cause | None:
    """A CPU without 8-bit dot products at all."""
    found = [o for o in e.variant if o.type in INTEGER_PRODUCTS]
    if e.kernels.fast or e.kernels.fused is None or not found:
        return None
    part = share(found, e.variant)
    return Cause(part, f"This CPU has no 8-bit dot-product instructions: {part:.0%} of the time in operators is in 8-bit products without them.")  # fmt: skip


def not_quicker(e: Evidence) -> Cause | None:
    """Integer products that take as long as the baseline's in float32; ConvInteger is another cause's."""
    found = [o for o in e.variant if o.type in INTEGER_PRODUCTS and o.type != "ConvInteger"]
    before = products(e.baseline)
    if not found or any(kind(o) == "integer" for o in before) or len(products(e.variant)) != len(found):
        return None
    ratio = total_us(found) / total_us(before) if total_us(before) else 0.0
    if ratio < 0.9:
        return None
    alone = share([o for o in before if depthwise(o)], before)
    because = f"; {alone:.0%} of these are depthwise, which 8-bit kernels make no quicker" if alone >= NOTABLE else ""
    part = share(found, e.variant)
    return Cause(
        part,
        f"Its integer kernels take {ratio:.1f} times as long as the baseline's convolutions and matrix products in float32"
        f"{because}.",
    )


def half_in_float(e: Evidence) -> Cause | None:
    found = of_kind(products(e.variant), "float32")
    if e.asked != "fp16" or not found:
        return None
    part, casts = share(found, e.variant), len([o for o in e.variant if o.type == "Cast"])
    return Cause(
        max(part, NOTABLE),
        f"{len(found)} of {len(products(e.variant))} convolutions and matrix products run in float32 ({part:.0%} of the time"
        f" in operators), casts between them: {casts}. ONNX Runtime has no float16 kernels for them on this CPU.",
    )


def conversions(e: Evidence) -> Cause | None:
    """Q/DQ and casts by themselves; around products that were not fused they are that cause's."""
    found = [o for o in e.variant if o.type in CONVERSIONS]
    part = share(found, e.variant)
    if e.asked != "fp16" and of_kind(products(e.variant), "float32") and any(o.type in QDQ for o in found):
        return None
    return Cause(part, f"{len(found)} conversions between number types take {part:.0%} of the time in operators.")


def added_operators(e: Evidence) -> Cause | None:
    """Operators that the baseline does without: fused into others there, or another layout of memory."""
    before, after = count(e.baseline), count(e.variant)
    more = {t for t in after if after[t] > before[t]} - PRODUCTS - CONVERSIONS
    found = [o for o in e.variant if o.type in more and kind(o) in ("float32", "float16", "other")]
    added = total_us(found) - total_us([o for o in e.baseline if o.type in more])
    whole = total_us(e.variant)
    if not found or not whole or added <= 0:
        return None
    named = ", ".join(f"{after[t] - before[t]} more {t}" for t in slowest_types(found))
    return Cause(
        added / whole,
        f"{added / whole:.0%} of the time is in operators that the baseline runs fewer of, or fused into others: {named}.",
    )


def little_to_gain(e: Evidence) -> Cause | None:
    """Amdahl's law: most of the baseline's time is in what 8 bits do not change. ConvInteger is another cause's."""
    types = {o.type for o in e.variant}
    if e.asked != "int8" or "ConvInteger" in types or any(kind(o) == "integer" for o in e.baseline):
        return None
    dynamic = any(t.startswith(("DynamicQuantize", "MatMulInteger")) for t in types)
    bound = int8_dynamic(e.baseline, None) if dynamic else int8_static(e.baseline, None)
    if bound.at_most > 1.5:
        return None
    return Cause(
        1 - bound.share,
        f"Only {bound.share:.0%} of the baseline's time in operators is in what {bound.technique} changes: no kernels could"
        f" make it more than {bound.at_most:.1f} times as fast.",
    )


def sparsity(e: Evidence) -> Cause | None:
    if e.zeros is None or e.zeros.variant < 0.3 or e.zeros.variant < e.zeros.baseline + 0.2:
        return None
    return Cause(
        e.zeros.variant,
        f"{e.zeros.variant:.0%} of the weights are exactly zero ({e.zeros.baseline:.0%} in the baseline), and no kernel of"
        " ONNX Runtime on a CPU skips them: sparsity makes a file smaller when it is compressed, not a run faster.",
    )


def memory_bound(e: Evidence) -> Cause | None:
    found = bound_by_memory(e.variant, e.balance)
    part = share(found, e.variant)
    if part < 0.3:
        return None
    rate = sum(moved_bytes(o) for o in found) / total_us(found) / 1e3
    return Cause(
        part,
        f"{part:.0%} of the time is in layers bound by memory ({', '.join(slowest_types(found))}): they move"
        f" {rate:.0f} GB/s, where a copy in memory reaches {e.balance.gb_per_s:.0f} GB/s on this machine. Fewer bytes help"
        f" them, faster arithmetic does not{'.' if e.asked == 'int8' else '; INT8 weights are a quarter of the bytes.'}",
    )


def overhead(e: Evidence) -> Cause | None:
    """Small models: a call costs more than its operators."""
    inside = total_us(e.variant)
    if not e.call_us or inside > 0.5 * e.call_us:
        return None
    return Cause(
        1 - inside / e.call_us,
        f"Of the {e.call_us:.0f} microseconds of a call only {inside:.0f} are in operators: the rest is the runtime's own work"
        " for a call, which no technique changes.",
    )


CAUSES: list[Callable[[Evidence], Cause | None]] = [
    *(same_operators, dynamic_convolutions, unfused, slow_pairs, no_dot_products, not_quicker, half_in_float),
    *(conversions, added_operators, little_to_gain, sparsity, memory_bound, overhead),
]
