"""Weights and activations in 8 bits with fixed ranges, found on calibration data: a graph with Q/DQ pairs.

The types follow from the target's processor (`quantization.schemes`), the road is `quantization.static`. With
calibrator='minmax' and nothing else it is what ONNX Runtime's `quantize_static` makes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from onnx import ModelProto

from ...contract.measures import Interface
from ...contract.steps import Int8Static
from ...contract.text import untrusted
from ..bench import Bench
from ..data.dataset import Dataset
from ..models import onnx_file
from ..problems import JobProblem
from ..quantization.keeping import Kept, keep
from ..quantization.samples import Samples
from ..quantization.schemes import Scheme, is_foreign, scheme_of
from ..quantization.searching import Search
from ..quantization.static import Recipe, quantize
from ..sensitivity.layers import shown_name
from .base import Made, refuse_unless_float32, write
from .preparing import PER_CHANNEL, prepare, raised, surviving_names


def run(
    parent: Path, step: Int8Static, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    return _quantized(parent, step, out, calibration, interface, bench, lambda *_: Kept([], []))


def search(
    parent: Path,
    step: Int8Static,
    out: Path,
    calibration: Dataset | None,
    searching: Search,
    interface: Interface,
    bench: Bench,
    most: int | None = None,
) -> Made:
    """With keep_float='auto': the layers that stay in float, at most `most`, are searched for."""

    def chosen(model: ModelProto, recipe: Recipe, samples: Samples) -> Kept:
        return keep(model, recipe, samples, searching, most, bench)

    return _quantized(parent, step, out, calibration, interface, bench, chosen)


def _quantized(
    parent: Path,
    step: Int8Static,
    out: Path,
    calibration: Dataset | None,
    interface: Interface,
    bench: Bench,
    choose: Callable[[ModelProto, Recipe, Samples], Kept],
) -> Made:
    if calibration is None:
        raise JobProblem("CALIBRATION_REQUIRED", "int8_static finds its ranges on a calibration set, and there is none")
    model = onnx_file.load(parent)
    refuse_unless_float32(onnx_file.precision(model), "int8_static")
    prepared = prepare(raised(model, PER_CHANNEL) if step.per_channel else model, bench.tmp)
    names = _known(step.keep_float, model, prepared)
    survivors = {name: surviving_names(name, model, prepared) for name in names}
    scheme = scheme_of(bench.device)
    recipe = Recipe(
        scheme,
        per_channel=step.per_channel,
        calibrator=step.calibrator,
        samples=step.calibration_samples,
        equalize=step.equalize,
        bias_correction=step.bias_correction,
    )
    samples = Samples.open(calibration, parent, interface)
    kept = choose(prepared, recipe, samples)
    excluded = {survivor for found in survivors.values() for survivor in found}.union(kept.names)
    made, told = quantize(prepared, recipe, samples, excluded, bench)
    write(made, model, out)
    return Made(onnx_file.precision(made), [*kept.notes, *told, *_notes(scheme, survivors, made)])


def _known(keep_float: str | list[str], model: ModelProto, prepared: ModelProto) -> list[str]:
    """The names to keep in float: of the parent's nodes, or of the prepared ones, whose names analyze_sensitivity shows (the
    parent may have none, and a merged node has another). JobProblem INVALID_ARGUMENT for others, with the nearest names."""
    names = [] if isinstance(keep_float, str) else keep_float
    known: dict[str, list[str]] = {}
    for node in (*prepared.graph.node, *model.graph.node):
        for called in {node.name, shown_name(node.name)} - {""}:
            known.setdefault(called, []).append(node.name)
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
    return list(dict.fromkeys(own for name in names for own in known[name]))


def _listed(names: list[str]) -> str:
    return ", ".join(repr(untrusted(name)) for name in names) or "none"


def _notes(scheme: Scheme, survivors: dict[str, list[str]], made: ModelProto) -> list[str]:
    notes = []
    if is_foreign(scheme):
        notes.append(
            f"this machine's CPU has no integer kernels for {scheme.name}, which are the target's: benchmarked here it is"
            " slower than on the target"
        )
    for name, found in survivors.items():
        if not found:
            notes.append(f"the node {untrusted(name)} was folded into a constant: there was nothing to keep in float")
        elif found != [name]:
            notes.append(f"the node {untrusted(name)} was merged into {_listed(found)}, which was kept in float")
    if onnx_file.precision(made) != "int8":
        notes.append("no operator of this model was quantized: nothing is in 8 bits")
    return notes
