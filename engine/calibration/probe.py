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
from ..samples import batches

# Tensors that are watched, evenly through the graph. More of them say the same.
_TENSORS = 32
# Seconds for one set; this many inferences are made all the same.
_SECONDS, _LEAST = 8.0, 32
_SEED = 0
_LOW, _HIGH = "edgeopt_low_", "edgeopt_high_"

# Operators whose results are activations, to which quantization gives a range.
_ACTIVATIONS = frozenset(
    {
        *("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "GRU", "LSTM", "Add", "Sub", "Mul", "Div", "Concat"),
        *("Relu", "LeakyRelu", "PRelu", "Clip", "Elu", "Gelu", "Mish", "Swish", "HardSwish", "HardSigmoid", "Sigmoid"),
        *("Tanh", "Softmax", "BatchNormalization", "InstanceNormalization", "LayerNormalization", "MaxPool"),
        *("AveragePool", "GlobalAveragePool", "ReduceMean", "Resize"),
    }
)


@dataclass(frozen=True)
class Seen:
    """`ranges`: (inferences, tensors, 2), the lowest and highest value. `answers`: a class each sample, or None."""

    ranges: np.ndarray
    answers: np.ndarray | None


class Probe:
    """A copy of the model that tells its ranges. JobProblem where ONNX Runtime does not load it."""

    def __init__(self, parent: Path, scratch: Path, metric: str):
        model = onnx_file.load(parent)
        self._inputs = onnx_file.inputs(model)
        self._metric = metric
        self.tensors = _watch(model)
        self.classes: int | None = None
        path = scratch / "probed.onnx"
        onnx.save(model, path)
        self._runner: Runner = open_runner(path)

    def run(self, dataset: Dataset, indices: Sequence[int]) -> Seen:
        """The model on these samples, in a random order, for as long as time allows."""
        order = np.random.default_rng(_SEED).permutation(np.asarray(indices)).tolist()
        size = batch_size(self._inputs)
        ranges: list[np.ndarray] = []
        answers: list[np.ndarray] = []
        started = time.monotonic()
        for feeds in batches(dataset, self._inputs, order):
            outputs = self._runner.run(feeds)
            ends = [[outputs.pop(f"{end}{at}").item() for end in (_LOW, _HIGH)] for at in range(self.tensors)]
            ranges.append(np.array(ends))
            answers.append(self._answers(outputs, size))
            if len(ranges) >= _LEAST and time.monotonic() - started > _SECONDS:
                break
        given = np.concatenate(answers)[: len(order)]
        return Seen(np.array(ranges).reshape(len(ranges), self.tensors, 2), given if given.size else None)

    def _answers(self, outputs: dict[str, np.ndarray], samples: int) -> np.ndarray:
        """The class of each sample; nothing where the task is not to tell classes."""
        if self._metric not in metrics.CLASSIFICATION:
            return np.zeros(0, np.int64)
        scores = metrics.class_scores(outputs, samples)
        self.classes = scores.shape[1]
        return metrics.top_k(np.nan_to_num(scores), 1)[:, 0]


def _watch(model: ModelProto) -> int:
    """Adds the lowest and the highest value of some tensors to the outputs; returns of how many."""
    names = _activations(model)
    chosen = [names[at] for at in sorted({*np.linspace(0, len(names) - 1, min(_TENSORS, len(names))).astype(int)})]
    for at, name in enumerate(chosen):
        for operator, end in (("ReduceMin", _LOW), ("ReduceMax", _HIGH)):
            model.graph.node.append(helper.make_node(operator, [name], [f"{end}{at}"], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(f"{end}{at}", TensorProto.FLOAT, []))
    return len(chosen)


def _activations(model: ModelProto) -> list[str]:
    """The float32 tensors of the graph that quantization would give a range, in the graph's order."""
    try:
        typed = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:
        typed = model.graph  # what it declares itself, then
    known = [*typed.value_info, *typed.output]
    floats = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    inputs = [info.name for info in onnx_file.inputs(model) if info.dtype == "float32"]
    return inputs + [
        node.output[0]
        for node in model.graph.node
        if node.op_type in _ACTIVATIONS and node.output and node.output[0] in floats
    ]
