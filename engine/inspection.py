"""INSPECT: what a model file and its data sets are, before anything is measured or changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from ..contract.evaluation import DETECTION
from ..contract.measures import ModelInfo, TensorInfo
from ..contract.text import untrusted
from .bench import Bench
from .data.dataset import Dataset, open_dataset, open_evaluation
from .detection.detector import require_objects
from .detection.geometry import placement
from .jobs import Inspect, Inspected
from .measure import metrics
from .measure.accuracy import Inferred, adapted, batch_size, decode_with, without_labels
from .measure.user_code import load
from .models import onnx_file
from .models.formats import sniff
from .models.identity import weights_digest
from .models.tensors import check_tensors, external_file, external_tensors
from .models.trial import Trial, try_model
from .problems import JobProblem
from .samples import batches

# A hostile graph may hold thousands of operators that nobody defined.
_MOST_OPERATORS = 40


def run(task: Inspect, bench: Bench) -> Inspected:
    """Reads the graph without running it, opens the data sets, then loads the model and runs one batch of real samples.

    Raises JobProblem: BAD_FILE, PATH_NOT_ALLOWED (external data outside the roots), UNTRUSTED_CODE (a pickle),
    UNAVAILABLE (a format that this version does not open), INVALID_ARGUMENT (preprocessing that is missing or does
    not fit, as a question to the caller; a metric that does not fit, or whose user code does not load).
    """
    path = Path(task.model_path)
    _check_format(path)
    model = onnx_file.read(path)
    _check_places(model, path.parent, task.roots)
    check_tensors(model, path.parent)
    if not onnx_file.inputs(model):
        raise JobProblem(
            "BAD_FILE",
            f"{untrusted(path.name)} has no inputs: it computes constants, and there is nothing to feed it. Export it again"
            " with its inputs",
        )
    model_files = onnx_file.files(model, path)

    bench.report(0.2, "reading the data sets")
    inputs = onnx_file.inputs(model)
    evaluation = open_evaluation(task.evaluation, inputs, task.roots)
    calibration = None
    if task.calibration_path is not None:
        calibration = open_dataset(
            task.calibration_path, evaluation.preprocessing, inputs, labelled=False, roots=task.roots
        )

    bench.report(0.6, "loading the model once and running one batch of each data set")
    feeds = [_first_batch(dataset, inputs) for dataset in (evaluation, calibration) if dataset is not None]
    trial = try_model(path, feeds, bench.tmp, task.load_seconds)
    if trial is not None:
        _check_metric(task, evaluation, trial, batch_size(inputs))
    return Inspected(
        model=_describe(model, trial),
        preprocessing=evaluation.preprocessing,
        evaluation=evaluation.info,
        calibration=calibration.info if calibration else None,
        model_files=[str(file) for file in model_files],
        weights=weights_digest(onnx_file.load(path)),
        warnings=[*_objections(model), *_left_to_profile(trial, task.load_seconds)],
    )


def _check_format(path: Path) -> None:
    if not path.exists():
        raise JobProblem("BAD_FILE", f"the model file {untrusted(path.name)} does not exist")
    found = sniff(path)
    if found.pickle:
        raise JobProblem("UNTRUSTED_CODE", f"{untrusted(path.name)} is a {found.what}: opening it would run its code")
    if found.format not in ("onnx", "unknown") and path.suffix.lower() != ".onnx":
        raise JobProblem(
            "UNAVAILABLE",
            f"{untrusted(path.name)} is a {found.what}; this version opens ONNX models: export it to ONNX first",
        )


def _check_places(model: ModelProto, folder: Path, roots: list[str]) -> None:
    """External data may lie below the roots or in the model's own folder, wherever links lead."""
    allowed = [folder.resolve(), *(Path(root).resolve() for root in roots)]
    for tensor in external_tensors(model):
        file = external_file(tensor, folder)
        if not any(file.is_relative_to(place) for place in allowed):
            raise JobProblem(
                "PATH_NOT_ALLOWED",
                f"the model wants to read its weights from {untrusted(str(file))}, outside the allowed roots: move them"
                " beside the model, or ask the operator to start the server with --allow-root",
            )


def _first_batch(dataset: Dataset, inputs: list[TensorInfo]) -> dict[str, np.ndarray]:
    return next(batches(dataset, inputs, range(min(len(dataset), batch_size(inputs)))))


def _check_metric(task: Inspect, evaluation: Dataset, trial: Trial, samples: int) -> None:
    """Raises JobProblem where the outputs or the labels are not what the metric needs: a baseline would fail later."""
    metric, labels = task.evaluation.metric, evaluation.labels
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


def _describe(model: ModelProto, trial: Trial | None) -> ModelInfo:
    found = onnx_file.operators(model)
    shown = {untrusted(name): count for name, count in found.most_common(_MOST_OPERATORS)}
    if rest := found.total() - sum(shown.values()):
        shown["(others)"] = rest
    return ModelInfo(
        format="onnx",
        framework=untrusted(f"{model.producer_name} {model.producer_version}") or "unknown",
        inputs=[_clean(info) for info in onnx_file.inputs(model)],
        outputs=[_clean(info) for info in onnx_file.outputs(model)],
        parameters=onnx_file.parameters(model),
        operators=shown,
        opset=onnx_file.opset(model),
        load_seconds=trial.load_seconds if trial else None,
    )


def _clean(info: TensorInfo) -> TensorInfo:
    return info.model_copy(update={"name": untrusted(info.name)})


def _objections(model: ModelProto) -> list[str]:
    """What the ONNX checker holds against a model that loads all the same."""
    if next(external_tensors(model), None) is not None:
        return []  # the checker wants the files on its own terms; the runtime has read them
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        return [untrusted(f"the model loads, but is not valid ONNX: {error}", 300)]
    return []


def _left_to_profile(trial: Trial | None, seconds: float) -> list[str]:
    if trial is not None:
        return []
    return [f"the model did not load and run once within {seconds:g} s: profile_model will try without this limit"]
