"""The sources of the matrix: real trained models in every format, each with what it is judged by.

Data sets that no file holds in the shape that a session takes (pairs, windows of a read, inputs without labels) are written
below a scratch folder. Sources without labelled data get their own answers as labels: what a conversion changes shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgeopt.benchmarks import matrix_code
from edgeopt.engine.runtimes.runner import open_runner

CODE = Path(matrix_code.__file__)
IMAGENET = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
SEED = 0


@dataclass(frozen=True)
class Source:
    """`score`: of the baseline, as published with the data; None where it is computed here (parity with itself).
    `tolerance`: by how much the score may miss it (other decoders of JPEG, other kernels). `exact`: float32 conversions of it are:
    not of what has 8-bit weights itself, nor of what moves its own outputs when its inputs change in their last bits."""

    name: str
    model: str
    evaluation: Callable[[Path, Path], dict[str, Any]]
    score: float | None
    calibration: Callable[[Path, Path], str] | None = None
    loader: str | None = None
    tolerance: float = 0.006
    exact: bool = True


def _given(path: str, metric: str = "top1", **more: Any) -> Callable[[Path, Path], dict[str, Any]]:
    return lambda data, _scratch: {"dataset_path": str(data / path), "metric": metric, **more}


def _file(path: str) -> Callable[[Path, Path], str]:
    return lambda data, _scratch: str(data / path)


def _pairs(data: Path, scratch: Path) -> dict[str, Any]:
    with np.load(data / "text/stsb_dev_1500.npz") as sts:
        _write_pairs(scratch / "pairs.npz", sts, labels=sts["score"])
    return {"dataset_path": str(scratch / "pairs.npz"), "metric": "spearman", "adapter": f"{CODE}:cosine"}


def _calibration_pairs(data: Path, scratch: Path) -> str:
    with np.load(data / "text/calib_stsb_train_250pairs.npz") as sts:
        _write_pairs(scratch / "calibration_pairs.npz", sts)
    return str(scratch / "calibration_pairs.npz")


def _write_pairs(path: Path, sts: Any, **more: np.ndarray) -> None:
    ids, mask = (np.stack([sts[f"{name}_a"], sts[f"{name}_b"]], axis=1) for name in ("ids", "mask"))
    np.savez(path, allow_pickle=False, input_ids=ids, attention_mask=mask, **more)


def _reads(data: Path, scratch: Path) -> dict[str, Any]:
    """Reads in windows of 3,000 samples, as many rows for each as the longest has; labels as `matrix_code.identity` says."""
    with np.load(data / "nanopore/reads_with_reference_dev.npz") as reads:
        bounds = zip(reads["offsets"][:-1], reads["offsets"][1:], reads["ref_start"], reads["ref_end"], strict=True)
        signals = [_normalised(reads["signal"][a:b])[start:end] for a, b, start, end in bounds]
        references = [np.array(["?ACGT".index(base) for base in str(text)]) for text in reads["reference"]]
    rows = max(-(-len(signal) // matrix_code.WINDOW) for signal in signals)
    windows = np.zeros((len(signals), rows * matrix_code.WINDOW), np.float32)
    labels = np.zeros((len(signals), 2 + max(map(len, references))), np.int64)
    for index, (signal, reference) in enumerate(zip(signals, references, strict=True)):
        windows[index, : len(signal)] = signal
        labels[index, :2] = len(signal) // matrix_code.STRIDE * matrix_code.STRIDE, len(reference)
        labels[index, 2 : 2 + len(reference)] = reference
    np.savez(scratch / "reads.npz", inputs=windows.reshape(len(signals), rows, 1, matrix_code.WINDOW), labels=labels)
    adapter, metric = f"{CODE}:path", f"{CODE}:identity"
    return {"dataset_path": str(scratch / "reads.npz"), "metric": "custom", "adapter": adapter, "metric_code": metric}


def _normalised(signal: np.ndarray) -> np.ndarray:
    middle = np.median(signal)
    return ((signal - middle) / (1.4826 * np.median(np.abs(signal - middle)))).astype(np.float32)


def _chunks(data: Path, scratch: Path) -> str:
    with np.load(data / "nanopore/calib_chunks_160x1x3000.npz") as file:
        np.savez(scratch / "chunks.npz", inputs=file["chunks"].astype(np.float32))
    return str(scratch / "chunks.npz")


def _own_answers(model: str, shape: tuple[int, ...], metric: str) -> Callable[[Path, Path], dict[str, Any]]:
    """Drawn inputs, and the model's own answers to them: its classes, or its values with a little noise (an error of
    nothing has no share that could be lost)."""

    def write(data: Path, scratch: Path) -> dict[str, Any]:
        path = scratch / f"{Path(model).stem}.npz"
        dice = np.random.default_rng(SEED)
        runner = open_runner(data / model)
        (name,) = (info.name for info in runner.inputs)

        def answers(inputs: np.ndarray) -> np.ndarray:
            return np.concatenate([next(iter(runner.run({name: row[np.newaxis]}).values())) for row in inputs])

        if metric == "top1":
            inputs = _constant_in_time(dice, 2000, shape)
            labels = answers(inputs).argmax(axis=1)
            chosen = _of_many_classes(labels)
            inputs, labels = inputs[chosen], labels[chosen]
        else:
            inputs = _normal(dice, 200, shape)
            outputs = answers(inputs)
            labels = outputs + dice.normal(0, 0.1 * outputs.std(), outputs.shape)
        np.savez(path, inputs=inputs, labels=labels)
        return {"dataset_path": str(path), "metric": metric}

    return write


def _constant_in_time(dice: np.random.Generator, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Loud features that hardly change from frame to frame: a net that spots words calls white noise by one name."""
    frames, *rest = shape
    noise = dice.normal(0, 10, (count, frames, *rest))
    return (dice.normal(0, 60, (count, 1, *rest)) + noise).astype(np.float32)


