"""The files that a caller names for a session: whether they may be read, and whether this version opens them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contract.evaluation import DETECTION, METRICS_OF, Evaluation, UserCode
from ..contract.text import untrusted
from ..engine.models import formats
from ..engine.models.folders import members
from ..engine.problems import JobProblem
from ..engine.runtimes.catalog import missing
from .answers import refuse
from .fixed_evaluations import check_evaluation
from .paths import is_below, readable, real_path, shown
from .workshop import Settings

# The formats of an original. OpenVINO's is one to deploy.
SOURCES = ("pytorch", "tensorflow", "onnx", "tflite", "tensorrt")


@dataclass(frozen=True)
class Inputs:
    """The files of a session, as real paths that may be read."""

    model: Path
    dataset: Path
    calibration: Path | None
    training: Path | None = None
    user_code: UserCode | None = None
    adapter: UserCode | None = None
    loader: UserCode | None = None


def check_inputs(
    settings: Settings,
    model_path: str,
    evaluation: Evaluation,
    calibration_path: str | None,
    training_path: str | None = None,
    loader: str | None = None,
) -> Inputs:
    """The cheap checks, before anybody is asked and before anything is read.

    Raises:
        Refused: INVALID_ARGUMENT, PATH_NOT_ALLOWED, BAD_FILE, UNTRUSTED_CODE, SAME_DATASET, UNAVAILABLE.
    """
    _check_task(evaluation)
    model = readable(settings, model_path, "model")
    check_evaluation(settings, model, evaluation)
    dataset = readable(settings, evaluation.dataset_path, "evaluation set")
    calibration = readable(settings, calibration_path, "calibration set") if calibration_path else None
    training = readable(settings, training_path, "training set") if training_path else None
    adapter = allowed_code(settings, "adapter", evaluation.adapter) if evaluation.adapter else None
    code = allowed_code(settings, "metric_code", evaluation.metric_code) if evaluation.metric_code else None
    makes_it = allowed_code(settings, "loader", loader) if loader else None
    _check_format(settings, model, makes_it)
    if model.is_dir():
        _check_folder(settings, model)
    _check_decoding(evaluation)
    if (evaluation.metric == "custom") != (code is not None):
        raise refuse(
            "INVALID_ARGUMENT", "metric='custom' and metric_code='file.py:function' go together; give both or neither."
        )
    return Inputs(model, dataset, calibration, training, code, adapter, makes_it)


def _check_task(evaluation: Evaluation) -> None:
    task, metric = evaluation.task, evaluation.metric
    if task is None or metric in (*METRICS_OF[task], "custom"):
        return
    of = next(other for other, metrics in METRICS_OF.items() if metric in metrics)
    raise refuse(
        "INVALID_ARGUMENT",
        f"evaluation.task={task!r} and evaluation.metric={metric!r} disagree: {metric} measures {of}. Give a metric of {task} "
        f"({', '.join(METRICS_OF[task])} or custom), or task={of!r}, or leave task out.",
    )


def _check_folder(settings: Settings, folder: Path) -> None:
    """A folder is read whole, at every call: what lies in it must be a model's, and stay as it is.

    Raises:
        Refused: BAD_FILE, PATH_NOT_ALLOWED.
    """
    if is_below(settings.workspace.resolve(), (folder,)):
        raise refuse(
            "BAD_FILE",
            f"The workspace {shown(settings.workspace)} lies in the model's folder, which would change with every output. Have "
            "the server started with another --workspace.",
        )
    try:
        members(folder, settings.readable)
    except JobProblem as found:
        code: Any = found.problem.code
        raise refuse(code, f"{found.problem.message[0].upper()}{found.problem.message[1:]}.") from found


def _check_decoding(evaluation: Evaluation) -> None:
    """A detector's outputs are described once; nothing else is decoded.

    Raises:
        Refused: INVALID_ARGUMENT.
    """
    described = [name for name in ("decoding", "adapter") if getattr(evaluation, name)]
    if evaluation.metric in DETECTION and len(described) != 1:
        raise refuse(
            "INVALID_ARGUMENT",
            f"The metric {evaluation.metric} compares boxes: how do the model's outputs describe them? Give evaluation."
            "decoding (kind 'boxes': outputs of boxes and scores; 'rows': one tensor of them, as YOLOs; 'grid': a box a cell) "
            "or, with the operator's leave, evaluation.adapter; one of the two.",
            missing=[] if described else ["evaluation.decoding"],
        )
    if evaluation.metric not in DETECTION and evaluation.decoding:
        raise refuse("INVALID_ARGUMENT", f"evaluation.decoding is for map and map50, not for {evaluation.metric}.")


def allowed_code(settings: Settings, name: str, given: str) -> UserCode:
    """`file.py:function` as the operator allowed it: by the content that the file had when the server was started.

    Raises:
        Refused: UNTRUSTED_CODE, INVALID_ARGUMENT.
    """
    path, _, function = given.rpartition(":")
    file = real_path(path or given, name)
    if file not in settings.user_code:
        raise refuse(
            "UNTRUSTED_CODE",
            f"{name} names the file {shown(file)}, which the operator has not allowed to run (--allow-user-code FILE).",
        )
    if not path or not function.isidentifier():
        raise refuse("INVALID_ARGUMENT", f"{name} names a function as file.py:function; {untrusted(given)} does not.")
    code = UserCode(path=str(file), function=function, sha256=settings.user_code[file])
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != code.sha256:
        raise refuse(
            "UNTRUSTED_CODE",
            f"{name} names {shown(file)}, which has changed since the server was started, and the operator allowed what it "
            "was then. Put it back, or ask the operator to read it and start the server again.",
        )
    return code


def _check_format(settings: Settings, model: Path, loader: UserCode | None) -> None:
    sniffed = formats.sniff(model)
    if model.is_dir() and sniffed.format == "unknown":
        raise refuse(
            "BAD_FILE",
            f"{shown(model)} is a {sniffed.what}. Name the file of the model, or the SavedModel folder itself.",
        )
    weights = sniffed.pickle or sniffed == formats.SAFETENSORS
    if loader is not None and not weights:
        raise refuse(
            "INVALID_ARGUMENT",
            f"{model.name} is a {sniffed.what}, which needs no loader: leave loader out. A loader is for a state dict or "
            "safetensors.",
        )
    if sniffed == formats.SAFETENSORS and loader is None:
        raise refuse(
            "INVALID_ARGUMENT",
            f"{model.name} holds weights alone: which module do they go into? Pass loader='file.py:function'.",
            missing=["loader"],
        )
    if sniffed.pickle and loader is None and not settings.allow_pickle:
        raise refuse(
            "UNTRUSTED_CODE",
            f"{model.name} is a pickle: opening it runs whatever code is in it. Of a state dict, pass loader='file.py:function' "
            "(what makes its module; by the operator's --allow-user-code FILE): its weights alone are read then. Of a whole "
            "model, export it (torch.export.save, ONNX), or have the operator start the server with --allow-pickle.",
        )
    if sniffed.format not in (*SOURCES, "unknown"):
        raise refuse(
            "UNAVAILABLE",
            f"{model.name} is a {sniffed.what}, a format to deploy and not one to start from: open the model that it was made of.",
        )
    if sniffed.format != "unknown" and (lacking := missing(sniffed.format)):
        raise refuse(
            "UNAVAILABLE", f"{model.name} is a {sniffed.what}. {lacking[0].upper()}{lacking[1:]}, or export it to ONNX."
        )
