"""INSPECT: what a model file and its data sets are, before anything is measured or changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..contract.evaluation import DETECTION
from ..contract.measures import ModelInfo, TensorInfo
from ..contract.text import untrusted
from .bench import Bench
from .data.dataset import Dataset, open_dataset, open_evaluation
from .data.labels import check_labels
from .detection.detector import require_objects
from .detection.geometry import placement
from .jobs import Inspect, Inspected
from .measure import metrics
from .measure.accuracy import Inferred, adapted, batch_size, check_grouped, decode_with, without_labels
from .measure.user_code import load
from .models.model_file import ModelFile, open_file
from .models.trial import Trial, try_model
from .problems import JobProblem
from .samples import batches

# A hostile graph may hold thousands of operators that nobody defined.
_MOST_OPERATORS = 40


def run(task: Inspect, bench: Bench) -> Inspected:
    """Reads the model without running it, opens the data sets, then loads the model and runs one batch of real samples.

    Raises JobProblem: BAD_FILE, PATH_NOT_ALLOWED (external data outside the roots), UNTRUSTED_CODE (a pickle),
    UNAVAILABLE (a format that this version does not open), INVALID_ARGUMENT (preprocessing that is missing or does
    not fit, as a question to the caller; a metric that does not fit, or whose user code does not load).
    """
    model = open_file(Path(task.model_path))
    warnings = model.check(task.roots)

    bench.report(0.2, "reading the data sets")
    inputs = model.inputs
    evaluation = open_evaluation(task.evaluation, inputs, task.roots)
    calibration = None
    if task.calibration_path is not None:
        calibration = open_dataset(
            task.calibration_path, evaluation.preprocessing, inputs, labelled=False, roots=task.roots
        )
    training = None
    if task.training_path is not None:
        training = open_dataset(task.training_path, evaluation.preprocessing, inputs, labelled=True, roots=task.roots)
        check_labels(training, evaluation)

    bench.report(0.6, "loading the model once and running one batch of each data set")
    feeds = [_first_batch(dataset, inputs) for dataset in (evaluation, calibration, training) if dataset is not None]
    trial = try_model(model.path, feeds, bench.tmp, task.load_seconds)
    if trial is not None:
        _check_metric(task, evaluation, trial, batch_size(inputs))
    return Inspected(
        model=_describe(model, trial),
        preprocessing=evaluation.preprocessing,
        evaluation=evaluation.info,
        calibration=calibration.info if calibration else None,
        training=training.info if training else None,
        model_files=_files(model, bench),
        weights=model.weights,
        warnings=[*warnings, *bench.notes, *_left_to_profile(trial, task.load_seconds)],
    )


def _files(model: ModelFile, bench: Bench) -> list[str]:
    """Those that the caller's model is made of: of one that a worker made, the file that it was made of."""
    source = bench.source_of(model.path)
    return [str(source)] if source != model.path else [str(file) for file in model.files]


def _first_batch(dataset: Dataset, inputs: list[TensorInfo]) -> dict[str, np.ndarray]:
    return next(batches(dataset, inputs, range(min(len(dataset), batch_size(inputs)))))


def _check_metric(task: Inspect, evaluation: Dataset, trial: Trial, samples: int) -> None:
    """Raises JobProblem where the outputs or the labels are not what the metric needs: a baseline would fail later."""
    metric, labels = task.evaluation.metric, evaluation.labels
    check_grouped(evaluation, task.adapter)
    if evaluation.group > 1:
        return  # one row is no sample: the baseline will tell
    inferred = Inferred([trial.outputs], samples, samples)
    if metric in DETECTION:
        _check_decoding(task, evaluation, next(inferred.each()))
        return
    if labels is None:
        raise JobProblem("BAD_FILE", without_labels(evaluation, metric), ["labels"])
    outputs = trial.outputs if task.adapter is None else adapted(load(task.adapter, "adapter"))(inferred)
    if metric == "custom":
        load(task.user_code, "metric")  # one batch would be no fair trial of it
    elif metric == "auc":
        metrics.binary_scores(outputs, samples)
        metrics.binary_labels(labels, evaluation.ordered_classes)
    elif metric in metrics.CLASSIFICATION:
        scores = metrics.class_scores(outputs, samples)
        metrics.class_labels(labels, scores.shape[1], evaluation.ordered_classes)
    else:
        labels = metrics.single_values(labels) if metric == "spearman" else labels
        first = np.resize(labels, (samples, *labels.shape[1:]))
        metrics.predictions(outputs, first.reshape(samples, -1))


def _check_decoding(task: Inspect, evaluation: Dataset, outputs: Mapping[str, np.ndarray]) -> None:
    """Whether the outputs for one image decode to boxes."""
    objects = require_objects(evaluation.objects, task.evaluation.metric)
    height, width = objects.sizes[0].tolist()
    size = placement((height, width), evaluation.preprocessing).input
    decode_with(objects, task.adapter, task.evaluation.decoding)(outputs, size)


def _describe(model: ModelFile, trial: Trial | None) -> ModelInfo:
    found = model.operators
    shown = {untrusted(name): count for name, count in found.most_common(_MOST_OPERATORS)}
    if rest := found.total() - sum(shown.values()):
        shown["(others)"] = rest
    return ModelInfo(
        format=model.format,
        framework=untrusted(model.framework) or "unknown",
        inputs=[_clean(info) for info in model.inputs],
        outputs=[_clean(info) for info in model.outputs],
        parameters=model.parameters,
        operators=shown,
        opset=model.opset,
        load_seconds=trial.load_seconds if trial else None,
    )


def _clean(info: TensorInfo) -> TensorInfo:
    return info.model_copy(update={"name": untrusted(info.name)})


def _left_to_profile(trial: Trial | None, seconds: float) -> list[str]:
    if trial is not None:
        return []
    return [f"the model did not load and run once within {seconds:g} s: profile_model will try without this limit"]
