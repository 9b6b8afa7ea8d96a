"""The same model with other options for the session that ONNX Runtime runs it in, kept in the file's own metadata.

ONNX Runtime rewrites every graph while it loads it, by rules that were tuned on other machines: now and then one of them
makes a model slower. Which, only measuring tells: each choice is timed against the parent by the design of every benchmark.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx

from ...contract.steps import SessionOptions
from ..bench import Bench
from ..measure import inputs
from ..measure.inputs import Feeds
from ..measure.pairing import Pair, Paired, compare
from ..models import onnx_file
from ..runtimes.recorded_options import OPTIONS_KEY
from .base import Made, write

# ONNX Runtime 1.31's own names of its rules. Joining additions with layer norms cost MiniLM and BERT time on x86.
CHOICES: dict[str, dict[str, Any]] = {
    "no_norm_fusions": {
        "disabled_optimizers": ["BiasSkipLayerNormFusion", "EmbedLayerNormFusion", "SkipLayerNormFusion"]
    },
    "extended": {"level": "extended"},
    "basic": {"level": "basic"},
}
# As a benchmark times, in less time: a choice that gains little is not worth a step.
_ITERATIONS, _SECONDS = 60, 12.0


def tune(parent: Path, step: SessionOptions, out: Path, timed: list[Feeds], threads: int, bench: Bench) -> Made:
    """Writes the parent's graph with the options of the step's choice; with `auto` those that are measured to be the
    fastest on this machine on so many threads, none where none is faster. `timed`: real inputs, as the runtime takes them.

    By `auto` the same input need not give the same bytes: what is written follows from times.
    """
    model = onnx_file.load(parent)
    _save(model, {}, out)
    if step.choice != "auto":
        _save(model, CHOICES[step.choice], out)
        return Made(onnx_file.precision(model), [_told(step.choice)])
    fed = bench.tmp / "timed.npz"
    inputs.save(timed, fed)
    candidate, found = bench.tmp / "candidate.onnx", dict[str, Paired]()
    for number, name in enumerate(CHOICES):
        _save(model, CHOICES[name], candidate)
        pair = Pair(baseline=str(out), baseline_inputs=str(fed), variant=str(candidate), variant_inputs=str(fed), threads=threads)  # fmt: skip
        found[name] = compare(pair, _ITERATIONS, _SECONDS, bench.tmp, _progress(bench, number, name))
    best = max(found, key=lambda name: found[name].speedup.value)
    tried = "; ".join(f"{name} {_said(paired)}" for name, paired in found.items())
    if found[best].speedup.verdict != "faster":
        return Made(
            onnx_file.precision(model), [f"no session options are measurably faster here than the defaults: {tried}"]
        )
    _save(model, CHOICES[best], out)
    return Made(onnx_file.precision(model), [f"{_told(best)}; tried on this machine against the defaults: {tried}"])


def _save(model: onnx.ModelProto, options: dict[str, Any], file: Path) -> None:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    write(copy, model, file)
    if options:
        written = onnx.load(file)
        text = json.dumps(options, sort_keys=True)
        written.metadata_props.append(onnx.StringStringEntryProto(key=OPTIONS_KEY, value=text))
        file.write_bytes(written.SerializeToString(deterministic=True))


def _told(choice: str) -> str:
    return (
        f"session options {choice}: {json.dumps(CHOICES[choice], sort_keys=True)}, in the file's metadata"
        f" ({OPTIONS_KEY}); edgeopt and its packages load by them, another loader has to set them itself"
    )


def _said(paired: Paired) -> str:
    low, high = paired.speedup.ci95
    return f"{paired.speedup.value:.3f} times as fast ({low:.3f} to {high:.3f})"


def _progress(bench: Bench, number: int, name: str):
    def report(done: float, what: str) -> None:
        bench.report(0.1 + 0.75 * (number + done) / len(CHOICES), f"trying {name}: {what}")

    return report
