"""OPTIMIZE: one technique on one parent, and whether what came out is a model at all."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..contract.evaluation import Preprocessing
from ..contract.measures import Interface
from ..contract.steps import (
    TAKES,
    TRAINED,
    Distill,
    SessionOptions,
    Step,
    claims_exact,
    made_format,
    needs_calibration,
    needs_training,
    precision_asked,
    searches,
    takes,
)
from ..contract.text import untrusted
from .bench import Bench
from .calibration.audit import require_fit
from .conditioning import own_response
from .conforming import differences
from .data.dataset import Dataset, open_dataset, open_evaluation
from .data.sizes import sized
from .digests import file_digest
from .explaining.kinds import runs_as
from .explaining.operators import Workload, profile
from .jobs import Optimize, Optimized
from .measure.rotation import rotation
from .models.model_file import SUFFIXES, ModelFile, open_file
from .parting import share, where_they_part
from .problems import JobProblem
from .quantization.searching import open_search
from .runtimes.recorded_options import recorded_options
from .runtimes.runner import open_runner
from .samples import batches, evenly
from .techniques import technique
from .techniques.base import Made, SearchingTechnique, Technique, TimedTechnique, TrainedTechnique

# Enough to see outputs that no longer depend on the input; how accurate they are is measured later.
_ACCEPTANCE_SAMPLES = 32
# Of an output's range: float32 arithmetic in another order and by other kernels differs by 1e-7 to 1e-4.
MATCH = 1e-3
# Two right answers of an ill-conditioned model are each as far from the exact one as its own rounding takes it.
UNSTABLE = 2.0

Outputs = dict[str, list[np.ndarray]]


def run(task: Optimize, bench: Bench) -> Optimized:
    """Writes the variant to the job's files and accepts it only if it loads and answers on real samples.

    Raises JobProblem: whatever the technique refuses (UNAVAILABLE, INVALID_ARGUMENT), CALIBRATION_REQUIRED,
    CALIBRATION_UNFIT, NOT_LOADABLE, BAD_OUTPUTS, OUTPUTS_DIFFER.
    """
    bench.device = task.device
    parent = open_file(Path(task.parent_path))
    _check_takes(task.step, parent.format)
    makes = made_format(task.step.technique, parent.format)
    out = bench.files / f"{task.file_stem}{SUFFIXES[makes]}"
    interface = task.interface or Interface(inputs=parent.inputs, outputs=parent.outputs)
    evaluation = open_evaluation(task.evaluation, interface.inputs, bench.roots)
    interface = sized(interface, evaluation)
    calibration, audited = _calibration(task, parent, interface, evaluation, bench)

    bench.report(0.05, f"running {task.step.technique}")
    if task.step.technique in TRAINED:
        made = _train(task, parent.path, out, evaluation, interface, bench)
    elif searches(task.step):
        made = _search(task, evaluation.preprocessing, parent.path, out, calibration, interface, bench)
    elif isinstance(task.step, SessionOptions):
        made = _tune(task.step, parent.path, out, evaluation, interface, task.threads, bench)
    else:
        made = _make(task.step, parent.path, out, calibration, interface, bench)

    bench.report(0.9, "running the new model on real samples")
    gap = accept(parent.path, out, evaluation, interface)
    new = open_file(out)
    converted = parent.format != new.format
    # What is quantized is rounded where each runtime's kernels round: such a parent is never matched, and is judged by samples.
    rounding = 0.0
    if gap > MATCH and parent.precision != "int8" and claims_exact(task.step.technique, task.step.model_dump()):
        rounding = _rounding(parent.path, evaluation, interface, bench)
        if not (isfinite(rounding) and gap <= UNSTABLE * rounding):
            raise _part(gap, task, parent, out, calibration, interface, evaluation, bench)
    changed = converted or new.graph != parent.graph or _options(out) != _options(parent.path)
    notes = [
        *made.notes,
        *_dropped(task.step, parent.path, out),
        *audited,
        *_not_as_asked(task.step, out, evaluation, interface, bench),
    ]
    if converted:
        notes += [f"outputs differ from the parent's by {gap:.2g} of their range at most, on real samples"]
        if rounding:
            notes += [
                f"the parent's own outputs move by {rounding:.2g} of their range where its inputs change in their last bits:"
                " no conversion of it is exact, its accuracy on the evaluation set has to tell"
            ]
        notes += differences(out, interface)
    if not changed:
        notes.insert(0, "the step changed nothing: the new file computes exactly what its parent does")
    before, now = (sum(file.stat().st_size for file in model.files) for model in (parent, new))
    if now > 1.05 * before:
        notes.append(f"the file grew from {before:,} to {now:,} bytes")
    return Optimized(
        file=file_digest(out),
        companions=[file_digest(file) for file in new.files if file != out.resolve()],
        precision=made.precision,
        format=new.format,
        changed=changed,
        parameters=_parameters(task),
        notes=notes,
        weights=new.weights,
    )


def _rounding(parent: Path, evaluation: Dataset, interface: Interface, bench: Bench) -> float:
    """`own_response` of the parent on the samples that its outputs were compared on."""
    bench.report(0.9, "looking how far the parent's own rounding carries")
    runner = open_runner(parent, interface=interface)
    chosen = evenly(len(evaluation), _ACCEPTANCE_SAMPLES)
    return own_response(runner, lambda: batches(evaluation, runner.inputs, chosen))


def _part(
    gap: float,
    task: Optimize,
    parent: ModelFile,
    out: Path,
    calibration: Dataset | None,
    interface: Interface,
    evaluation: Dataset,
    bench: Bench,
) -> JobProblem:
    """What to say of a conversion that claims to be exact and is not: how far the outputs are off, and since which layer."""
    since = "where they part is looked for in conversions of ONNX models alone"
    if parent.format == "onnx" and not isinstance(task.step, SessionOptions):  # whose graph is the parent's
        bench.report(0.9, "looking for the layer where the outputs part")

        def convert(tapped: Path, converted: Path) -> Made:
            own = open_file(tapped)
            every_tensor = sized(Interface(inputs=own.inputs, outputs=own.outputs), evaluation)
            return _make(task.step, tapped, converted, calibration, every_tensor, bench)

        runner = open_runner(parent.path, interface=interface)
        feeds = [runner.native(fed) for fed in batches(evaluation, runner.inputs, evenly(len(evaluation), 4))]
        where = where_they_part(parent.path, convert, out.suffix, feeds, bench.tmp, MATCH)
        found = f"they part at {where}, whose inputs are still the same"
        since = found if where else "the layer where they part was not found"
    return JobProblem(
        "OUTPUTS_DIFFER",
        f"{task.step.technique} claims to compute the same, and on real samples its outputs differ from the parent's by"
        f" {gap:.2g} of their range; {since}. Nothing was made: take another conversion, or report the layer",
    )


def _check_takes(step: Step, format: str) -> None:
    if takes(step.technique, format):
        return
    taken = sorted(TAKES.get(step.technique, {"onnx"}))
    raise JobProblem(
        "UNAVAILABLE",
        f"{step.technique} does not apply to a parent in the format {format}; it takes {', '.join(taken)}."
        " Take a parent in such a format (export_onnx makes ONNX of PyTorch and TensorFlow models), or another technique",
    )


def _calibration(
    task: Optimize, parent: ModelFile, interface: Interface, evaluation: Dataset, bench: Bench
) -> tuple[Dataset | None, list[str]]:
    """The calibration set, where the step needs one, and what its audit found worth saying."""
    step = task.step
    if not needs_calibration(step.technique, step.model_dump()):
        return None, []
    if task.calibration_path is None:
        raise JobProblem(
            "CALIBRATION_REQUIRED", f"{step.technique} needs a calibration set: open a session with calibration_path"
        )
    calibration = open_dataset(
        task.calibration_path, evaluation.preprocessing, interface.inputs, labelled=False, roots=bench.roots
    )
    _check_same(calibration, task)
    used = getattr(step, "calibration_samples", len(calibration))
    metric = task.evaluation.metric
    return calibration, require_fit(
        parent,
        interface,
        calibration,
        evaluation,
        metric=metric,
        used=used,
        technique=step.technique,
        bench=bench,
    )


def _check_same(calibration: Dataset, task: Optimize) -> None:
    """What a CSV or a COCO JSON names may change while the file stays the same."""
    if task.calibration_digest is not None and calibration.info.digest != task.calibration_digest:
        raise JobProblem(
            "CALIBRATION_UNFIT",
            f"the calibration set {task.calibration_path} is not the one that the session was opened with: its samples"
            " have changed since. Put them back, or open a new session",
        )


def _not_as_asked(step: Step, out: Path, samples: Dataset, interface: Interface, bench: Bench) -> list[str]:
    """What the new file really runs as, where that is another precision than the step was to give it."""
    asked = precision_asked(step.technique, step.model_dump())
    if asked is None or out.suffix != ".onnx":  # only ONNX Runtime's profiler tells
        return []
    runner = open_runner(out, interface=interface)
    feeds = [runner.native(fed) for fed in batches(samples, runner.inputs, evenly(len(samples), 1))]
    (operators,) = profile([Workload(out, feeds)], 1, bench.tmp, blocks=1)
    found = runs_as(asked, operators)
    return [] if found.runs == asked else [str(found)]


def _make(step: Step, parent: Path, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench) -> Made:
    run = cast(Technique, technique(step.technique)).run
    return _coped_with(step, lambda: run(parent, step, out, calibration, interface, bench))


def _search(
    task: Optimize,
    preprocessing: Preprocessing,
    parent: Path,
    out: Path,
    calibration: Dataset | None,
    interface: Interface,
    bench: Bench,
) -> Made:
    """Runs a technique that chooses by accuracy, on labelled calibration data."""
    step, searching = task.step, open_search(task, preprocessing, interface, parent, bench)
    search = cast(SearchingTechnique, technique(step.technique)).search
    return _coped_with(step, lambda: search(parent, step, out, calibration, searching, interface, bench))


def _tune(
    step: SessionOptions,
    parent: Path,
    out: Path,
    evaluation: Dataset,
    interface: Interface,
    threads: int,
    bench: Bench,
) -> Made:
    """Runs a technique that chooses by time, on the inputs that a benchmark times; their labels are not read."""
    runner = open_runner(parent, interface=interface)
    timed = [runner.native(batch) for batch in rotation(evaluation, runner.inputs, 1)]
    tune = cast(TimedTechnique, technique(step.technique)).tune
    return _coped_with(step, lambda: tune(parent, step, out, timed, threads, bench))


def _options(model: Path) -> dict[str, Any]:
    return recorded_options(model) if model.suffix == ".onnx" else {}


def _dropped(step: Step, parent: Path, out: Path) -> list[str]:
    """That options were left behind, which were chosen for another graph."""
    if step.technique == "session_options" or out.suffix != ".onnx" or not _options(parent):
        return []
    return [
        f"the parent's session options ({_options(parent)}) were chosen for its own graph and left out: take session_options"
        " on this variant, if it is kept"
    ]


def _train(task: Optimize, parent: Path, out: Path, evaluation: Dataset, interface: Interface, bench: Bench) -> Made:
    """Runs a technique that trains, with the training set where it takes one."""
    # Here alone: it takes PyTorch, which few jobs need.
    from .training.course import open_course

    step, course, notes = task.step, None, []
    if needs_training(step.technique, step.model_dump()):
        course, notes = open_course(task, interface, evaluation, bench)
    if isinstance(step, Distill):
        step = step.model_copy(update={"student_path": task.student_path})
    train = cast(TrainedTechnique, technique(step.technique)).train
    made = _coped_with(step, lambda: train(parent, step, out, course, interface, bench))
    return Made(made.precision, [*made.notes, *notes])


def _parameters(task: Optimize) -> dict[str, Any]:
    """Those of the step, and which student it was."""
    student = {"student_sha256": task.student_sha256} if task.student_sha256 else {}
    return task.step.model_dump(exclude={"technique"}) | student


def _coped_with(step: Step, make: Callable[[], Made]) -> Made:
    """What a framework throws at a graph that it does not cope with is TECHNIQUE_FAILED."""
    try:
        return make()
    except (JobProblem, MemoryError):
        raise
    except Exception as error:
        if "allocate memory" in str(error) or "bad_alloc" in str(error):
            raise MemoryError(str(error)) from error
        traceback.print_exc()
        reason = untrusted(f"{type(error).__name__}: {error}", 300)
        raise JobProblem("TECHNIQUE_FAILED", f"{step.technique} does not cope with this model. {reason}") from error


def accept(parent: Path, variant: Path, samples: Dataset, interface: Interface | None = None) -> float:
    """Raises JobProblem NOT_LOADABLE or BAD_OUTPUTS unless the variant loads and has the parent's outputs, and these are
    finite and vary from sample to sample wherever the parent's do.

    Returns how far any output differs from the parent's at most, as a share of that output's range on these samples.
    """
    before = _outputs(parent, samples, interface)
    try:
        after = _outputs(variant, samples, interface)
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
    return max((share(before[name], values) for name, values in after.items()), default=0.0)


def _outputs(model: Path, samples: Dataset, interface: Interface | None) -> Outputs:
    """Every output of the model on samples taken evenly from the set, batch by batch."""
    runner = open_runner(model, interface=interface)
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
