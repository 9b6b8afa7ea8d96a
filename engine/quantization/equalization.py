"""Channels of one tensor brought to like sizes, so that one scale serves them all; the function stays the same.

Cross-layer equalization: Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization and
Bias Correction", 2019 (arXiv:1906.04721). Between two layers with nothing but what lets a positive factor pass, a channel
may be divided by s in the first and multiplied by s in the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, NodeProto, numpy_helper

from .graph import Wiring, attribute, bias_of, output_axis
from .running import Tapped
from .samples import Feeds

# What lets a factor of a channel pass: f(s x) = s f(x) for s > 0, channel by channel.
_PASSES = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Identity", "Dropout")
_LAYERS = ("Conv", "Gemm")
# Rounds over all pairs, and the change of a factor below which it is over.
_ROUNDS, _SETTLED = 20, 1e-3
# A channel that comes this near to a cap on calibration samples is left as it is, and no other is brought nearer.
_MARGIN = 0.9


class Pair(NamedTuple):
    """Two layers between which factors pass. `between`: the tensor behind the first one's activation. `cap`: the value that
    this activation cuts at (6 of ReLU6), if any."""

    first: NodeProto
    second: NodeProto
    between: str
    cap: float | None


def equalize(model: ModelProto, feeds: Sequence[Feeds], *, per_channel: bool) -> str:
    """Changes the weights and biases of the float `model`; says what was done. `feeds`: calibration samples.

    With one scale a tensor of weights (not `per_channel`), the weights of the two layers of a pair are made alike. With one
    a channel of weights only activations share a scale: then their peaks are.
    """
    wiring = Wiring(model)
    pairs = pairs_of(wiring)
    if not pairs:
        return "equalization: no two layers stand so that factors pass between them"
    peaks = _peaks(model, pairs, feeds)
    moved: dict[str, np.ndarray] = {pair.between: np.ones_like(peaks[pair.between]) for pair in pairs}
    for _ in range(_ROUNDS):
        most = 0.0
        for pair in pairs:
            factors = _factors(wiring, pair, peaks[pair.between], per_channel=per_channel)
            _apply(wiring, pair, factors)
            peaks[pair.between] = peaks[pair.between] / factors
            moved[pair.between] = moved[pair.between] * factors
            most = max(most, float(np.abs(np.log(factors)).max()))
        if most < _SETTLED:
            break
    count = sum(len(factors) for factors in moved.values())
    changed = sum(int(np.count_nonzero(np.abs(np.log(factors)) > _SETTLED)) for factors in moved.values())
    return f"equalization: {changed} of {count} channels between {len(pairs)} pairs of layers were rescaled"


def pairs_of(wiring: Wiring) -> list[Pair]:
    """In the graph's order."""
    return [pair for node in wiring.nodes if (pair := _pair(node, wiring)) is not None]


def _pair(first: NodeProto, wiring: Wiring) -> Pair | None:
    if not _changeable(first, wiring):
        return None
    channels = wiring.constants[first.input[1]].dims[output_axis(first)]
    tensor = between = first.output[0]
    cap: float | None = None
    while (user := wiring.only_user(tensor)) is not None and user.input[0] == tensor:
        if user.op_type in _LAYERS:
            fits = _changeable(user, wiring) and _takes(user, wiring, channels)
            return Pair(first, user, between, cap) if fits else None
        if user.op_type == "Clip" and cap is None and (found := _cap(user, wiring)) is not None:
            cap = found
        elif user.op_type not in _PASSES and not _flattens(user):
            return None
        tensor = user.output[0]
        if user.op_type in ("Relu", "LeakyRelu", "Clip"):
            between = tensor
    return None


def _changeable(node: NodeProto, wiring: Wiring) -> bool:
    """A layer whose weights and bias are float constants of its own."""
    if node.op_type not in _LAYERS or attribute(node, "transA", 0):
        return False
    held = [name for name in (node.input[1], bias_of(node)) if name]
    if not all(wiring.value(name) is not None and wiring.own(name) for name in held):
        return False
    channels = wiring.constants[node.input[1]].dims[output_axis(node)]
    return len(held) == 1 or list(wiring.constants[held[1]].dims) in ([channels], [1, channels])


def _takes(node: NodeProto, wiring: Wiring, channels: int) -> bool:
    """Whether a layer's weights have one slice for each of so many input channels."""
    dims = wiring.constants[node.input[1]].dims
    if node.op_type == "Gemm":
        return dims[1 - output_axis(node)] == channels
    groups = attribute(node, "group", 1)
    return (groups == 1 and dims[1] == channels) or (groups == channels and dims[1] == 1)


