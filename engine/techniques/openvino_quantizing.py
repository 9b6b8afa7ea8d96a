"""An OpenVINO model in eight bits, by NNCF: weights and activations, with ranges found on calibration data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...contract.measures import Interface, TensorInfo
from ...contract.steps import OpenVINO
from ..bench import Bench
from ..data.dataset import Dataset
from ..measure.accuracy import batch_size
from ..problems import JobProblem
from ..quantization.samples import spread
from ..runtimes.openvino_quietly import ov
from ..runtimes.runner import open_runner
from ..samples import batches
from .nncf_quietly import nncf

_AS_TRANSFORMER = (
    "quantized as a transformer, since it has attention: what NNCF knows to be delicate there stays in float32"
)


def quantized(
    plain: Path, step: OpenVINO, calibration: Dataset | None, interface: Interface, bench: Bench
) -> tuple[ov.Model, list[str]]:
    """The model of the IR `plain` in eight bits, and what is to be said of it."""
    if calibration is None:
        raise JobProblem(
            "CALIBRATION_REQUIRED",
            "openvino with precision='int8' finds its ranges on a calibration set, and there is none",
        )
    chosen = spread(len(calibration), step.calibration_samples)
    runner = open_runner(plain, interface=interface)
    feeds = _Batches(calibration, runner.inputs, chosen, bench)
    model = ov.Core().read_model(plain)
    attentive = has_attention(model)
    made = nncf.quantize(
        model,
        nncf.Dataset(feeds, runner.native),
        subset_size=len(feeds),
        model_type=nncf.ModelType.TRANSFORMER if attentive else None,
        target_device=nncf.TargetDevice.CPU,
    )
    notes = [_AS_TRANSFORMER] if attentive else []
    if len(chosen) < step.calibration_samples:
        asked = f"{step.calibration_samples} asked for"
        notes.append(f"the calibration set has {len(chosen)} samples, and all were used ({asked})")
    return made, notes


def has_attention(model: ov.Model) -> bool:
    """Whether anything is weighted by a softmax, as in a transformer: NNCF cannot tell, and without being told it ruins
    them (MiniLM on STS-B: Spearman 0.926 in float32, 0.793 in 8 bits, 0.925 in 8 bits as a transformer)."""
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "ScaledDotProductAttention" or (kind == "Softmax" and "MatMul" in _users(node)):
            return True
    return False


def _users(node: Any) -> set[str]:
    """The types of the operators that take what this one gives, whatever is done to its shape in between."""
    found: set[str] = set()
    for user in (target.get_node() for target in node.output(0).get_target_inputs()):
        kind = user.get_type_name()
        found |= _users(user) if kind in {"Reshape", "Transpose", "Convert"} else {kind}
    return found


class _Batches:
    """The chosen samples in the model's batches, as often as they are asked for."""

    def __init__(self, dataset: Dataset, inputs: list[TensorInfo], chosen: list[int], bench: Bench):
        self._dataset = dataset
        self._inputs = inputs
        self._chosen = chosen
        self._bench = bench
        self._read = 0

    def __len__(self) -> int:
        return math.ceil(len(self._chosen) / batch_size(self._inputs))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for batch in batches(self._dataset, self._inputs, self._chosen):
            self._read += 1
            done = min(1.0, self._read / len(self))
            self._bench.report(0.8 * done, f"calibrating on {len(self._chosen)} samples")
            yield batch
