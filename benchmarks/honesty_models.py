"""The models that are timed, each under two names: the demo's network, its INT8 variant made by the product, and a stack
of matrix products."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from edgeopt.contract.evaluation import Evaluation
from edgeopt.contract.steps import Int8Static
from edgeopt.engine import optimizing
from edgeopt.engine.bench import Bench
from edgeopt.engine.data.dataset import open_evaluation
from edgeopt.engine.jobs import Optimize
from edgeopt.engine.measure import inputs
from edgeopt.engine.measure.pairing import Pair
from edgeopt.engine.measure.rotation import rotation
from edgeopt.engine.models import onnx_file
from edgeopt.server.demo.run import CALIBRATION, EVALUATION, MODEL
from onnx import TensorProto, helper, numpy_helper

ROWS, WIDTH, LAYERS = 64, 512, 10
_SEED = 0


@dataclass(frozen=True)
class Subject:
    """A model, a copy of its file under another name, and the inputs that both are timed on."""

    name: str
    path: Path
    copy: Path
    inputs: Path

    def against(self, variant: Path, threads: int) -> Pair:
        """The pair that is timed."""
        feeds = str(self.inputs)
        return Pair(
            baseline=str(self.path), baseline_inputs=feeds, variant=str(variant), variant_inputs=feeds, threads=threads
        )


def make(folder: Path) -> list[Subject]:
    """The models, their files below `folder`."""
    digits = Evaluation.model_validate(EVALUATION)
    return [
        _subject(folder, "digits", MODEL, _samples(MODEL, digits)),
        _subject(folder, "digits-int8", _quantized(folder, digits), _samples(MODEL, digits)),
        _subject(folder, "matmul", _matmul(folder), _noise()),
    ]


def _subject(folder: Path, name: str, model: Path, batches: list[inputs.Feeds]) -> Subject:
    subject = Subject(name, folder / f"{name}.onnx", folder / f"{name}_again.onnx", folder / f"{name}.npz")
    for file in (subject.path, subject.copy):
        shutil.copyfile(model, file)
    inputs.save(batches, subject.inputs)
    return subject


def _samples(model: Path, evaluation: Evaluation) -> list[inputs.Feeds]:
    """Real inputs, as the product takes them for timing."""
    infos = onnx_file.inputs(onnx_file.load(model))
    return rotation(open_evaluation(evaluation, infos), infos, batch_size=1)


def _quantized(folder: Path, evaluation: Evaluation) -> Path:
    files, tmp = folder / "files", folder / "tmp"
    files.mkdir()
    tmp.mkdir()
    step = Int8Static(technique="int8_static", calibrator="minmax", equalize=False, bias_correction=False)
    task = Optimize(
        parent_path=str(MODEL), step=step, file_stem="int8", evaluation=evaluation, calibration_path=CALIBRATION
    )
    optimizing.run(task, Bench(files, tmp))
    return files / "int8.onnx"


def _matmul(folder: Path) -> Path:
    """10 layers of a 512 x 512 product and a ReLU on 64 rows: 168 million multiplications, 10 MB of weights."""
    dice = np.random.default_rng(_SEED)
    nodes, weights, last = [], [], "input"
    for layer in range(LAYERS):
        # Scaled so that the values neither die out nor grow from layer to layer (He et al. 2015, arXiv:1502.01852).
        weight = dice.standard_normal((WIDTH, WIDTH)) * np.sqrt(2 / WIDTH)
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"weight{layer}"))
        nodes.append(helper.make_node("MatMul", [last, f"weight{layer}"], [f"product{layer}"]))
        last = f"layer{layer}"
        nodes.append(helper.make_node("Relu", [f"product{layer}"], [last]))
    taken, given = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [ROWS, WIDTH]) for name in ("input", last))
    graph = helper.make_graph(nodes, "matmul", [taken], [given], weights)
    path = folder / "matmul_made.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def _noise() -> list[inputs.Feeds]:
    dice = np.random.default_rng(_SEED)
    return [{"input": dice.standard_normal((ROWS, WIDTH)).astype(np.float32)} for _ in range(8)]
