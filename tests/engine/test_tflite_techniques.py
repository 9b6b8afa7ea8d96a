"""Making TensorFlow Lite models: what quantizing leaves, what it refuses, and that it is the same each time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.measures import Interface
from edgeopt.contract.steps import TFLite
from edgeopt.engine import optimizing
from edgeopt.engine.data.dataset import open_evaluation
from edgeopt.engine.executor.base import Done
from edgeopt.engine.executor.local import LocalExecutor
from edgeopt.engine.jobs import JobSpec, Optimize, Optimized
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given, settings
from hypothesis import strategies as st

from . import tflite_models
from .image_models import image_set
from .small_models import make_bench
from .tflite_models import Writer, schema
from .tiny_models import real

pytest.importorskip("ai_edge_quantizer", reason="ai-edge-quantizer is not installed: pip install 'edgeopt[tflite]'")
from edgeopt.engine.models.tflite_model import TFLiteModel
from edgeopt.engine.techniques.tflite_dead_channels import mend
from edgeopt.engine.techniques.tflite_quantizing import quantize
from edgeopt.engine.techniques.tflite_ready import ready

How = Literal["float32", "float16", "dynamic", "int8"]
PIXELS = Preprocessing(scale=1 / 255)


class Workshop:
    """A folder with a model and its data, in which it is converted."""

    def __init__(self, folder: Path, parent: Path, evaluation: Evaluation, calibration: str | None):
        self.folder = folder
        self.parent = parent
        self.evaluation = evaluation
        self.calibration = calibration
        self.runs = 0

    def run(self, how: How, parent: Path | None = None) -> tuple[Optimized, Path]:
        self.runs += 1
        work = self.folder / f"work{self.runs}"
        work.mkdir()
        task = Optimize(
            parent_path=str(parent or self.parent),
            step=TFLite(technique="tflite", quantization=how),
            file_stem="made",
            evaluation=self.evaluation,
            calibration_path=self.calibration,
        )
        made = optimizing.run(task, make_bench(work))
        return made, work / "files" / made.file.name

    def refused(self, how: How, code: str, parent: Path | None = None) -> str:
        with pytest.raises(JobProblem) as caught:
            self.run(how, parent)
        assert caught.value.problem.code == code, caught.value.problem
        return caught.value.problem.message

    def outputs(self, model: Path) -> np.ndarray:
        """One row a sample."""
        runner = open_runner(model)
        samples = open_evaluation(self.evaluation, runner.inputs)
        rows = [next(iter(runner.run(samples.feeds(at, at + 1)).values())) for at in range(len(samples))]
        return np.concatenate(rows)


def shop_at(folder: Path) -> Workshop:
    evaluation = Evaluation(dataset_path=image_set(folder / "data.npz"), metric="top1", preprocessing=PIXELS)
    return Workshop(
        folder, tflite_models.separable(folder / "net.tflite"), evaluation, image_set(folder / "calib.npz", 64, seed=8)
    )


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return shop_at(tmp_path)


def noise(made: np.ndarray, original: np.ndarray) -> float:
    """The error's share of what varies in the outputs."""
    return float(np.std(made - original) / np.std(original))


@pytest.mark.parametrize(
    ("how", "precision", "most_noise"), [("float16", "fp16", 0.002), ("dynamic", "int8", 0.05), ("int8", "int8", 0.08)]
)
def test_a_variant_is_smaller_and_computes_nearly_the_same(shop: Workshop, how: How, precision: str, most_noise: float):
    before = shop.parent.read_bytes()
    made, path = shop.run(how)
    file = open_file(path)
    assert (made.format, made.precision, made.file.name) == ("tflite", precision, "made.tflite")
    assert made.changed and path.stat().st_size < len(before)
    assert [info.name for info in (*file.inputs, *file.outputs)] == ["image", "scores"]
    assert file.inputs[0].shape == [None, 8, 8, 3]
    assert file.parameters == open_file(shop.parent).parameters
    assert file.check([]) == []
    assert 0 < noise(shop.outputs(path), shop.outputs(shop.parent)) < most_noise
    assert shop.parent.read_bytes() == before


def test_int8_is_int8_from_input_to_output(shop: Workshop):
    made, path = shop.run("int8")
    file = TFLiteModel(path)
    (taken,), (given_back,) = file.inputs, file.outputs
    assert taken.quantization is not None
    assert (taken.quantization.dtype, taken.quantization.zero_point) == ("int8", -128)
    assert taken.quantization.scale == pytest.approx(1 / 255, rel=0.05)
    assert given_back.quantization is not None
    assert not file.operators_giving("FLOAT32")
    assert any("64 samples, and all were used (256 asked for)" in note for note in made.notes)


