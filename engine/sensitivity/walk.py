"""Samples on their way through a model: what runs before a layer gives the same however that layer is rounded, so it runs once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from ..measure.inputs import Feeds
from ..models.tensors import subgraphs
from ..quantization.running import Tapped

# What is held between two layers, at most: with large inputs the way goes on from an earlier place.
_MOST_BYTES = 1 << 28


class Walk:
    """`values`: what the nodes from `place` on take, for each sample. The model is only read, its nodes must stay in their
    order."""

    def __init__(self, model: ModelProto, feeds: Sequence[Feeds]):
        self._model = model
        self._uses = [set(_uses(node)) for node in model.graph.node]
        self._constants = {tensor.name for tensor in model.graph.initializer}
        self._stays = any("Sequence" in node.op_type or "Optional" in node.op_type for node in model.graph.node)
        self.place = 0
        self.values = list(feeds)

    def to(self, place: int) -> None:
        """Runs the nodes before `place`. Where more would have to be held than is allowed, nothing happens."""
        if self._stays or place <= self.place:
            return
        known = set(self.values[0]) if self.values else set()
        made = {name for node in self._model.graph.node[self.place : place] for name in node.output}
        later = self._needed(place)
        passed, wanted = known & later, sorted(made & later)
        if not wanted:
            self._go(place, [{name: fed[name] for name in passed} for fed in self.values])
            return
        part = self._part(self.place, place, [ValueInfoProto(name=name) for name in wanted])
        runs, found, room = Tapped(part, wanted, optimized=True), [], _MOST_BYTES // len(self.values)
        for fed in self.values:
            found.append(runs.run(fed) | {name: fed[name] for name in passed})
            if sum(values.nbytes for values in found[-1].values()) > room:
                return
        self._go(place, found)

    def rest(self) -> ModelProto:
        """The nodes from `place` on, with the model's own outputs."""
        return self._part(self.place, len(self._uses), self._model.graph.output)

    def _go(self, place: int, values: list[Feeds]) -> None:
        self.place, self.values = place, values

    def _needed(self, place: int) -> set[str]:
        return {output.name for output in self._model.graph.output}.union(*self._uses[place:]) - self._constants

    def _part(self, begin: int, end: int, outputs: Sequence[ValueInfoProto]) -> ModelProto:
        whole, used = self._model, set[str]().union(*self._uses[begin:end], (output.name for output in outputs))
        graph = GraphProto(name="part")
        graph.node.extend(whole.graph.node[begin:end])
        graph.initializer.extend(tensor for tensor in whole.graph.initializer if tensor.name in used)
        graph.sparse_initializer.extend(t for t in whole.graph.sparse_initializer if t.values.name in used)
        graph.input.extend(_described(name, [fed[name] for fed in self.values]) for name in sorted(self.values[0]))
        graph.output.extend(outputs)
        part = ModelProto(ir_version=whole.ir_version, graph=graph)
        part.opset_import.extend(whole.opset_import)
        part.functions.extend(whole.functions)
        return part


def _uses(node: NodeProto) -> Iterator[str]:
    """The tensors that a node takes, and those that its subgraphs take from outside (and, harmlessly, their own)."""
    yield from filter(None, node.input)
    for attribute in node.attribute:
        for graph in subgraphs(attribute):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _uses(inner)


def _described(name: str, values: Sequence[np.ndarray]) -> ValueInfoProto:
    """An input for these values: an axis whose length differs among them is open."""
    first = values[0]
    lengths = zip(*(value.shape for value in values), strict=True)
    shape = [axis[0] if len(set(axis)) == 1 else None for axis in lengths]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(first.dtype), shape)
