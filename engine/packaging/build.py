"""PACKAGE: the folder that goes to the device, verified before anybody sees it."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...contract.evaluation import Evaluation, Preprocessing
from ...contract.measures import FileDigest
from ..bench import Bench
from ..data.dataset import Dataset, open_evaluation
from ..digests import SUMS, file_digest, sums
from ..jobs import BuildPackage, Packaged
from ..measure.accuracy import batch_size
from ..models import onnx_file
from ..models.model_file import ModelFile, open_file
from ..models.tensors import external_span, external_tensors
from ..problems import JobProblem
from ..runtimes.runner import Runner, open_runner
from ..samples import batches, evenly, whole_batches
from .readme import render
from .verify import INFER, broken, infer_code, repeat_recorded

SCHEMA_VERSION = 1
ORDER = ["color", "resize", "center_crop", "scale", "mean", "std", "layout", "dtype"]
_RECORDED_SAMPLES = 3

# Another CPU, or another version of the runtime, rounds otherwise: by how much, as a share of an output's range.
_TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2, "int8": 5e-2}


def run(task: BuildPackage, bench: Bench) -> Packaged:
    """Writes the folder `package` and repeats its recorded inferences in a fresh process, with its own infer.py.

    Raises JobProblem PACKAGE_NOT_VERIFIED where the package does not give the outputs that were recorded.
    """
    folder = bench.files / "package"
    folder.mkdir()
    source = Path(task.variant_path)
    model = open_file(source)
    _copy_model(model, folder, task.file_name)
    runner = open_runner(folder / task.file_name, interface=task.interface)
    evaluation = open_evaluation(task.evaluation, runner.inputs, bench.roots)

    bench.report(0.3, "recording the outputs for a few samples")
    about = _about(task.file_name, runner, evaluation.preprocessing, _TOLERANCE[model.precision])
    _write_json(folder / "preprocessing.json", about | _decoding(task.evaluation, evaluation))
    _record(runner, evaluation, folder / "verification.npz")
    (folder / INFER).write_bytes(infer_code())
    (folder / "requirements.txt").write_text(_requirements(evaluation.preprocessing), encoding="utf-8")
    (folder / "README.md").write_text(render(task.file_name, ORDER, task.metadata), encoding="utf-8")

    bench.report(0.6, "repeating them with the package's own code")
    verified, said = repeat_recorded(folder)
    if not verified:
        raise JobProblem("PACKAGE_NOT_VERIFIED", f"the package does not repeat its recorded outputs: {said}")
    files = _seal(folder, task.metadata, said)
    if flaw := broken(folder):
        raise JobProblem("PACKAGE_NOT_VERIFIED", flaw)
    return Packaged(files=files, verified=True, verification=said)


def _copy_model(model: ModelFile, folder: Path, name: str) -> None:
    """The model's file, and what it keeps in other files where it looks for them."""
    source = model.path
    shutil.copyfile(source, folder / name)
    if model.format != "onnx":
        for file in model.files:
            if file != source.resolve():
                shutil.copyfile(file, folder / file.name)
        return
    for tensor in external_tensors(onnx_file.read(source)):
        file, *_ = external_span(tensor, source.parent)
        location = next(entry.value for entry in tensor.external_data if entry.key == "location")
        place = PurePosixPath(location)
        if place.is_absolute() or ".." in place.parts or location in (name, INFER, SUMS):
            raise JobProblem("BAD_FILE", "the model's weights lie outside its own folder: it cannot be packaged")
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copyfile(file, target)


def _about(model: str, runner: Runner, preprocessing: Preprocessing, tolerance: float) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model,
        "inputs": [info.model_dump() for info in runner.inputs],
        "outputs": [info.model_dump() for info in runner.outputs],
        "preprocessing": preprocessing.model_dump(mode="json"),
        "preprocessing_order": ORDER,
        "preprocessing_note": "Steps that are null are left out. scale: x * scale; mean, std: (x - mean) / std for each"
        " channel; resize and crop: [height, width] or the short side; images: uint8, RGB, (N, height, width, channels).",
        "verification_tolerance": tolerance,
    }


def _decoding(evaluation: Evaluation, dataset: Dataset) -> dict[str, Any]:
    """How a detector's outputs become boxes: infer.py gives the outputs as they are."""
    if evaluation.decoding is None or dataset.objects is None:
        return {}
    return {
        "decoding": evaluation.decoding.model_dump(mode="json"),
        "category_ids": evaluation.decoding.category_ids or dataset.objects.categories,
        "decoding_note": "infer.py gives the model's outputs as they are; the accuracy was measured with them decoded so."
        " boxes: outputs by name. rows: one output, a row a box: box, objectness where true, one score a class."
        " grid: one box a cell: objectness o, box x y w h, class scores c; centre = (cell + center(x y)) / cells, size ="
        " sigmoid(w h), as shares of the input; score = o^p * c^(1 - p), p = objectness_power. Then: boxes of at least"
        " score_threshold, non-maximum suppression within each class at nms_iou, the best max_detections; pixels of the"
        " model's input, which preprocessing made of the image. category_ids: the category of each class number.",
    }


def _record(runner: Runner, evaluation: Dataset, path: Path) -> None:
    """Raw samples and the outputs for them: `input.BATCH.SAMPLE.INPUT`, `output.BATCH.OUTPUT` and their `shape`."""
    size = batch_size(runner.inputs)
    indices = evenly(len(evaluation), max(_RECORDED_SAMPLES, size))
    groups = whole_batches(indices, size)
    arrays = {"shape": np.array([len(groups), size])}
    for b, feeds in enumerate(batches(evaluation, runner.inputs, indices)):
        for s, index in enumerate(groups[b]):
            for i, value in enumerate(evaluation.raw(index, index + 1).values()):
                arrays[f"input.{b}.{s}.{i}"] = value[0]
        for i, value in enumerate(runner.run(feeds).values()):
            arrays[f"output.{b}.{i}"] = value
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _requirements(preprocessing: Preprocessing) -> str:
    """The versions that verify the package; Pillow only where every inference needs it."""
    needed = ["onnxruntime", "numpy", *(["Pillow"] if preprocessing.resize is not None else [])]
    return "".join(f"{name}=={version(name)}\n" for name in needed)


def _seal(folder: Path, metadata: dict[str, Any], verification: str) -> list[FileDigest]:
    """Writes metadata.json, then SHA256SUMS over everything; the digests of all files."""
    files = [entry.model_dump() for entry in _digests(folder)]
    known = {"verification": {"verified": True, "sentence": verification}, "files": files}
    _write_json(folder / "metadata.json", {"schema_version": SCHEMA_VERSION} | metadata | known)
    (folder / SUMS).write_text(sums(_digests(folder)), encoding="utf-8")
    return _digests(folder)


def _digests(folder: Path) -> list[FileDigest]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [file_digest(path, path.relative_to(folder).as_posix()) for path in paths]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
