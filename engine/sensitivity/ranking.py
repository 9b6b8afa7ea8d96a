"""Layers ranked by the error that quantizing each alone leaves in the model's outputs.

The outputs of a few dozen samples are enough for that, and no labels are needed: a network with one rounded layer differs
from the float one in every output, long before a decision changes. So it costs a fraction of an evaluation for each layer,
and of the model only what comes after the layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from onnx import ModelProto

from ..measure.inputs import Feeds
from ..quantization.observing import Ends
from ..quantization.running import Tapped, output_names
from .layers import Layer, Ranges, Rounding, layers
from .walk import Walk

Report = Callable[[float, str], None]
Outputs = list[np.ndarray]


class Sensitivity(NamedTuple):
    """`noise`: the power of the error in the outputs over the power of the outputs, from quantizing this layer alone.
    `ranges`: of its activations."""

    layer: Layer
    noise: float
    ranges: Ranges


def rank(model: ModelProto, feeds: Sequence[Feeds], report: Report) -> list[Sensitivity]:
    """The layers of a float model, the most sensitive first. `feeds`: real inputs by the model's own names, one at least."""
    found = layers(model)
    ranges = activation_ranges(model, {name for layer in found for name in layer.activations}, feeds)
    exact, walk = _outputs(model, feeds), Walk(model, feeds)
    scores: list[Sensitivity] = []
    for number, layer in enumerate(found, 1):
        walk.to(layer.place)
        rest, there = walk.rest(), layer._replace(place=layer.place - walk.place)
        with Rounding(rest, ranges).of(there) as rounded:
            left = noise(exact, _outputs(rounded, walk.values))
        scores.append(Sensitivity(layer, left, {name: ranges[name] for name in layer.activations}))
        report(number / len(found), f"quantizing layer {number} of {len(found)} alone")
    return sorted(scores, key=lambda score: -score.noise)


def noise(exact: Sequence[Outputs], rounded: Sequence[Outputs]) -> float:
    """The mean over outputs of error power / power; an output that is not finite, or of another shape, counts as lost (1).
    Of outputs that are no real numbers (classes, flags) it is the share that changed."""
    shares: list[float] = []
    for before, after in zip(zip(*exact, strict=True), zip(*rounded, strict=True), strict=True):
        if before[0].dtype != np.float32:
            shares.append(float(np.mean([_changed(old, new) for old, new in zip(before, after, strict=True)])))
            continue
        power = sum(float(np.square(values, dtype=np.float64).sum()) for values in before)
        error = sum(
            float(np.square(new.astype(np.float64) - old if new.shape == old.shape else old, dtype=np.float64).sum())
            for old, new in zip(before, after, strict=True)
        )
        shares.append(error / power if power > 0 and np.isfinite(error) else float(error > 0 or not np.isfinite(error)))
    return float(np.mean(shares)) if shares else 0.0


def _changed(old: np.ndarray, new: np.ndarray) -> float:
    return float(np.mean(old != new)) if old.shape == new.shape and old.size else float(old.shape != new.shape)


def activation_ranges(model: ModelProto, names: set[str], feeds: Sequence[Feeds]) -> Ranges:
    """The least and the greatest value of each tensor over all feeds."""
    outer = {value.name for value in model.graph.input}
    seen = {name: Ends() for name in sorted(names)}
    inner = Tapped(model, [name for name in seen if name not in outer], optimized=False)
    for feed in feeds:
        values = inner.run(feed) if inner.tensors else {}
        for name, ends in seen.items():
            ends.add(feed[name] if name in outer else values[name])
    return {name: (ends.lowest, ends.highest) for name, ends in seen.items()}


def _outputs(model: ModelProto, feeds: Sequence[Feeds]) -> list[Outputs]:
    """Of each run the real numbers, which say more than decisions do; where there are none, all outputs."""
    runs = [list(run.values()) for run in Tapped(model, output_names(model), optimized=True).each(feeds)]
    return [[values for values in run if values.dtype == np.float32] or run for run in runs]
