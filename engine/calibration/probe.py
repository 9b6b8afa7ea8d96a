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

from ...contract.measures import Interface
from ..data.dataset import Dataset
from ..measure import metrics
from ..measure.accuracy import batch_size
from ..models import onnx_file
from ..models.model_file import ModelFile
from ..runtimes.runner import Runner, open_runner
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
    """The model, telling its ranges: an ONNX model by a copy that gives them as outputs, another by its inputs and outputs
    alone. It is fed as `interface` says. JobProblem where its runtime does not load it."""

    def __init__(self, parent: ModelFile, interface: Interface, scratch: Path, metric: str):
        self._plain = open_runner(parent.path, interface=interface)
        self._inputs = self._plain.inputs
        self._metric = metric
        self._watching: Runner | None = None
        self._watched_inputs = len(self._inputs)
        self.classes: int | None = None
        if parent.format == "onnx":
            model = onnx_file.load(parent.path)
            self._tensors, self._watched_inputs = _watch(model)
            path = scratch / "probed.onnx"
            onnx.save(model, path)
            self._watching = open_runner(path)

    def run(self, dataset: Dataset, indices: Sequence[int], seconds: float) -> Seen:
        """The model on these samples, in a random order, for about as long as this."""
        order = np.random.default_rng(_SEED).permutation(np.asarray(indices)).tolist()
        size = batch_size(self._inputs)
        ranges: list[np.ndarray] = []
        answers: list[np.ndarray] = []
        started = time.monotonic()
        for feeds in batches(dataset, self._inputs, order):
            ends, outputs = self._ends(feeds)
            ranges.append(np.array(ends))
            answers.append(self._answers(outputs, size))
            if len(ranges) >= _LEAST and time.monotonic() - started > seconds:
                break
        given = np.concatenate(answers)[: len(order)]
        seen = np.array(ranges).reshape(len(ranges), -1, 2)
        return Seen(seen, self._watched_inputs, given if given.size else None)

    def _ends(self, feeds: dict[str, np.ndarray]) -> tuple[list[list[float]], dict[str, np.ndarray]]:
        """The lowest and highest value of each watched tensor, and the outputs."""
        if self._watching is None:
            outputs = self._plain.run(feeds)
            return [[array.min().item(), array.max().item()] for array in (*feeds.values(), *outputs.values())], outputs
        outputs = self._watching.run(self._plain.native(feeds))
        return [[outputs.pop(f"{end}{at}").item() for end in (_LOW, _HIGH)] for at in range(self._tensors)], outputs

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
