"""PACKAGE: the folder that goes to the device, verified before anybody sees it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...contract.evaluation import Evaluation, Preprocessing
from ...contract.measures import FileDigest, Interface, TensorInfo
from ..bench import Bench
from ..data.dataset import Dataset, open_evaluation
from ..digests import SIGNATURE, SIGNER, SUMS, file_digest, sums
from ..jobs import BuildPackage, Packaged
from ..measure.accuracy import batch_size
from ..models import onnx_file
from ..models.model_file import ModelFile, open_file
from ..models.tensors import external_span, external_tensors, location
from ..problems import JobProblem
from ..runtimes.bridge import Bridge, Way
from ..runtimes.catalog import RUNTIMES, version
from ..runtimes.runner import Runner, open_runner
from ..samples import batches, evenly, whole_batches
from .composing import INFER, infer_code
from .readme import render
from .verify import broken, repeat_recorded

# Of preprocessing.json. 1 had no runtimes but ONNX Runtime, and no tensors but the model's own.
SCHEMA_VERSION = 2
ORDER = ["color", "resize", "center_crop", "scale", "mean", "std", "layout", "dtype"]
_RECORDED_SAMPLES = 8
_RECORDED_BYTES = 1 << 24
_OURS = {INFER, SUMS, SIGNATURE, SIGNER, "README.md", "metadata.json", "preprocessing.json", "requirements.txt"} | {
    "verification.npz"
}

# Other kernels round otherwise: by how much (root mean square over the samples), as a share of an output's size. Measured
# on image classifiers, the same file on other kernels: float32 up to 3e-6 (ONNX Runtime with and without its optimizations,
# OpenVINO, XNNPACK and TensorFlow Lite's reference kernels), float16 up to 2e-2, int8 up to 0.14 (0.17 once, of three samples
# of one network, without optimizations). It must stay below what faults make: red and blue exchanged made 0.2 and more in 95 %
# of the draws of 8 samples on one INT8 network and 0.07 and more on another, bfloat16 for float32 0.01 to 0.1.
# (The largest difference in a single value is no measure: int8 has up to 0.5 of it, on samples that are undecided.)
_TOLERANCE = {"fp32": 1e-4, "fp16": 3e-2, "bf16": 0.1, "int8": 0.15}


def run(task: BuildPackage, bench: Bench) -> Packaged:
    """Writes the folder `package` and repeats its recorded inferences in a fresh process, with its own infer.py.

    Raises JobProblem PACKAGE_NOT_VERIFIED where the package does not give the outputs that were recorded.
    """
    folder = bench.files / "package"
    folder.mkdir()
    model = open_file(Path(task.variant_path))
    _copy_model(model, folder, task.file_name)
    own = open_runner(folder / task.file_name)
    runner = Bridge(own, task.interface or Interface(inputs=own.inputs, outputs=own.outputs))
    evaluation = open_evaluation(task.evaluation, runner.inputs, bench.roots)

    bench.report(0.3, "recording the outputs for a few samples")
    answered = _record(runner, evaluation, folder / "verification.npz")
    about = _about(task.file_name, model, evaluation.preprocessing, runner, own)
    about["outputs"] = [output for output in about["outputs"] if output["name"] in answered]
    _write_json(folder / "preprocessing.json", about | _decoding(task.evaluation, evaluation))
    (folder / INFER).write_bytes(infer_code(model.format))
    (folder / "requirements.txt").write_text(_requirements(model.format, evaluation.preprocessing), encoding="utf-8")
    readme = render(task.file_name, model.format, runner.name, ORDER, task.metadata)
    (folder / "README.md").write_text(readme, encoding="utf-8")

    bench.report(0.6, "repeating them with the package's own code")
    verified, said = repeat_recorded(folder)
    if not verified:
        raise JobProblem("PACKAGE_NOT_VERIFIED", f"the package does not repeat its recorded outputs: {said}")
    files = _seal(folder, task.metadata, said)
    if flaw := broken(folder):
        raise JobProblem("PACKAGE_NOT_VERIFIED", flaw)
    return Packaged(files=files, verified=True, verification=said)


def _copy_model(model: ModelFile, folder: Path, name: str) -> None:
    """The model's file or folder, and what it keeps in other files where it looks for them."""
    for place, file in _places(model, name).items():
        if place in _OURS or (place == name and file != model.path.resolve()):
            raise JobProblem("BAD_FILE", f"the model keeps a file named {place}, and so does the package: rename it")
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)


def _places(model: ModelFile, name: str) -> dict[str, Path]:
    """The model's files by where they lie in the package."""
    source = model.path.resolve()
    if source.is_dir():
        return {f"{name}/{file.relative_to(source).as_posix()}": file for file in model.files}
    if model.format == "onnx":
        return {name: source} | _external(model.path)
    return {file.name: file for file in model.files} | {name: source}


