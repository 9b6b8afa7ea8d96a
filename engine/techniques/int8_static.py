"""Weights and activations in 8 bits with fixed ranges, found on calibration data: ONNX Runtime's static Q/DQ.

Activations are uint8 and weights int8 (U8S8): x86 computes it two to three times as fast as signed activations.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from ...contract.measures import Interface
from ...contract.steps import Int8Static
from ...contract.text import untrusted
from ..bench import Bench
from ..data.dataset import Dataset
from ..models import onnx_file
from ..problems import JobProblem
from ..samples import batches
from .base import Made, refuse_unless_float32, write
from .preparing import PER_CHANNEL, prepare, raised, surviving_names

# Of the choice of calibration samples: fixed, so that the same step makes the same file.
_SEED = 0


def run(
    parent: Path, step: Int8Static, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    if calibration is None:
        raise JobProblem("CALIBRATION_REQUIRED", "int8_static finds its ranges on a calibration set, and there is none")
    model = onnx_file.load(parent)
    refuse_unless_float32(onnx_file.precision(model), "int8_static")
    names = _known(step.keep_float, model)
    prepared = prepare(raised(model, PER_CHANNEL) if step.per_channel else model, bench.tmp)
    survivors = {name: surviving_names(name, model, prepared) for name in names}
    chosen = spread(len(calibration), step.calibration_samples)
    source, quantized = bench.tmp / "prepared.onnx", bench.tmp / "quantized.onnx"
    onnx.save(prepared, source)
    quantize_static(
        source,
        quantized,
        CalibrationBatches(batches(calibration, onnx_file.inputs(model), chosen), len(chosen), bench),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=step.per_channel,
        nodes_to_exclude=sorted({survivor for found in survivors.values() for survivor in found}),
        calibrate_method=CalibrationMethod.MinMax,
    )
    made = onnx_file.read(quantized)
    write(made, model, out)
    return Made(onnx_file.precision(made), _notes(step, len(chosen), survivors, made))


def spread(size: int, count: int) -> list[int]:
    """`count` different indices below `size` (all, where there are fewer): one at random from each of `count` equal
    stretches, so that a set sorted by class gives samples of every class."""
    count = min(size, count)
    edges = np.arange(count + 1) * size // count
    return np.random.default_rng(_SEED).integers(edges[:-1], edges[1:]).tolist()


class CalibrationBatches(CalibrationDataReader):
    """Batches as the calibrator asks for them; an empty one ends it."""

    def __init__(self, feeds: Iterator[dict[str, np.ndarray]], samples: int, bench: Bench):
        self._feeds = feeds
        self._samples = samples
        self._read = 0
        self._bench = bench

    def get_next(self) -> dict[str, np.ndarray]:
        batch = next(self._feeds, {})
        self._read += len(next(iter(batch.values()), ()))
        done = min(1.0, self._read / self._samples)
        self._bench.report(0.8 * done, f"calibrating on {self._samples} samples")
        return batch


def _known(keep_float: str | list[str], model: ModelProto) -> list[str]:
    """The names to keep in float. JobProblem INVALID_ARGUMENT where the parent has no such node, with the nearest names."""
    names = [] if isinstance(keep_float, str) else keep_float
    known = {node.name for node in model.graph.node if node.name}
    unknown = [name for name in names if name not in known]
    if unknown:
        near = {name: difflib.get_close_matches(name, known, n=3, cutoff=0.4) for name in unknown[:5]}
        hints = [f"{untrusted(name)!r} (nearest: {_listed(found)})" for name, found in near.items()]
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"keep_float names {len(unknown)} nodes that the parent does not have: {'; '.join(hints)}."
            " Names are those of the parent's nodes, as analyze_sensitivity lists them",
            [untrusted(name) for name in unknown[:5]],
        )
    return names


def _listed(names: list[str]) -> str:
    return ", ".join(repr(untrusted(name)) for name in names) or "none"


def _notes(step: Int8Static, used: int, survivors: dict[str, list[str]], made: ModelProto) -> list[str]:
    notes = []
    if used < step.calibration_samples:
        notes.append(
            f"the calibration set has {used} samples, and all were used ({step.calibration_samples} asked for)"
        )
    for name, found in survivors.items():
        if not found:
            notes.append(f"the node {untrusted(name)} was folded into a constant: there was nothing to keep in float")
        elif found != [name]:
            notes.append(f"the node {untrusted(name)} was merged into {_listed(found)}, which was kept in float")
    if onnx_file.precision(made) != "int8":
        notes.append("no operator of this model was quantized: nothing is in 8 bits")
    return notes