def _drawn(
    draw: Callable[[np.random.Generator, int, tuple[int, ...]], np.ndarray], shape: tuple[int, ...]
) -> Callable[[Path, Path], str]:
    """A calibration set of the same kind as the inputs above, by other dice."""

    def write(data: Path, scratch: Path) -> str:
        path = scratch / f"drawn-{'x'.join(map(str, shape))}.npz"
        np.savez(path, inputs=draw(np.random.default_rng(SEED + 1), 200, shape))
        return str(path)

    return write


def _normal(dice: np.random.Generator, count: int, shape: tuple[int, ...]) -> np.ndarray:
    return dice.normal(size=(count, *shape)).astype(np.float32)


def _of_many_classes(labels: np.ndarray) -> np.ndarray:
    """The indices of 200 samples, with half of them of the commonest class at most: else chance would be right, too."""
    commonest = np.bincount(labels).argmax()
    common, others = np.flatnonzero(labels == commonest), np.flatnonzero(labels != commonest)[:150]
    return np.sort(np.concatenate([others, common[: min(len(others), 200 - len(others))]]))


_CIFAR = _given("cifar10/test_jpg_dev.npz", preprocessing=IMAGENET | {"layout": "NCHW"})
_CIFAR_PNG = _given("cifar10/test_png_dev.npz", preprocessing=IMAGENET | {"layout": "NCHW"})
_PIXELS = _given("cifar10/test_jpg_dev.npz", preprocessing={"scale": 1.0, "layout": "NHWC"})
_VWW = _given("mlperf_tiny/vww_test_val2017_dev.npz", preprocessing={"scale": 1 / 255, "layout": "NHWC"})
_SQUEEZE = _given("imagenet/test_dev_300", preprocessing=IMAGENET | {"layout": "NCHW"})
_DETECT = _given(
    "coco/val2017_dev_64/annotations.json",
    "map",
    preprocessing={"color": "BGR", "resize": [352, 352], "scale": 1 / 255},
    decoding={"kind": "grid"},
)
_CALIB, _VWW_CALIB = _file("cifar10/calib_png.npz"), _file("mlperf_tiny/vww_calib_train2017.npz")
_TINY = "mlperf_tiny"


