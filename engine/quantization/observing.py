"""What passes through the float model on calibration samples, tensor by tensor, in one pass and constant memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable

import numpy as np
from onnx import ModelProto

from .graph import Wiring, float_tensors
from .histogram import Histogram
from .running import Tapped
from .samples import Feeds

Progress = Callable[[int], None]
# Values of one tensor in one inference: up to _WHOLE all are counted, of more about _COUNTED.
_COUNTED, _WHOLE = 1 << 14, 11 << 14
_PRIMES = (11, 13, 17, 23, 31, 41, 53, 71, 97, 131, 179, 241, 331, 449, 601, 809, 1093, 1471, 1987, 2683)


class Observed:
    """`seen`: by tensor, of those whose range is asked for. `merged`: the tensors whose range is another one's."""

    def __init__(self, seen: dict[str, Histogram], merged: dict[str, str]):
        self.seen = seen
        self.merged = merged

    def ranges(self, choose: Callable[[Histogram], tuple[float, float]]) -> dict[str, tuple[float, float]]:
        """Of every tensor that took a value: what `choose` says of its distribution."""
        found = {name: choose(seen) for name, seen in self.seen.items() if seen.lowest <= seen.highest}
        return found | {name: found[other] for name, other in self.merged.items() if other in found}


def observe(
    model: ModelProto,
    feeds: Iterable[Feeds],
    *,
    operators: Collection[str],
    excluded: Collection[str],
    histograms: bool,
    progress: Progress,
) -> Observed:
    """The values of every float tensor that a node of these operators takes or makes.

    Without `histograms` only the ends of the ranges are found. Each node runs as it stands: optimized, some of the tensors
    would not exist, and others would be rounded otherwise.
    """
    names = _tensors(model, operators)
    merged = _merged(model, names, operators, excluded)
    watched = [name for name in names if name not in merged]
    seen = {name: Histogram() if histograms else Ends() for name in watched}
    tapped = Tapped(model, watched, optimized=False)
    for done, values in enumerate(tapped.each(feeds), start=1):
        for name, histogram in seen.items():
            histogram.add(values[name], stride(values[name].size))
        progress(done)
    return Observed(seen, merged)


def stride(size: int) -> int:
    """Of large tensors every so manieth value is counted: a prime number beyond 7, so that no rows or channels are left
    out. Of one image that is tens of thousands of values a tensor, and of a few hundred images millions.
    """
    return next((prime for prime in _PRIMES if prime * _COUNTED >= size), _PRIMES[-1]) if size > _WHOLE else 1


class Ends(Histogram):
    """The lowest and highest value alone; NaN and infinities are left out of them."""

    def add(self, values: np.ndarray, stride: int = 1) -> None:
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = values[np.isfinite(values)]
            self.ignored += values.size - finite.size
            self.add(finite)
            return
        self.lowest, self.highest = min(low, self.lowest), max(high, self.highest)


def _tensors(model: ModelProto, operators: Collection[str]) -> list[str]:
    """In the graph's order, so that the same model gives the same file."""
    floats = float_tensors(model)
    touched = (name for node in model.graph.node if node.op_type in operators for name in (*node.input, *node.output))
    return [name for name in dict.fromkeys(touched) if name in floats]


def _merged(
    model: ModelProto, names: Collection[str], operators: Collection[str], excluded: Collection[str]
) -> dict[str, str]:
    """What goes into a Relu or Clip alone gets the range of what comes out: ONNX Runtime merges the three into one."""
    wiring, known = Wiring(model), set(names)
    merged: dict[str, str] = {}
    for node in reversed(model.graph.node):
        if node.op_type not in ("Relu", "Clip") or node.op_type not in operators or node.name in excluded:
            continue
        before, after = node.input[0], node.output[0]
        if {before, after} <= known and after not in merged and len(wiring.users[before]) == 1:
            merged[before] = after
    return merged
