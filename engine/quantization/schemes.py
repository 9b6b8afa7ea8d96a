"""Which 8-bit types activations and weights get on which processor: policy data.

Sources: ONNX Runtime's page "Quantize ONNX models" (U8S8 saturates on x86 without VNNI: products of uint8 and int8 are
summed in pairs in 16 bits); `engine/explaining/kernels.py` has which kernels exist where, and what was measured.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from ...contract.devices import DEVICES
from ..explaining.kernels import ARCHITECTURES, kernels, of_this_machine, this_machine

Eight = Literal["uint8", "int8"]


class Scheme(NamedTuple):
    """`symmetric`: the zero points of activations are 0 (those of weights always are). `reduced`: weights keep to 7 bits.
    `why`: half a sentence."""

    activations: Eight
    weights: Eight
    symmetric: bool
    reduced: bool
    why: str

    @property
    def name(self) -> str:
        """As the field writes it: U8S8, S8S8."""
        return "".join("U8" if kind == "uint8" else "S8" for kind in (self.activations, self.weights))

    def __str__(self) -> str:
        extras = [" symmetric"] * self.symmetric + [", weights in 7 bits"] * self.reduced
        return f"{self.name}{''.join(extras)}: {self.why}"


TENSORRT = Scheme("int8", "int8", symmetric=True, reduced=False, why="TensorRT takes zero points of 0 alone")
_ARM = Scheme(
    "int8", "int8", symmetric=True, reduced=False, why="the integer kernels of ARM multiply signed by signed numbers"
)
_VNNI = Scheme(
    "uint8",
    "int8",
    symmetric=False,
    reduced=False,
    why="the integer kernels of x86 multiply unsigned by signed numbers, with {by} exactly",
)
_NO_VNNI = Scheme(
    "uint8",
    "int8",
    symmetric=False,
    reduced=True,
    why="without VNNI x86 sums two products of 8 bits in 16 bits, which can saturate",
)
_UNKNOWN = Scheme("uint8", "int8", symmetric=False, reduced=False, why="ONNX Runtime's default; the CPU is not known")


def scheme_of(device: str | None) -> Scheme:
    """For a target device by the processor that it is known to have, else for the CPU of this machine."""
    architecture = DEVICES[device].architecture if device else ""
    return scheme_for(architecture, frozenset()) if architecture else scheme_for(*this_machine())


def is_foreign(scheme: Scheme) -> bool:
    """Whether this machine's CPU has no integer kernels for these types: what runs here says nothing of their speed."""
    fused = of_this_machine().fused
    return fused is not None and scheme.activations not in fused


def scheme_for(machine: str, flags: frozenset[str]) -> Scheme:
    """By the architecture (`uname -m`) and the flags of a CPU (/proc/cpuinfo)."""
    family = ARCHITECTURES.get(machine)
    if family == "arm":
        return _ARM
    if family is None:
        return _UNKNOWN
    found = kernels(machine, flags)
    exact = (_VNNI.activations, _VNNI.weights) in found.fast
    return _VNNI._replace(why=_VNNI.why.format(by=found.by[0])) if exact else _NO_VNNI
