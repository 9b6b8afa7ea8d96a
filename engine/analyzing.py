"""The job `analyze`: which layers of a float model suffer most from being quantized."""

from __future__ import annotations

from pathlib import Path

import onnx

from ..contract.evaluation import Preprocessing
from ..contract.measures import Interface, LayerScore
from .bench import Bench
from .data.dataset import Dataset, open_dataset
from .data.thinning import thinned
from .jobs import Analyze, Analyzed
from .measure.accuracy import evaluate
from .measure.noninferiority import drop
from .models import onnx_file
from .models.model_file import open_file
from .problems import JobProblem
from .runtimes.runner import open_runner
from .samples import batches, evenly
from .sensitivity.layers import Rounding, shown_name
from .sensitivity.ranking import Sensitivity, rank
from .techniques.base import refuse_unless_float32
from .techniques.preparing import PER_CHANNEL, prepare, raised

# The outputs of so few samples rank the layers; the ranges come from the same ones.
_SAMPLES = 24
# Evaluations are what the analysis takes longest for: the worst few, on so many labelled samples.
_CONFIRMED, _CONFIRMED_ON = 5, 128
_ANSWERED = 20


def run(task: Analyze, bench: Bench) -> Analyzed:
    """Ranks the layers by the error that quantizing each alone leaves in the outputs, and evaluates the worst few on the
    calibration set where that has labels. The evaluation set is not opened.

    Raises JobProblem: UNAVAILABLE where the parent is no float32 ONNX model; BAD_FILE.
    """
    if open_file(Path(task.parent_path)).format != "onnx":
        raise JobProblem(
            "UNAVAILABLE",
            "sensitivity is analyzed on ONNX models: take export_onnx first, and then its variant as parent",
        )
    source = onnx_file.load(Path(task.parent_path))
    refuse_unless_float32(onnx_file.precision(source), "analyze_sensitivity")
    bench.report(0.0, "preparing the model as for quantization")
    model = prepare(raised(source, PER_CHANNEL), bench.tmp)
    prepared = bench.tmp / "sensitivity.onnx"
    onnx.save(model, prepared)
    interface = task.interface or Interface(inputs=onnx_file.inputs(source), outputs=onnx_file.outputs(source))
    calibration = _calibration(task, interface, bench, labelled=False)
    runner = open_runner(prepared, interface=interface)
    chosen = evenly(len(calibration), _SAMPLES)
    feeds = [runner.native(fed) for fed in batches(calibration, runner.inputs, chosen)]
    scores = rank(model, feeds, lambda done, what: bench.report(0.05 + 0.65 * done, what))
    drops, said = _confirmed(task, interface, prepared, scores[:_CONFIRMED], bench)
    found = [
        LayerScore(
            name=shown_name(score.layer.name),
            op=score.layer.op,
            score=float(f"{score.noise:.3g}"),
            accuracy_drop=drops.get(score.layer.name),
        )
        for score in scores[:_ANSWERED]
    ]
    return Analyzed(layers=found, of=len(scores), samples=len(chosen), confirmation=said)


def _calibration(task: Analyze, interface: Interface, bench: Bench, *, labelled: bool) -> Dataset:
    preprocessing = task.evaluation.preprocessing or Preprocessing()
    return open_dataset(task.calibration_path, preprocessing, interface.inputs, labelled=labelled, roots=bench.roots)


def _confirmed(
    task: Analyze, interface: Interface, prepared: Path, worst: list[Sensitivity], bench: Bench
) -> tuple[dict[str, float], str]:
    """How much accuracy each of the worst costs alone, on the labelled calibration set; and what was done, in words."""
    try:
        whole_set = _calibration(task, interface, bench, labelled=True)
    except JobProblem as found:
        why = "the calibration set cannot be read with labels (where it can, the worst layers are evaluated on it)"
        return {}, f"not confirmed by accuracy: {why}: {found.problem.message}"
    labelled = thinned(whole_set, _CONFIRMED_ON)
    metric, model = task.evaluation.metric, onnx.load(prepared)

    def value(file: Path) -> float:
        return evaluate(
            open_runner(file, interface=interface),
            labelled,
            metric,
            lambda _done, _what: None,
            task.user_code,
            adapter=task.adapter,
            decoding=task.evaluation.decoding,
        ).value()

    whole = value(prepared)
    ranges = {name: ends for score in worst for name, ends in score.ranges.items()}
    rounding, file, drops = Rounding(model, ranges), bench.tmp / "alone.onnx", {}
    for number, score in enumerate(worst, 1):
        bench.report(0.7 + 0.3 * number / len(worst), f"evaluating the model with {score.layer.name} alone quantized")
        with rounding.of(score.layer) as rounded:
            onnx.save(rounded, file)
        drops[score.layer.name] = round(drop(metric, whole, value(file)), 6)
    return drops, (
        f"accuracy_drop: by how much {metric} is worse with this layer alone quantized than that of the float model"
        f" ({whole:.4f} on {labelled.samples} of the {whole_set.samples} labelled calibration samples); the evaluation set was not"
        " opened"
    )
