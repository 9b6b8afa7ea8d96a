"""What in a float graph is known to lose accuracy in 8 bits, said before anyone measures it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, NodeProto

from ...contract.text import untrusted
from .graph import WEIGHTED, Wiring, output_axis
from .observing import Observed

# A layer's largest channel over its middle one, from which one scale leaves the middle one fewer than 5 of 8 bits.
_UNEVEN = 8.0
# The share of a tensor's values that are usual, and the share of its range that they must fill to have 5 of 8 bits.
_USUAL, _FILLED = 0.999, 1 / 8
_GATES = {"Sigmoid": "SiLU (Swish)", "HardSigmoid": "hard-swish"}
_SHOWN = 3
# Of a Softmax: scores further apart than this are as good as infinitely far apart. A coarser step loses all the others.
_LARGEST_STEP = 4.0


def risks(model: ModelProto, observed: Observed, *, per_channel: bool) -> list[str]:
    """A sentence each; of the tensors only where their distributions were counted."""
    wiring = Wiring(model)
    found = [_gated(wiring), None if per_channel else _uneven(wiring), _far(observed)]
    return [sentence for sentence in found if sentence]


def masked(model: ModelProto, observed: Observed) -> list[str]:
    """The nodes around scores of which a mask makes some nearly minus infinity: what makes the scores, and the Softmax that
    takes them. No 8 bits hold both the mask and the other scores."""
    wiring = Wiring(model)
    found: list[str] = []
    for node in wiring.nodes:
        seen = observed.seen.get(node.input[0]) if node.op_type == "Softmax" else None
        if seen is None or seen.highest - seen.lowest <= 255 * _LARGEST_STEP:
            continue
        maker = wiring.maker.get(node.input[0])
        found += [one.name for one in (maker, node) if one is not None and one.name]
    return list(dict.fromkeys(found))


def told_masked(names: Sequence[str], *, kept: bool) -> str:
    what = f"{len(names)} nodes around masked scores ({_shown(names)})"
    if kept:
        return f"{what} were kept in float: no 8 bits hold a mask near minus infinity and the other scores"
    return (
        f"risk: {what} are quantized with the mask in their range, which leaves the other scores nothing: take"
        " calibrator='auto', which keeps them in float, or keep_float"
    )


def _gated(wiring: Wiring) -> str | None:
    """Their small negative values, down to -0.28 and -0.375, share a scale with large positive ones."""
    kinds = [kind for node in wiring.nodes if (kind := _gate(node, wiring))]
    if not kinds:
        return None
    names = " and ".join(sorted(set(kinds)))
    return (
        f"risk: {len(kinds)} activations are {names}: their negative values are small and matter, and share one scale with"
        " large positive ones. Where accuracy falls, take calibrator='auto' with bias_correction=true, or keep the first of"
        " them in float (keep_float)"
    )


def _gate(node: NodeProto, wiring: Wiring) -> str | None:
    """x times a squashed x, in one node or several; what the squashing is made of between two Muls or Divs too."""
    if node.op_type in ("HardSwish", "Swish"):
        return "hard-swish" if node.op_type == "HardSwish" else _GATES["Sigmoid"]
    if node.op_type != "Mul":
        return None
    for value, gate in (node.input, reversed(node.input)):
        maker = wiring.maker.get(gate)
        if maker is not None and maker.op_type in ("Div", "Mul"):
            maker = wiring.maker.get(maker.input[0])
        if maker is None or not maker.input:
            continue
        if maker.op_type in _GATES and maker.input[0] == value:
            return _GATES[maker.op_type]
        shifted = wiring.maker.get(maker.input[0]) if maker.op_type == "Clip" else None
        if shifted is not None and shifted.op_type == "Add" and value in shifted.input:
            return "hard-swish"
    return None


def _uneven(wiring: Wiring) -> str | None:
    found = [
        (name, ratio) for node in wiring.nodes if (ratio := _unevenness(node, wiring)) > _UNEVEN for name in [node.name]
    ]
    if not found:
        return None
    worst = max(ratio for _, ratio in found)
    return (
        f"risk: with one scale a tensor, {len(found)} layers give their middle channel less than an eighth of their range"
        f" ({_shown([name for name, _ in found])}; the worst a {worst:.3g}th): take per_channel=true, or equalize=true"
    )


def _unevenness(node: NodeProto, wiring: Wiring) -> float:
    weight = wiring.value(node.input[1]) if node.op_type in WEIGHTED else None
    if weight is None:
        return 0.0
    channels = np.moveaxis(weight, output_axis(node), 0)
    sizes = np.abs(channels.reshape(len(channels), -1)).max(axis=1)
    return float(sizes.max() / np.median(sizes)) if np.median(sizes) > 0 else 0.0


def _far(observed: Observed) -> str | None:
    """Outliers that min-max gives most of the range to."""
    counted = {name: seen for name, seen in observed.seen.items() if seen.counts.any()}
    far = [name for name, seen in counted.items() if seen.filled(_USUAL) < _FILLED]
    if not far:
        return None
    return (
        f"risk: in {len(far)} of {len(counted)} tensors {100 * _USUAL:g} % of the values lie in less than an eighth of the range"
        f" ({_shown(far)}): calibrator='minmax' leaves them fewer than 5 of 8 bits"
    )


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(untrusted(name) for name in names[:_SHOWN]) + more
