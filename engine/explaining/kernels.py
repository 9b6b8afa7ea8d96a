"""Which kernels ONNX Runtime has for this CPU: policy data, from its source and from experiments.

Sources: `onnxruntime/core/mlas/lib/platform.cpp` (which kernel is chosen for which CPU) and `QDQIsInt8Allowed` in
`core/optimizer/qdq_transformer` (which Q/DQ pairs are fused), ONNX Runtime 1.31. Measured with that version on a CPU
with amx_int8, in operations per second of matrix products and 3x3 convolutions: uint8 x int8 7.4 and 3.3 times float32,
uint8 x uint8 1.0 and 0.9 times. On one with avx512_vnni and no amx, whole networks with uint8 x int8 ran 2.1 to 3.4
times as fast as in float32. The other lines are by the source alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

Pairs = frozenset[tuple[str, str]]

_U8S8: Pairs = frozenset({("uint8", "int8")})
_ALL: Pairs = frozenset((a, w) for a in ("uint8", "int8") for w in ("uint8", "int8"))
_SAME: Pairs = frozenset({("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")})


class Level(NamedTuple):
    """Dot-product instructions: the kernel flag that tells of them, and the (activation, weight) pairs that use them."""

    flag: str
    pairs: Pairs


# Of every level whose flag the CPU has, the pairs count.
LEVELS: dict[str, tuple[Level, ...]] = {
    "x86": (
        Level("amx_int8", _U8S8),
        Level("avx512_vnni", _U8S8),
        Level("avx_vnni", _U8S8),
        Level("avx_vnni_int8", _ALL),
    ),
    "arm": (Level("asimddp", _SAME), Level("i8mm", _SAME)),
}
# The activations whose Q/DQ pairs are fused into integer convolutions and matrix products.
FUSED_ACTIVATIONS = {"x86": frozenset({"uint8"}), "arm": frozenset({"uint8", "int8"})}
# The flag of half-precision arithmetic that kernels use.
HALF = {"x86": None, "arm": "asimdhp"}
# The flags of which one says that products of bfloat16 are computed as such.
BFLOAT16 = {"x86": ("avx512_bf16", "amx_bf16"), "arm": ("bf16",)}
ARCHITECTURES = {"x86_64": "x86", "i686": "x86", "aarch64": "arm", "armv8l": "arm"}


class Kernels(NamedTuple):
    """Of one CPU. `fast`: the (activation, weight) types with dot-product instructions; `by`: those instructions.
    `fused`: None on an architecture that nothing is known of."""

    fast: Pairs
    by: tuple[str, ...]
    fused: frozenset[str] | None
    half: bool


def kernels(machine: str, flags: frozenset[str]) -> Kernels:
    """What is known of a CPU by its architecture (`uname -m`) and its flags (/proc/cpuinfo)."""
    family = ARCHITECTURES.get(machine)
    if family is None:
        return Kernels(frozenset(), (), None, False)
    levels = [level for level in LEVELS[family] if level.flag in flags]
    return Kernels(
        fast=frozenset().union(*(level.pairs for level in levels)),
        by=tuple(level.flag for level in levels),
        fused=FUSED_ACTIVATIONS[family],
        half=HALF[family] is not None and HALF[family] in flags,
    )


def of_this_machine() -> Kernels:
    return kernels(*this_machine())


def this_machine() -> tuple[str, frozenset[str]]:
    """The architecture and the flags of this machine's CPU."""
    return os.uname().machine, _flags(Path("/proc/cpuinfo").read_text())


def has_bfloat16() -> bool:
    """Whether this machine's CPU computes in bfloat16 by itself."""
    family = ARCHITECTURES.get(os.uname().machine)
    flags = _flags(Path("/proc/cpuinfo").read_text())
    return family is not None and any(flag in flags for flag in BFLOAT16[family])


def _flags(cpuinfo: str) -> frozenset[str]:
    """x86 calls the line `flags`, ARM `Features`; none where the kernel shows no such line."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    return next(
        (frozenset(value.split()) for key, _, value in lines if key.strip() in ("flags", "Features")), frozenset()
    )
