"""Structured pruning: channels taken out of layers, with everything that depends on them.

Which weights hang together Torch-Pruning finds (Fang et al. 2023, DepGraph, arXiv:2301.12900), and by the same library's
group norm the least important channels go. Every removal is then tried: the smaller network must compute exactly what the
whole one does with those channels cut off from all that reads them. Where it does not (a reshape that was traced with the
old number, channels that a shortcut shifts, a norm over channels), the layers stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch_pruning as tp
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ...contract.text import untrusted
from ..problems import JobProblem
from .network import Network, Tensors, leaves

# What vectorized kernels take at once: other numbers of channels are padded to it or run slower.
ROUND_TO = 8
# Of the largest output: other sizes add up in another order.
_SAME = 1e-4

# What a forward pass, or the library, raises where sizes no longer fit.
_BROKEN = (RuntimeError, IndexError, AssertionError, ValueError)
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


@dataclass
class Pruned:
    """Multiply-accumulates of one sample and parameters, before and after; `layers`: (name, channels before, after);
    `left`: layers that could not lose any."""

    macs: tuple[float, float] = (0.0, 0.0)
    parameters: tuple[int, int] = (0, 0)
    layers: list[tuple[str, int, int]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def notes(self, ratio: float) -> list[str]:
        before = sum(count for _, count, _ in self.layers)
        after = sum(count for _, _, count in self.layers)
        said = [
            f"asked for {ratio:.0%} of the channels; in steps of {ROUND_TO}, {len(self.layers)} groups of layers lost"
            f" {1 - after / before:.0%} of theirs ({before} -> {after})",
            f"multiply-accumulates {self.macs[0]:,.0f} -> {self.macs[1]:,.0f} ({_less(*self.macs)}), parameters"
            f" {self.parameters[0]:,} -> {self.parameters[1]:,} ({_less(*self.parameters)}); neither is latency, which"
            " benchmark_variant measures",
        ]
        if self.left:
            shown = ", ".join(map(untrusted, self.left[:5])) + (", ..." if len(self.left) > 5 else "")
            said.append(
                f"{len(self.left)} groups of layers stayed whole, since removing channels changes more there: {shown}"
            )
        return said


def _less(before: float, after: float) -> str:
    return f"{1 - after / before:.0%} less" if before else "none"


def prune_channels(network: Network, example: Tensors, ratio: float) -> Pruned:
    """Takes channels out of the network in place, in every group of layers that can lose some.

    `example`: real inputs, two samples or more. Raises JobProblem UNAVAILABLE where no layer can.
    """
    module: Any = network.module
    module.eval()
    macs, parameters = _macs(module, example), _parameters(module)
    pruned = Pruned((macs, macs), (parameters, parameters))
    graph = _Dependencies(module, example)
    for name, root in graph.roots():
        channels = root.weight.shape[0]
        keep = remaining(channels, ratio)
        if keep == channels:
            continue
        came = graph.cut(root, channels - keep)
        if came == "cut":
            pruned.layers.append((name, channels, keep))
        elif came == "hangs together":
            pruned.left.append(name)
    if not pruned.layers:
        raise JobProblem(
            "UNAVAILABLE",
            f"no layer of this model can lose {ratio:.0%} of its channels in steps of {ROUND_TO}: its layers are too narrow, or"
            " hang together in ways that cannot be cut (the outputs, grouped convolutions, traced shapes). Take a higher"
            " ratio, or prune_unstructured",
        )
    pruned.macs = macs, _macs(module, example)
    pruned.parameters = parameters, _parameters(module)
    return pruned


def remaining(channels: int, ratio: float) -> int:
    """How many channels a layer keeps: the multiple of eight that is nearest to what was asked, one at least; all where that
    is no less."""
    nearest = ROUND_TO * max(1, round(channels * (1 - ratio) / ROUND_TO))
    return min(channels, nearest)


class _Dependencies:
    """The layers of a module, and what must go together."""

    def __init__(self, module: nn.Module, example: Tensors):
        self._module = module
        self._example = tuple(example)
        self._graph: Any = tp.DependencyGraph()
        self._graph.build_dependency(module, self._example, verbose=False)
        self._importance: Any = tp.importance.GroupMagnitudeImportance(p=2)

    def roots(self) -> list[tuple[str, Any]]:
        """One layer of each group, with its name."""
        names = {layer: name for name, layer in self._module.named_modules()}
        groups = self._graph.get_all_groups(root_module_types=_WEIGHTED)
        found = [group[0].dep.target.module for group in groups]
        return [(names[layer], layer) for layer in found]

    def cut(self, root: nn.Module, count: int) -> Literal["cut", "is an output", "hangs together"]:
        """Removes the `count` least important channels of the root's group, if that is the same as cutting them off."""
        prune = self._graph.get_pruner_of_module(root).prune_out_channels
        every = range(self._graph.get_out_channels(root))
        try:
            importance = self._importance(self._graph.get_pruning_group(root, prune, list(every)))
            if len(importance) != len(every):
                return "hangs together"  # one channel of the root stands for several of others
            least = torch.argsort(importance, stable=True)[:count].tolist()
            group = self._graph.get_pruning_group(root, prune, sorted(least))
            if any(not isinstance(dep.target.module, nn.Module) for dep, _ in group):
                return "hangs together"  # a weight that belongs to no layer
            with torch.no_grad(), self._cut_off(group):
                expected = leaves(self._module(*self._example))
        except _BROKEN:
            return "hangs together"
        before = [_State(dep.target.module) for dep, _ in group]
        try:
            group.prune()
            with torch.no_grad():
                found = leaves(self._module(*self._example))
            if _alike(expected, found):
                return "cut"
            outputs = [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]
        except _BROKEN:
            outputs = False
        for state in before:
            state.restore()
        return "is an output" if outputs else "hangs together"

    @contextmanager
    def _cut_off(self, group: Any) -> Iterator[None]:
        """While it lasts, no layer reads the channels of the group."""
        cut: list[tuple[torch.Tensor, torch.Tensor]] = []
        try:
            for dep, indices in group:
                layer = dep.target.module
                reads = isinstance(layer, _WEIGHTED) and self._graph.is_in_channel_pruning_fn(dep.handler)
                if reads and not _is_depthwise(layer):
                    weight = layer.weight.data
                    cut.append((weight, weight.clone()))
                    weight[:, indices] = 0
            yield
        finally:
            for weight, whole in cut:
                weight.copy_(whole)


class _State:
    """A layer as it is, to be put back: pruning gives it other tensors and other sizes."""

    def __init__(self, layer: nn.Module):
        self._layer = layer
        self._plain = {k: v for k, v in vars(layer).items() if not isinstance(v, dict)}
        self._parameters = dict(layer._parameters)
        self._buffers = dict(layer._buffers)

    def restore(self) -> None:
        vars(self._layer).update(self._plain)
        self._layer._parameters.update(self._parameters)
        self._layer._buffers.update(self._buffers)


def _is_depthwise(layer: Any) -> bool:
    return getattr(layer, "groups", 1) > 1 and layer.groups == layer.out_channels


def _alike(expected: Tensors, found: Tensors) -> bool:
    if [tensor.shape for tensor in expected] != [tensor.shape for tensor in found]:
        return False
    return all(
        float((one - other).abs().max()) <= _SAME * max(1e-6, float(one.abs().max()))
        for one, other in zip(expected, found, strict=True)
        if one.is_floating_point() and one.numel()
    )


def _macs(module: nn.Module, example: Tensors) -> float:
    """Of one sample: in convolutions and matrix products, which take nearly all the time."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        module(*example)
    return counter.get_total_flops() / 2 / len(example[0])


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