def _cap(clip: NodeProto, wiring: Wiring) -> float | None:
    """Where a Clip from 0 cuts; infinity where it does not."""
    ends = {held.name: held.f for held in clip.attribute}
    for name, at in (("min", 1), ("max", 2)):
        if len(clip.input) > at and clip.input[at]:
            value = wiring.value(clip.input[at])
            if value is None:
                return None
            ends[name] = float(value.reshape(-1)[0])
    return ends.get("max", np.inf) if ends.get("min") == 0 else None


def _flattens(node: NodeProto) -> bool:
    """Behind pooling to 1x1, which the number of the next layer's channels shows."""
    return node.op_type == "Flatten" and attribute(node, "axis", 1) == 1


def _peaks(model: ModelProto, pairs: Sequence[Pair], feeds: Sequence[Feeds]) -> dict[str, np.ndarray]:
    """The largest absolute value of each channel behind the first layer of each pair: (channels,) float64."""
    axes = {pair.between: -1 if pair.first.op_type == "Gemm" else 1 for pair in pairs}
    peaks: dict[str, np.ndarray] = {}
    for values in Tapped(model, list(axes), optimized=True).each(feeds):
        for name, axis in axes.items():
            channels = np.moveaxis(values[name], axis, 0)
            found = np.abs(channels.reshape(len(channels), -1)).max(axis=1).astype(np.float64)
            peaks[name] = np.maximum(found, peaks.get(name, 0.0))
    return peaks


def _factors(wiring: Wiring, pair: Pair, peaks: np.ndarray, *, per_channel: bool) -> np.ndarray:
    """What each channel is divided by in the first layer and multiplied by in the second: (channels,), positive."""
    before = peaks if per_channel else _sizes(wiring, pair.first, outgoing=True)
    after = _sizes(wiring, pair.second, outgoing=False)
    if per_channel and _depthwise(pair.second):
        after = np.ones_like(before)  # each has a scale of its own there: only the activations are to be alike
    alive = (before > 0) & (after > 0) & (peaks > 0)
    factors = np.ones_like(peaks)
    factors[alive] = np.sqrt(before[alive] / after[alive])
    if per_channel and _depthwise(pair.second):
        factors[alive] = before[alive]
    if per_channel and alive.any():
        factors[alive] /= np.max(factors[alive])
    return factors if pair.cap is None else _under(pair.cap, factors, peaks)


def _under(cap: float, factors: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """No channel that reaches the cap is moved, and no other is brought near it: so it cuts what it did before."""
    free = peaks < _MARGIN * cap
    return np.where(free, np.maximum(factors, peaks / (_MARGIN * cap)), 1.0)


def _depthwise(node: NodeProto) -> bool:
    return node.op_type == "Conv" and attribute(node, "group", 1) > 1


def _sizes(wiring: Wiring, node: NodeProto, *, outgoing: bool) -> np.ndarray:
    """The largest absolute weight of each output channel, or of those that meet each input channel."""
    value = numpy_helper.to_array(wiring.constants[node.input[1]])
    axis = output_axis(node) if outgoing or _depthwise(node) else 1 - output_axis(node)
    channels = np.moveaxis(value, axis, 0)
    sizes = np.abs(channels.reshape(len(channels), -1)).max(axis=1).astype(np.float64)
    if outgoing or not _depthwise(node):
        return sizes
    return sizes.reshape(attribute(node, "group", 1), -1).max(axis=1)


def _apply(wiring: Wiring, pair: Pair, factors: np.ndarray) -> None:
    _scale(wiring, pair.first.input[1], output_axis(pair.first), 1 / factors)
    if bias := bias_of(pair.first):
        _scale(wiring, bias, -1, 1 / factors)
    if _depthwise(pair.second):
        per_group = wiring.constants[pair.second.input[1]].dims[0] // len(factors)
        _scale(wiring, pair.second.input[1], 0, np.repeat(factors, per_group))
    else:
        _scale(wiring, pair.second.input[1], 1 - output_axis(pair.second), factors)


def _scale(wiring: Wiring, name: str, axis: int, factors: np.ndarray) -> None:
    value = numpy_helper.to_array(wiring.constants[name])
    shape: Mapping[int, int] = {axis % value.ndim: len(factors)}
    wiring.set(name, value * factors.reshape([shape.get(at, 1) for at in range(value.ndim)]))
