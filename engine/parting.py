"""Where a converted model parts from its parent: the first layer whose values are others.

The parent is cut off behind a layer, the piece is converted by the same technique, and both are run on the same samples; so
for one layer after another, upstream. It is done only for a conversion that has failed, on ONNX parents.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from ..contract.measures import Interface
from ..contract.text import untrusted
from .measure.inputs import Feeds
from .measure.parity import Difference
from .models import onnx_file
from .problems import JobProblem
from .runtimes.runner import open_runner

# (model to convert, file to write): the technique, as it was run on the whole model.
Convert = Callable[[Path, Path], object]


def share(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> float:
    """The largest difference of any two values of one output, as a share of its largest absolute value before; infinite for
    NaN or another shape."""
    gap = Difference(0.0, 0.0)
    for old, new in zip(before, after, strict=True):
        if old.shape != new.shape:
            return math.inf
        gap = gap.with_more(old, new)
    return gap.share()


class Pieces:
    """The pieces of an ONNX model that end behind one tensor each, and whether a conversion keeps what they compute."""

    def __init__(
        self, parent: Path, convert: Convert, suffix: str, feeds: Sequence[Feeds], scratch: Path, bound: float
    ):
        self._model = onnx_file.load(parent)
        self._typed = float_tensors(self._model)
        self._convert, self._suffix, self._feeds = convert, suffix, feeds
        self._scratch, self._bound = scratch, bound
        self._known: dict[str, bool] = {}
        self.producer = {name: node for node in self._model.graph.node for name in node.output if name}

    def parts(self, tensor: str) -> bool:
        """Whether the converted piece that ends with this tensor computes something else."""
        if tensor not in self._known:
            self._known[tensor] = self._compare(tensor)
        return self._known[tensor]

    def upstream(self, node: NodeProto) -> list[str]:
        """The float tensors that the node takes from other nodes."""
        return [name for name in node.input if name in self.producer and name in self._typed]

    def _compare(self, tensor: str) -> bool:
        piece, converted = self._scratch / "piece.onnx", self._scratch / f"converted{self._suffix}"
        onnx.save(self._cut(tensor), piece)
        self._convert(piece, converted)
        runner = open_runner(piece)
        other = open_runner(converted, interface=Interface(inputs=runner.inputs, outputs=runner.outputs))
        names = [info.name for info in runner.inputs]
        for feeds in self._feeds:
            given = {name: feeds[name] for name in names}
            before, after = runner.run(given), other.run(given)
            if share(list(before.values()), list(after.values())) > self._bound:
                return True
        return False

    def _cut(self, tensor: str) -> ModelProto:
        needed, wanted = [], {tensor}
        for node in reversed(self._model.graph.node):
            if wanted.intersection(node.output):
                needed.append(node)
                wanted.update(node.input)
        piece = ModelProto()
        piece.CopyFrom(self._model)
        graph = piece.graph
        for part in (graph.node, graph.output, graph.value_info):
            del part[:]
        graph.node.extend(reversed(needed))
        graph.output.append(self._typed[tensor])
        inputs = [value for value in graph.input if value.name in wanted]
        weights = [value for value in graph.initializer if value.name in wanted]
        del graph.input[:], graph.initializer[:]
        graph.input.extend(inputs)
        graph.initializer.extend(weights)
        return piece


def where_they_part(pieces: Pieces, outputs: Sequence[str], seconds: float) -> str | None:
    """The first layer that is converted wrongly, in words: what goes into it is still the same. None where no piece alone
    shows it, the time is up, or a piece does not convert."""
    ends = time.monotonic() + seconds
    try:
        tensor = next((name for name in outputs if name in pieces.producer and pieces.parts(name)), None)
        if tensor is None:
            return None
        while time.monotonic() < ends:
            node = pieces.producer[tensor]
            earlier = next((name for name in pieces.upstream(node) if pieces.parts(name)), None)
            if earlier is None:
                return f"{node.op_type} {untrusted(node.name or tensor)!r}"
            tensor = earlier
    except JobProblem:
        return None
    return None


def float_tensors(model: ModelProto) -> dict[str, ValueInfoProto]:
    """The tensors that are known to be float32, by name."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:
        graph = model.graph
    found = (*graph.value_info, *graph.output)
    return {value.name: value for value in found if value.type.tensor_type.elem_type == TensorProto.FLOAT}
