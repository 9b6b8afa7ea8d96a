"""Whether a converted model takes and gives what its original does: shape, dtype, layout, quantization, and the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..contract.measures import Interface, TensorInfo
from ..contract.text import untrusted
from .runtimes.bridge import Bridge, Way
from .runtimes.fitting import shape_text
from .runtimes.runner import open_runner


def differences(variant: Path, interface: Interface) -> list[str]:
    """What an application that fed the original must do otherwise for this model, a sentence each; the session's own runs do
    it already. Empty where nothing."""
    runner = open_runner(variant, interface=interface)
    if isinstance(runner, Bridge):
        sides = (("input", runner.ways_in), ("output", runner.ways_out))
        return [sentence for what, ways in sides for way in ways if (sentence := _of(what, way))]
    return [
        f"the {what} {untrusted(info.name)} is {held}"
        for what, infos in (("input", runner.inputs), ("output", runner.outputs))
        for info in infos
        if (held := _held(info))
    ]


def _of(what: str, way: Way) -> str:
    return "; ".join(_changes(what, way.outer, way.own, way.axes))


def _changes(what: str, outer: TensorInfo, own: TensorInfo, axes: Sequence[int] | None) -> Iterator[str]:
    name = f"the {what} {untrusted(outer.name)}"
    if own.name != outer.name:
        yield f"{name} is called {untrusted(own.name)}"
    if axes is not None:
        yield f"{name} has its axes in the order {list(axes)} of the original's: {shape_text(own.shape)}"
    elif own.shape != outer.shape and own.shape:
        yield f"{name} has the shape {shape_text(own.shape)}, the original's {shape_text(outer.shape)}"
    if held := _held(own):
        yield f"{name} is {held}"
    elif own.dtype != outer.dtype:
        yield f"{name} is {own.dtype}, the original's {outer.dtype}"


def _held(info: TensorInfo) -> str:
    how = info.quantization
    return f"{how.dtype}, real = (integer - {how.zero_point}) * {how.scale:g}" if how else ""
