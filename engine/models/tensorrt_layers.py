"""What TensorRT's engine inspector says of the layers that an engine really has, and of the types that they take."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NamedTuple

# By what stands in an inspector's `Format/Datatype`, as "Row major linear FP16 format", "Half" or "Int8 NC/32HW32".
_TYPES = {
    "int8": r"int8",
    "fp8": r"fp8|e4m3",
    "int4": r"int4",
    "bf16": r"bf16|bfloat16",
    "fp16": r"fp16|half|float16",
    "fp32": r"fp32|float",
    "integer": r"int32|int64|bool|uint8",
}
# Layers that move or hold numbers and compute nothing.
_NO_COMPUTATION = frozenset({"reformat", "noop", "constant", "shuffle", "identity", "signal", "wait", "shape_call"})
QUANTIZED = frozenset({"int8", "fp8", "int4"})


class Layer(NamedTuple):
    """`kind`: the inspector's LayerType, `layer` where it gives names alone. `takes`: the type of its first input as in
    `precisions`, "" where the inspector does not tell."""

    kind: str
    takes: str


def layers(information: str) -> list[Layer]:
    """The layers of `get_engine_information(LayerInformationFormat.JSON)`. ValueError where it is something else."""
    found = json.loads(information)
    if not isinstance(found, dict) or not isinstance(found.get("Layers"), list):
        raise ValueError("the engine inspector's JSON has no list of Layers")
    return [_layer(layer) for layer in found["Layers"]]


def _layer(found: Any) -> Layer:
    if not isinstance(found, dict):  # an engine that was built with names alone
        return Layer("layer", "")
    inputs = found.get("Inputs") or [{}]
    described = str(inputs[0].get("Format/Datatype") or inputs[0].get("Format") or "")
    return Layer(str(found.get("LayerType", "layer")), _type(described))


def _type(described: str) -> str:
    return next((name for name, words in _TYPES.items() if re.search(words, described, re.IGNORECASE)), "")


def precisions(layers: list[Layer]) -> Counter[str]:
    """How many of the layers that compute take which type: int8, fp8, int4, bf16, fp16, fp32 or integer."""
    return Counter(x.takes for x in layers if x.takes and x.kind.lower() not in _NO_COMPUTATION)


def precision(layers: list[Layer]) -> str:
    """int8 where any layer takes eight bits or fewer, fp16 where most take half floats, else fp32."""
    found = precisions(layers)
    if any(found[name] for name in QUANTIZED):
        return "int8"
    return "fp16" if found["fp16"] + found["bf16"] > found["fp32"] else "fp32"


def sentence(layers: list[Layer]) -> str:
    """Which precision really runs, for people."""
    found = precisions(layers)
    if not found:
        return "which precision its layers run in, the engine does not say (it was built without detailed layer information)"
    parts = ", ".join(f"{count} in {name}" for name, count in found.most_common())
    return f"of the engine's layers that compute, by the type of their input: {parts}"