def _external(path: Path) -> dict[str, Path]:
    """The external data of an ONNX file by the place that it names."""
    places: dict[str, Path] = {}
    for tensor in external_tensors(onnx_file.read(path)):
        file, *_ = external_span(tensor, path.parent)
        place = PurePosixPath(location(tensor))
        if place.is_absolute() or ".." in place.parts:
            raise JobProblem("BAD_FILE", "the model's weights lie outside its own folder: it cannot be packaged")
        places[str(place)] = file
    return places


def _about(name: str, model: ModelFile, preprocessing: Preprocessing, runner: Bridge, own: Runner) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "model": name,
        "format": model.format,
        "runtime": own.name,
        "batch_size": _fixed_batch(runner.inputs),
        "inputs": _tensors(runner.ways_in, own.inputs),
        "outputs": _tensors(runner.ways_out, own.outputs),
        "tensors_note": "name, dtype and shape are those of the prepared samples and of the outputs that infer.py gives;"
        " `model` is the tensor in the model's file, the index-th there. Inputs: axis k of the model's is axis axes[k] here;"
        " a quantized one holds q = round(x / scale) + zero_point, clipped to its dtype. Outputs: x = (q - zero_point) *"
        " scale, then the axes back. null: as it is. batch_size: the samples of one inference, where the model fixes them.",
        "preprocessing": preprocessing.model_dump(mode="json"),
        "preprocessing_order": ORDER,
        "preprocessing_note": "Steps that are null are left out. scale: x * scale; mean, std: (x - mean) / std for each"
        " channel; resize and crop: [height, width] or the short side; images: uint8, RGB, (N, height, width, channels).",
        "verification_tolerance": _TOLERANCE[model.precision],
    }


def _tensors(ways: list[Way], own: list[TensorInfo]) -> list[dict[str, Any]]:
    return [
        way.info.model_dump(include={"name", "dtype", "shape"})
        | {"model": {"index": own.index(way.own)} | way.own.model_dump() | {"axes": way.axes}}
        for way in ways
    ]


def _fixed_batch(inputs: list[TensorInfo]) -> int | None:
    fixed = any(info.shape and info.shape[0] is not None for info in inputs)
    return batch_size(inputs) if fixed else None


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


def _record(runner: Runner, evaluation: Dataset, path: Path) -> list[str]:
    """Raw samples and the outputs for them: `input.BATCH.SAMPLE.INPUT`, `output.BATCH.OUTPUT` and their `shape`; the names
    of these outputs, without those that are no arrays."""
    size = batch_size(runner.inputs)
    indices = evenly(len(evaluation), max(_samples_to_record(evaluation), size))
    groups = whole_batches(indices, size)
    arrays = {"shape": np.array([len(groups), size])}
    values: dict[str, np.ndarray] = {}
    for b, feeds in enumerate(batches(evaluation, runner.inputs, indices)):
        for s, index in enumerate(groups[b]):
            raw = evaluation.raw(index, index + 1)
            in_order = [raw[info.name] for info in runner.inputs] if len(raw) > 1 else raw.values()
            arrays |= {f"input.{b}.{s}.{i}": value[0] for i, value in enumerate(in_order)}
        values = runner.run(feeds)
        arrays |= {f"output.{b}.{i}": value for i, value in enumerate(values.values())}
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return list(values)


def _samples_to_record(evaluation: Dataset) -> int:
    """Fewer of those that are large."""
    bytes_each = sum(array.nbytes for array in evaluation.raw(0, 1).values())
    return max(3, min(_RECORDED_SAMPLES, _RECORDED_BYTES // max(1, bytes_each)))


def _requirements(format: str, preprocessing: Preprocessing) -> str:
    """The versions that verify the package; Pillow only where every inference needs it."""
    runtime = RUNTIMES[format]
    needed = [_first_installed(runtime.distribution, *runtime.others), "numpy"]
    if format == "tensorrt":
        needed.append(_first_installed("pycuda", "cuda-bindings"))
    if preprocessing.resize is not None:
        needed.append("Pillow")
    # A local version, as torch's `2.13.0+cpu`, is not what an index calls it.
    return "".join(f"{name}=={(version(name) or '').partition('+')[0]}\n" for name in needed)


def _first_installed(*distributions: str) -> str:
    return next(name for name in distributions if version(name) is not None)


def _seal(folder: Path, metadata: dict[str, Any], verification: str) -> list[FileDigest]:
    """Writes metadata.json, then SHA256SUMS over everything; the digests of all files."""
    files = [entry.model_dump() for entry in _digests(folder)]
    known = {"verification": {"verified": True, "sentence": verification}, "files": files}
    _write_json(folder / "metadata.json", metadata | known)
    (folder / SUMS).write_text(sums(_digests(folder)), encoding="utf-8")
    return _digests(folder)


def _digests(folder: Path) -> list[FileDigest]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [file_digest(path, path.relative_to(folder).as_posix()) for path in paths]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
