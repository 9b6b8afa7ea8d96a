"""The models that edgeopt and its peers are compared on, as the engine sees them, and the samples that all are given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgeopt.benchmarks.matrix_sources import CODE, Source, sources
from edgeopt.contract.evaluation import Evaluation, UserCode
from edgeopt.contract.measures import Interface
from edgeopt.engine.data.dataset import Dataset, open_dataset, open_evaluation
from edgeopt.engine.data.sizes import sized
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.quantization.samples import spread
from edgeopt.engine.runtimes.runner import open_runner
from edgeopt.engine.samples import batches

# Of the sources of benchmarks/matrix.py: classifiers that take 8 bits well, badly and at high resolution, a detector, an
# encoder of sentences, a basecaller.
SOURCES = {
    "ResNet-20": "ResNet-20, ONNX",
    "MobileNetV2": "MobileNetV2, ONNX",
    "SqueezeNet": "SqueezeNet, ONNX",
    "FastestDet": "FastestDet, ONNX",
    "MiniLM": "MiniLM, ONNX",
    "SquiggleNet": "SquiggleNet, ONNX",
}
# Every tool is given the same ones; NNCF's default is 300, and no other tool has one.
CALIBRATION_SAMPLES = 300


@dataclass(frozen=True)
class Model:
    """One model with its data, whose files are below `data` or `scratch`. `opening`: what a session says of the evaluation."""

    name: str
    path: Path
    opening: dict[str, Any]
    calibration: str

    @property
    def evaluation(self) -> Evaluation:
        return Evaluation.model_validate(self.opening)

    @property
    def transformer(self) -> bool:
        """What NNCF's documentation wants to be told."""
        return self.name == "MiniLM"

    def code(self, purpose: str) -> UserCode | None:
        """The user's function for this purpose (`adapter`, `metric_code`), where there is one."""
        if (named := self.opening.get(purpose)) is None:
            return None
        path, _, function = named.rpartition(":")
        return UserCode(path=path, function=function, sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest())

    def samples(self) -> Dataset:
        """The evaluation set."""
        return open_evaluation(self.evaluation, open_file(self.path).inputs)

    def interface(self) -> Interface:
        """The original's, with the sizes of its data."""
        original = open_file(self.path)
        return sized(Interface(inputs=original.inputs, outputs=original.outputs), self.samples())

    def calibration_feeds(self, path: Path) -> Iterator[dict[str, np.ndarray]]:
        """The calibration samples as the model in `path` is fed, whatever its format; a fixed choice in a fixed order."""
        interface = self.interface()
        dataset = open_dataset(self.calibration, self.samples().preprocessing, interface.inputs, labelled=False)
        runner = open_runner(path, interface=interface)
        for feeds in batches(dataset, runner.inputs, spread(len(dataset), CALIBRATION_SAMPLES)):
            yield runner.native(feeds)


def models(data: Path) -> dict[str, Source]:
    """Those whose files are there, by the names of this benchmark."""
    found = {source.name: source for source in sources(data)}
    return {name: found[source] for name, source in SOURCES.items() if source in found}


def opened(name: str, data: Path, scratch: Path) -> Model:
    """The model with its data sets; what no file of `data` holds in the shape that a session takes goes to `scratch`."""
    source = models(data)[name]
    assert source.calibration is not None, "every model of SOURCES has calibration data"
    return Model(name, data / source.model, source.evaluation(data, scratch), source.calibration(data, scratch))


def user_code() -> Path:
    """The file of the user's functions, which a server must be allowed to run."""
    return CODE