def sources(data: Path) -> list[Source]:
    """All of them; `data` is the folder of models and data sets (its page says where each comes from)."""
    resnet, squiggle = "cifar10/resnet20_cifar10", "nanopore/squigglenet_gru48"
    defs = data / "model_defs.py"
    found = [
        Source("ResNet-20, ONNX", f"{resnet}.onnx", _CIFAR, 0.8160, _CALIB),
        Source("ResNet-20, exported program", f"{resnet}.pt2", _CIFAR, 0.8160, _CALIB),
        Source("ResNet-20, state dict", f"{resnet}_state_dict.pt", _CIFAR, 0.8160, _CALIB, f"{defs}:CifarResNet"),
        Source("MobileNetV2, ONNX", "cifar10/mobilenetv2_cifar10_probe.onnx", _CIFAR_PNG, 0.8283, _CALIB),
        Source(
            "SqueezeNet, ONNX", "imagenet/squeezenet1_1_imagenet.onnx", _SQUEEZE, 0.6267, _file("imagenet/calib_50")
        ),
        Source(
            "SqueezeNet, exported program",
            "imagenet/squeezenet1_1_imagenet.pt2",
            _SQUEEZE,
            0.6267,
            _file("imagenet/calib_50"),
        ),
        Source(
            "FastestDet, ONNX",
            "coco/fastestdet_352.onnx",
            _DETECT,
            0.2115,
            _file("coco/calib_train2017_32/annotations.json"),
        ),
        Source("MiniLM, ONNX", "text/minilm_l6_v2_stsbvocab.onnx", _pairs, 0.8669, _calibration_pairs),
        *(
            Source(f"SquiggleNet, {what}", f"{squiggle}{suffix}", _reads, 0.8657, _chunks, loader, exact=False)
            for what, suffix, loader in [
                ("ONNX", ".onnx", None),
                ("exported program", ".pt2", None),
                ("state dict", "_state_dict.pt", f"{defs}:SquiggleNet"),
            ]
        ),
        *(
            Source(
                f"ResNet-8, {what}",
                f"{_TINY}/ic_resnet8_cifar10{suffix}",
                _PIXELS,
                score,
                _CALIB,
                exact="INT8" not in what,
            )
            for what, suffix, score in [
                ("SavedModel", "_savedmodel", 0.7535),
                ("Keras archive", ".keras", 0.7535),
                ("Keras HDF5", ".h5", 0.7535),
                ("TFLite", "_float32.tflite", 0.7535),
                ("TFLite INT8", "_int8_ref.tflite", 0.7585),
            ]
        ),
        *(
            Source(
                f"MobileNetV1 persons, {what}",
                f"{_TINY}/vww_mobilenet_96{suffix}",
                _VWW,
                0.887,
                _VWW_CALIB,
                exact="INT8" not in what,
            )
            for what, suffix in [
                ("Keras archive", ".keras"),
                ("old Keras HDF5", "_legacy.h5"),
                ("TFLite", "_float32.tflite"),
                ("TFLite INT8", "_int8_ref.tflite"),
            ]
        ),
    ]
    for what, suffix in [("old SavedModel", "_savedmodel_legacy"), ("TFLite, 8-bit weights", "_float32.tflite")]:
        model, shape = f"{_TINY}/kws_dscnn{suffix}", (49, 10, 1)
        evaluation, calibration = _own_answers(model, shape, "top1"), _drawn(_constant_in_time, shape)
        found.append(
            Source(f"DS-CNN keywords, {what}", model, evaluation, None, calibration, exact="8-bit" not in what)
        )
    model, shape = f"{_TINY}/ad_autoencoder_float32.tflite", (640,)
    found.append(Source("Autoencoder, TFLite", model, _own_answers(model, shape, "rmse"), None, _drawn(_normal, shape)))
    return [source for source in found if (data / source.model).exists()]
