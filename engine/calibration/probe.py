"""The parent model on samples of a set: between which values its tensors lie, and which classes it answers.

The minimum and the maximum of each tensor are taken inside the graph, so that memory does not grow with them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper

from ..data.dataset import Dataset
from ..measure import metrics
from ..measure.accuracy import batch_size
from ..models import onnx_file
from ..runtimes import open_runner
from ..runtimes.base import Runner
from ..samples import batches, evenly

# Tensors that are watched, evenly through the graph. More of them say the same.
_TENSORS = 32
# Inferences that are made however long they take.
_LEAST = 32
_SEED = 0
_LOW, _HIGH = "edgeopt_low_", "edgeopt_high_"


@dataclass(frozen=True)
class Seen:
    """`ranges`: (inferences, tensors, 2), the lowest and highest value; the model's own inputs, `inputs` in number, come
    first. `answers`: a class each sample, or None."""

    ranges: np.ndarray
    inputs: int
    answers: np.ndarray | None


class Probe:
    """A copy of the model that tells its ranges. JobProblem where ONNX Runtime does not load it."""

    def __init__(self, parent: Path, scratch: Path, metric: str):
        model = onnx_file.load(parent)
        self._inputs = onnx_file.inputs(model)
        self._metric = metric
        self._tensors, self._watched_inputs = _watch(model)
        self.classes: int | None = None
        path = scratch / "probed.onnx"
        onnx.save(model, path)
        self._runner: Runner = open_runner(path)

    def run(self, dataset: Dataset, indices: Sequence[int], seconds: float) -> Seen:
        """The model on these samples, in a random order, for about as long as this."""
        order = np.random.default_rng(_SEED).permutation(np.asarray(indices)).tolist()
        size = batch_size(self._inputs)
        ranges: list[np.ndarray] = []
        answers: list[np.ndarray] = []
        started = time.monotonic()
        for feeds in batches(dataset, self._inputs, order):
            outputs = self._runner.run(feeds)
            ends = [[outputs.pop(f"{end}{at}").item() for end in (_LOW, _HIGH)] for at in range(self._tensors)]
            ranges.append(np.array(ends))
            answers.append(self._answers(outputs, size))
            if len(ranges) >= _LEAST and time.monotonic() - started > seconds:
                break
        given = np.concatenate(answers)[: len(order)]
        seen = np.array(ranges).reshape(len(ranges), self._tensors, 2)
        return Seen(seen, self._watched_inputs, given if given.size else None)

    def _answers(self, outputs: dict[str, np.ndarray], samples: int) -> np.ndarray:
        """The class of each sample; nothing where the task is not to tell classes."""
        if self._metric not in metrics.CLASSIFICATION:
            return np.zeros(0, np.int64)
        scores = metrics.class_scores(outputs, samples)
        self.classes = scores.shape[1]
        return metrics.top_k(np.nan_to_num(scores), 1)[:, 0]


def _watch(model: ModelProto) -> tuple[int, int]:
    """Adds the lowest and the highest value of the inputs and of some other tensors to the outputs; returns of how many,
    and how many of these are inputs."""
    inputs, others = _activations(model)
    chosen = inputs + [others[at] for at in evenly(len(others), _TENSORS)]
    for at, name in enumerate(chosen):
        for operator, end in (("ReduceMin", _LOW), ("ReduceMax", _HIGH)):
            model.graph.node.append(helper.make_node(operator, [name], [f"{end}{at}"], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(f"{end}{at}", TensorProto.FLOAT, []))
    return len(chosen), len(inputs)


def _activations(model: ModelProto) -> tuple[list[str], list[str]]:
    """The float32 tensors that are inputs, and those that depend on inputs, in the graph's order."""
    try:
        typed = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:
        typed = model.graph  # what it declares itself, then
    known = [*typed.input, *typed.value_info, *typed.output]
    floats = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    inputs = [info.name for info in onnx_file.inputs(model)]
    depends, others = set(inputs), []
    for node in model.graph.node:
        if depends.intersection(node.input):
            depends.update(node.output)
            others += [name for name in node.output if name in floats]
    return [name for name in inputs if name in floats], others
