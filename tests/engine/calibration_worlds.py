"""Small models and honest sets for them: images that are smooth as pictures are, signals, sentences as token ids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from edgeopt.contract.evaluation import Evaluation, Metric, Preprocessing
from edgeopt.contract.measures import Interface
from edgeopt.engine.bench import Bench
from edgeopt.engine.calibration.audit import audit
from edgeopt.engine.calibration.finding import Finding
from edgeopt.engine.data.dataset import open_dataset, open_evaluation
from edgeopt.engine.models.model_file import open_file
from onnx import TensorProto, helper

from .tiny_models import Axis, save

SIDE, CLASSES, WORDS, LENGTH = 16, 4, 1000, 12
PIXELS = Preprocessing(scale=1 / 255, mean=[0.5], std=[0.25], layout="NCHW")

Table = Callable[[np.random.Generator, int], np.ndarray]

# Of numpy arrays; keyword arguments of numpy.savez have other types as well.
Arrays = dict[str, Any]


class World:
    """A model with its evaluation set; calibration sets are arrays, audited as an INT8 step would have them audited."""

    def __init__(
        self,
        folder: Path,
        model: str,
        evaluation: Arrays,
        metric: Metric = "top1",
        preprocessing: Preprocessing | None = None,
    ):
        self.folder, self.model = folder, Path(model)
        np.savez(folder / "evaluation.npz", **evaluation)
        path = str(folder / "evaluation.npz")
        self.evaluation = Evaluation(dataset_path=path, metric=metric, preprocessing=preprocessing)

    def audit(self, path: str | None = None, *, used: int = 256, **arrays: Any) -> list[Finding]:
        """Of the calibration set at `path`, or of these arrays."""
        if path is None:
            path = self.write(**arrays)
        model = open_file(self.model)
        inputs = model.inputs
        evaluation = open_evaluation(self.evaluation, inputs)
        calibration = open_dataset(path, evaluation.preprocessing, inputs, labelled=False)
        bench = Bench(self.folder, self.folder)
        interface = Interface(inputs=inputs, outputs=model.outputs)
        return audit(model, interface, calibration, evaluation, metric=self.evaluation.metric, used=used, bench=bench)

    def write(self, **arrays: Any) -> str:
        path = self.folder / "calibration.npz"
        np.savez(path, **arrays)
        return str(path)


def unfit(findings: list[Finding]) -> list[str]:
    return kinds([finding for finding in findings if finding.unfit])


def told(findings: list[Finding]) -> list[str]:
    return kinds([finding for finding in findings if not finding.unfit])


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.text.partition(":")[0] for finding in findings]


def pictures(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (n, 16, 16, 3) and labels: clouds of colour, and one quarter of the image brighter; the class says which."""
    dice = np.random.default_rng(seed)
    coarse = dice.normal(110, 45, (samples, 5, 5, 3))
    labels = np.arange(samples) % CLASSES
    position = np.linspace(0, 3.999, SIDE)
    whole, part = position.astype(int), position % 1
    rows = coarse[:, whole] * (1 - part[:, None, None]) + coarse[:, whole + 1] * part[:, None, None]
    smooth = rows[:, :, whole] * (1 - part[:, None]) + rows[:, :, whole + 1] * part[:, None]
    half = SIDE // 2
    for image, label in zip(smooth, labels, strict=True):
        image[label // 2 * half :][:half, label % 2 * half :][:, :half] += 60
    return np.clip(smooth + dice.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8), labels


def quarters(path: Path, batch: Axis = "N") -> str:
    """A classifier of `pictures`: the mean over the channels in each quarter."""
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["grey"], name="conv"),
        helper.make_node("AveragePool", ["grey"], ["pooled"], name="pool", kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["pooled"], ["scores"], name="flatten"),
    ]
    weights = {"w": np.full((1, 3, 1, 1), 1 / 3, np.float32)}
    shape, scores = [batch, 3, SIDE, SIDE], [batch, CLASSES]
    return save(path, nodes, {"image": (TensorProto.FLOAT, shape)}, {"scores": (TensorProto.FLOAT, scores)}, weights)


def picture_world(folder: Path, samples: int = 200, batch: Axis = "N") -> World:
    images, labels = pictures(samples, seed=1)
    evaluation = {"inputs": images, "labels": labels}
    return World(folder, quarters(folder / "quarters.onnx", batch), evaluation, preprocessing=PIXELS)


