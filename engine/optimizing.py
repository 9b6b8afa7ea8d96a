"""OPTIMIZE: one technique on one parent, and whether what came out is a model at all."""

from __future__ import annotations

import traceback
from pathlib import Path

import numpy as np

from ..contract.steps import NEEDS_CALIBRATION, PRECISIONS, Int8Static, Step
from ..contract.text import untrusted
from .bench import Bench
from .calibration.audit import require_fit
from .data.dataset import Dataset, open_dataset, open_evaluation
from .digests import file_digest
from .explaining.kinds import runs_as
from .explaining.operators import Workload, profile
from .jobs import Optimize, Optimized
from .models import onnx_file
from .models.identity import graph_digest, weights_digest
from .problems import JobProblem
from .runtimes import open_runner
from .samples import batches, evenly
from .techniques import technique
from .techniques.base import Made

# Enough to see outputs that no longer depend on the input; how accurate they are is measured later.
_ACCEPTANCE_SAMPLES = 32

Outputs = dict[str, list[np.ndarray]]


def run(task: Optimize, bench: Bench) -> Optimized:
    """Writes the variant to the job's files and accepts it only if it loads and answers on real samples.

    Raises JobProblem: whatever the technique refuses (UNAVAILABLE, INVALID_ARGUMENT), CALIBRATION_REQUIRED,
    CALIBRATION_UNFIT, NOT_LOADABLE, BAD_OUTPUTS.
    """
    parent, out = Path(task.parent_path), bench.files / f"{task.file_stem}.onnx"
    before = onnx_file.load(parent)
    inputs = onnx_file.inputs(before)
    evaluation = open_evaluation(task.evaluation, inputs, bench.roots)
    calibration, audited = None, []
    if task.step.technique in NEEDS_CALIBRATION:
        if task.calibration_path is None:
            raise JobProblem(
                "CALIBRATION_REQUIRED",
                f"{task.step.technique} needs a calibration set: open a session with calibration_path",
            )
        calibration = open_dataset(
            task.calibration_path, evaluation.preprocessing, inputs, labelled=False, roots=bench.roots
        )
        _check_same(calibration, task)
        audited = require_fit(
            parent,
            calibration,
            evaluation,
            metric=task.evaluation.metric,
            used=task.step.calibration_samples if isinstance(task.step, Int8Static) else len(calibration),
            technique=task.step.technique,
            bench=bench,
        )

    bench.report(0.05, f"running {task.step.technique}")
    made = _make(task.step, parent, out, calibration, bench)

    bench.report(0.9, "running the new model on real samples")
    accept(parent, out, evaluation)
    changed = graph_digest(onnx_file.read(out)) != graph_digest(before)
    notes = [*made.notes, *audited, *_not_as_asked(task.step, out, evaluation, bench)]
    if not changed:
        notes.insert(0, "the step changed nothing: the new file computes exactly what its parent does")
    parent_size = sum(file.stat().st_size for file in onnx_file.files(onnx_file.read(parent), parent))
    if out.stat().st_size > 1.05 * parent_size:
        notes.append(f"the file grew from {parent_size:,} to {out.stat().st_size:,} bytes")
    return Optimized(
        file=file_digest(out),
        precision=made.precision,
        format="onnx",
        changed=changed,
        parameters=task.step.model_dump(exclude={"technique"}),
        notes=notes,
        weights=weights_digest(onnx_file.load(out)),
    )


def _check_same(calibration: Dataset, task: Optimize) -> None:
    """What a CSV or a COCO JSON names may change while the file stays the same."""
    if task.calibration_digest is not None and calibration.info.digest != task.calibration_digest:
        raise JobProblem(
            "CALIBRATION_UNFIT",
            f"the calibration set {task.calibration_path} is not the one that the session was opened with: its samples"
            " have changed since. Put them back, or open a new session",
        )


def _not_as_asked(step: Step, out: Path, samples: Dataset, bench: Bench) -> list[str]:
    """What the new file really runs as, where that is another precision than the step was to give it."""
    asked = PRECISIONS.get(step.technique)
    if asked is None:
        return []
    feeds = list(batches(samples, onnx_file.inputs(onnx_file.read(out)), evenly(len(samples), 1)))
    (operators,) = profile([Workload(out, feeds)], 1, bench.tmp, blocks=1)
    found = runs_as(asked, operators)
    return [] if found.runs == asked else [str(found)]


def _make(step: Step, parent: Path, out: Path, calibration: Dataset | None, bench: Bench) -> Made:
    """Runs the technique. What its framework throws at a graph that it does not cope with is TECHNIQUE_FAILED."""
    try:
        return technique(step.technique).run(parent, step, out, calibration, bench)
    except (JobProblem, MemoryError):
        raise
    except Exception as error:
        if "allocate memory" in str(error) or "bad_alloc" in str(error):
            raise MemoryError(str(error)) from error
        traceback.print_exc()
        reason = untrusted(f"{type(error).__name__}: {error}", 300)
        raise JobProblem("TECHNIQUE_FAILED", f"{step.technique} does not cope with this model. {reason}") from error


def accept(parent: Path, variant: Path, samples: Dataset) -> None:
    """Raises JobProblem NOT_LOADABLE or BAD_OUTPUTS unless the variant loads and has the parent's outputs, and these are
    finite and vary from sample to sample wherever the parent's do."""
    before = _outputs(parent, samples)
    try:
        after = _outputs(variant, samples)
    except JobProblem as found:
        raise JobProblem("NOT_LOADABLE", f"the new model does not run: {found.problem.message}") from found
    if list(before) != list(after):
        raise JobProblem(
            "BAD_OUTPUTS", f"the outputs of the new model are {_shown(after)}, of its parent {_shown(before)}"
        )
    for name, values in after.items():
        if _finite(before[name]) and not _finite(values):
            raise JobProblem("BAD_OUTPUTS", _broken(name, values, "NaN or infinite where the parent's are finite"))
        if _constant(values) and not _constant(before[name]):
            raise JobProblem(
                "BAD_OUTPUTS", _broken(name, values, "the same for every sample, and the parent's are not")
            )


def _outputs(model: Path, samples: Dataset) -> Outputs:
    """Every output of the model on samples taken evenly from the set, batch by batch."""
    runner = open_runner(model)
    outputs: Outputs = {info.name: [] for info in runner.outputs}
    for feeds in batches(samples, runner.inputs, evenly(len(samples), _ACCEPTANCE_SAMPLES)):
        for name, value in runner.run(feeds).items():
            outputs[name].append(value)
    return outputs


def _finite(values: list[np.ndarray]) -> bool:
    return all(bool(np.isfinite(value).all()) for value in values if value.dtype.kind == "f")


def _constant(values: list[np.ndarray]) -> bool:
    return len(values) > 1 and all(np.array_equal(value, values[0]) for value in values[1:])


def _broken(name: str, values: list[np.ndarray], how: str) -> str:
    return (
        f"the output {untrusted(name)} of the new model is {how} (on {len(values)} batches of real samples): this step"
        " breaks the model; leave sensitive nodes in float (keep_float), or take another technique"
    )


def _shown(outputs: Outputs) -> list[str]:
    return [untrusted(name) for name in outputs]