def test_dynamic_quantizes_what_gets_faster_by_it(shop: Workshop):
    made, path = shop.run("dynamic")
    file = TFLiteModel(path)
    assert file.operators_holding("INT8") == {"CONV_2D": 2}
    assert not file.operators_giving("INT8")
    assert any("depthwise convolutions stay in float32" in note for note in made.notes)
    assert any("convolutions are quantized dynamically" in note for note in made.notes)


def test_nothing_to_quantize_is_said(shop: Workshop, tmp_path: Path):
    small = tflite_models.separable(tmp_path / "small.tflite", channels=8)
    made, _ = shop.run("dynamic", small)
    assert made.precision == "fp32"
    assert any("nothing is in 8 bits" in note for note in made.notes)


MAKE_ALL = """
import sys
from pathlib import Path
from tests.engine.test_tflite_techniques import shop_at
shop = shop_at(Path(sys.argv[1]))
for how in ("float16", "dynamic", "int8"):
    print(how, shop.run(how)[0].file.sha256)
"""


def test_the_same_step_makes_the_same_bytes_in_every_process(tmp_path: Path):
    said = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        process = subprocess.run(
            [sys.executable, "-c", MAKE_ALL, str(tmp_path / seed)],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append([line for line in process.stdout.splitlines() if line.startswith(("float16", "dynamic", "int8"))])
    assert len(said[0]) == 3
    assert said[0] == said[1]


def test_what_does_not_apply_is_refused_by_name(shop: Workshop):
    assert "float32 TensorFlow Lite model already" in shop.refused("float32", "UNAVAILABLE")
    for how in ("int8", "dynamic", "float16"):
        _, made = shop.run(how)
        assert "already" in shop.refused("dynamic", "UNAVAILABLE", made)


def test_a_sandboxed_worker_makes_the_same(shop: Workshop):
    _, path = shop.run("int8")
    task = Optimize(
        parent_path=str(shop.parent),
        step=TFLite(technique="tflite", quantization="int8"),
        file_stem="made",
        evaluation=shop.evaluation,
        calibration_path=shop.calibration,
    )
    ended = LocalExecutor().run(shop.folder / "job", JobSpec(job_id="job-1", task=task, memory_mb=4000, timeout_s=120))
    assert isinstance(ended, Done), ended
    assert isinstance(ended.result, Optimized)
    assert ended.result.file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_int8_wants_a_calibration_set(shop: Workshop):
    shop.calibration = None
    shop.refused("int8", "CALIBRATION_REQUIRED")


def test_a_model_of_several_signatures_is_refused(shop: Workshop, tmp_path: Path):
    model: Any = TFLiteModel(shop.parent).model
    model.signatureDefs.append(model.signatureDefs[0])
    path = tmp_path / "two.tflite"
    path.write_bytes(tflite_models.convert_object_to_bytearray(model))
    with pytest.raises(JobProblem, match="2 signatures"):
        ready(path)


def test_ranges_inside_of_loops_are_not_guessed(shop: Workshop, tmp_path: Path):
    model: Any = TFLiteModel(shop.parent).model
    code = schema.BuiltinOperator.WHILE
    model.operatorCodes[1].builtinCode = model.operatorCodes[1].deprecatedBuiltinCode = code
    path = tmp_path / "loop.tflite"
    path.write_bytes(tflite_models.convert_object_to_bytearray(model))
    nothing = Interface(inputs=[], outputs=[])
    with pytest.raises(JobProblem, match=r"\(WHILE\).*take quantization='dynamic'") as found:
        quantize(
            path,
            tmp_path / "out.tflite",
            TFLite(technique="tflite", quantization="int8"),
            None,
            nothing,
            make_bench(tmp_path),
        )
    assert found.value.problem.code == "UNAVAILABLE"


def test_files_of_old_converters_are_quantized_as_what_they_are(shop: Workshop, tmp_path: Path):
    """Their operators' codes stand in another place; the quantizer would take every operator for an addition."""
    model: Any = TFLiteModel(shop.parent).model
    for code in model.operatorCodes:
        code.builtinCode = 0
    model.signatureDefs = None
    old = tmp_path / "old.tflite"
    old.write_bytes(tflite_models.convert_object_to_bytearray(model))
    assert open_file(old).operators == open_file(shop.parent).operators
    _, path = shop.run("int8", old)
    assert open_file(path).operators == open_file(old).operators
    assert noise(shop.outputs(path), shop.outputs(old)) < 0.08


@pytest.mark.parametrize(
    ("name", "scale", "least"), [("ic_resnet8_cifar10", 1.0, 0.875), ("vww_mobilenet_96", 1 / 255, 0.83)]
)
def test_real_models_keep_their_accuracy(tmp_path: Path, name: str, scale: float, least: float):
    sets = {"ic": ("cifar10/test_png_dev.npz", "cifar10/calib_png.npz")}
    test, calibration = sets.get(
        name[:2], ("mlperf_tiny/vww_test_val2017_dev.npz", "mlperf_tiny/vww_calib_train2017.npz")
    )
    evaluation = Evaluation(dataset_path=real(test), metric="top1", preprocessing=Preprocessing(scale=scale))
    shop = Workshop(tmp_path, Path(real(f"mlperf_tiny/{name}_float32.tflite")), evaluation, real(calibration))
    for how in ("float16", "dynamic", "int8"):
        _, path = shop.run(how)
        runner = open_runner(path)
        samples = open_evaluation(evaluation, runner.inputs)
        accuracy = evaluate(runner, samples, "top1", lambda done, message: None).accuracy()
        assert accuracy.value > least, how


def layer(path: Path, weights: np.ndarray, bias: np.ndarray) -> Path:
    """x (1, 4) to y (1, outputs)."""
    writer = Writer()
    x, y = writer.tensor("x", (1, weights.shape[1])), writer.tensor("y", (1, len(weights)))
    constants = [writer.constant("weights", weights), writer.constant("bias", bias)]
    writer.operator("FULLY_CONNECTED", [x, *constants], [y], schema.FullyConnectedOptionsT())
    return writer.save(path, [x], [y])


def quantized_layer(folder: Path, weights: np.ndarray, bias: np.ndarray) -> tuple[Path, bytes, bytes]:
    """The layer in float32, as the quantizer makes it of that, calibrated on inputs within 1, and as it is mended."""
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    path = layer(folder / "layer.tflite", weights, bias)
    model, recipes = ready(path), RecipeManager()
    recipes.load_quantization_recipe(recipe.static_wi8_ai8())
    calibrator = Calibrator(model, num_threads=1, qsv_update_func=min_max_update)
    for extreme in (*np.sign(weights), *-np.sign(weights)):
        calibrator.calibrate({"serving_default": [{"x": extreme[None]}]}, recipes)
    made = quantizer.Quantizer(model, recipe.static_wi8_ai8()).quantize(
        calibrator.get_model_qsvs(), enable_progress_report=False
    )
    content = bytes(made.quantized_model or b"")
    return path, content, mend(content, model)


def test_a_channel_without_weights_keeps_its_bias(tmp_path: Path):
    """The quantizer's own file gives nothing there: the bias is beyond 32 bits of steps as fine as such weights'."""
    rng = np.random.default_rng(3)
    weights, bias = rng.normal(size=(6, 4)).astype(np.float32), np.linspace(-2, 2, 6, dtype=np.float32)
    weights[4:] *= 1e-12
    path, content, mended = quantized_layer(tmp_path, weights, bias)
    x = np.array([[0.5, -0.25, 1, -1]], np.float32)
    wanted = open_runner(path).run({"x": x})["y"]
    step = 0.0
    for name, data in (("made", content), ("mended", mended)):
        file = tmp_path / f"{name}.tflite"
        file.write_bytes(data)
        runner = open_runner(file)
        error = np.abs(runner.run({"x": x})["y"] - wanted)[0]
        step = runner.outputs[0].quantization.scale if runner.outputs[0].quantization else 0
        if name == "made":
            assert error[4:].min() > 10 * step, "ai-edge-quantizer has mended this itself: mend() can go"
        else:
            assert error.max() < 3 * step


def test_what_has_no_dead_channel_is_left_as_it_is(tmp_path: Path):
    rng = np.random.default_rng(3)
    _, content, mended = quantized_layer(tmp_path, rng.normal(size=(6, 4)).astype(np.float32), np.ones(6, np.float32))
    assert mended == content


@settings(max_examples=25, deadline=None)
@given(st.integers(-12, 0), st.integers(0, 2**16))
def test_a_layer_computes_the_same_however_small_some_weights_are(exponent: int, seed: int):
    rng = np.random.default_rng(seed)
    weights, bias = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    weights[3:] *= np.float32(10.0**exponent)
    with tempfile.TemporaryDirectory() as folder:
        path, _, mended = quantized_layer(Path(folder), weights, bias)
        file = Path(folder) / "mended.tflite"
        file.write_bytes(mended)
        runner, original = open_runner(file), open_runner(path)
        quantization = runner.outputs[0].quantization
        assert quantization is not None
        x = rng.uniform(-1, 1, (1, 4)).astype(np.float32)
        error = np.abs(runner.run({"x": x})["y"] - original.run({"x": x})["y"])
        assert error.max() < 4 * quantization.scale
