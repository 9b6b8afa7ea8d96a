"""ONNX graphs run with chosen tensors as outputs, sample by sample."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, ValueInfoProto

from ..runtimes.onnxruntime import session_options
from .samples import Feeds


class Tapped:
    """A model that answers with these tensors and nothing else; what they do not need is not computed.

    `optimized`: by ONNX Runtime's rules for this machine, so that integer layers run in integers; else each node as it
    stands in the graph, in its own arithmetic.
    """

    def __init__(self, model: ModelProto, tensors: Sequence[str], *, optimized: bool):
        self.tensors = list(tensors)
        tapped = ModelProto()
        tapped.CopyFrom(model)
        del tapped.graph.output[:]
        tapped.graph.output.extend(ValueInfoProto(name=name) for name in self.tensors)
        options = session_options(_threads())
        level = ort.GraphOptimizationLevel
        options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(tapped.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        return dict(zip(self.tensors, map(np.asarray, self._session.run(self.tensors, feeds)), strict=True))

    def each(self, feeds: Iterable[Feeds]) -> Iterator[dict[str, np.ndarray]]:
        """One inference after the other; nothing of the one before is kept."""
        return (self.run(fed) for fed in feeds)


def _threads() -> int:
    """0 for ONNX Runtime's own choice, which overlooks that a process may be held to fewer processors: its threads would
    spin in each other's way."""
    held = len(os.sched_getaffinity(0))
    return held if held < (os.cpu_count() or held) else 0


def output_names(model: ModelProto) -> list[str]:
    return [value.name for value in model.graph.output]