def film(frames: int, seed: int) -> np.ndarray:
    """uint8 (n, 16, 16, 3): a window that wanders slowly over large pictures, a new one every 40 frames."""
    dice = np.random.default_rng(seed)
    scenes = np.kron(dice.normal(110, 45, (-(-frames // 40), 12, 12, 3)), np.ones((1, 8, 8, 1)))
    found = []
    for at in range(frames):
        row, column = (int(40 + 30 * np.sin(at / 15 + phase)) for phase in (0, 1))
        found.append(scenes[at // 40, row : row + SIDE, column : column + SIDE] + dice.normal(0, 3, (SIDE, SIDE, 3)))
    return np.clip(np.stack(found), 0, 255).astype(np.uint8)


def _units(dice: np.random.Generator, samples: int) -> np.ndarray:
    age = dice.normal(40, 12, samples)
    columns = [
        age,
        age * 900 + dice.normal(0, 2000, samples),
        dice.integers(0, 2, samples),
        age / 20 + dice.random(samples),
    ]
    return np.stack(columns, axis=1)


# (generator, n) -> float32 (n, features).
TABLES: dict[str, Table] = {
    "of two values": lambda dice, n: (dice.random((n, 8)) < 0.4).astype(np.float32),
    "of small numbers": lambda dice, n: dice.poisson(np.arange(1, 7) / 2, (n, 6)).astype(np.float32),
    "of different units": lambda dice, n: _units(dice, n).astype(np.float32),
    "with long tails": lambda dice, n: np.exp(dice.normal(0, 2, (n, 8))).astype(np.float32),
    "of one feature": lambda dice, n: dice.standard_normal((n, 1)).astype(np.float32),
    "of many features": lambda dice, n: dice.standard_normal((n, 300)).astype(np.float32),
}


def sentences(samples: int, seed: int) -> Arrays:
    """Token ids with the frequencies of words (Zipf) and padding, and their masks. A few short ones recur."""
    dice = np.random.default_rng(seed)
    ids = np.minimum(dice.zipf(1.3, (samples, LENGTH)) + 2, WORDS - 1)
    ids[::20] = np.array([5, 6, 7, 8, *[0] * (LENGTH - 4)])
    length = dice.integers(6, LENGTH + 1, samples)
    mask = (np.arange(LENGTH) < length[:, None]).astype(np.int64)
    return {"ids": ids * mask, "mask": mask}


def sentence_world(folder: Path) -> World:
    weights = {"table": np.random.default_rng(2).standard_normal((WORDS, 8)).astype(np.float32)}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m", "last"], ["m1"]),
        helper.make_node("Mul", ["words", "m1"], ["kept"]),
        helper.make_node("ReduceMean", ["kept"], ["embedding"], axes=[1], keepdims=0),
    ]
    model = save(
        folder / "sentences.onnx",
        nodes,
        {name: (TensorProto.INT64, ["N", LENGTH]) for name in ("ids", "mask")},
        {"embedding": (TensorProto.FLOAT, ["N", 8])},
        weights | {"last": np.array([2])},
    )
    scores = {"labels": np.random.default_rng(3).random(200)}
    return World(folder, model, sentences(200, seed=1) | scores, metric="spearman")


def signals(samples: int, seed: int, length: int = 300) -> np.ndarray:
    """float32 (n, 1, length): a first-order autoregressive process."""
    dice = np.random.default_rng(seed)
    values = dice.standard_normal((samples, length))
    for step in range(1, length):
        values[:, step] = 0.9 * values[:, step - 1] + 0.44 * values[:, step]
    return values[:, np.newaxis].astype(np.float32)


def signal_world(folder: Path) -> World:
    """A convolution over a signal of any length."""
    weights = {"w": np.random.default_rng(4).standard_normal((4, 1, 5)).astype(np.float32)}
    nodes = [
        helper.make_node("Conv", ["signal", "w"], ["c"], pads=[2, 2]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    model = save(
        folder / "signal.onnx",
        nodes,
        {"signal": (TensorProto.FLOAT, ["N", 1, "T"])},
        {"y": (TensorProto.FLOAT, ["N", 4, "T"])},
        weights,
    )
    return World(folder, model, {"inputs": signals(120, seed=1), "labels": np.zeros(120)}, metric="rmse")
