"""ONNX of TensorFlow models: the same numbers under the same names, in the same layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("tensorflow", reason="needs edgeopt[tensorflow]")
pytest.importorskip("tf2onnx", reason="needs edgeopt[tensorflow]")

from edgeopt.contract.measures import Interface
from edgeopt.contract.steps import ExportOnnx
from edgeopt.engine.models.model_file import ModelFile, open_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from edgeopt.engine.runtimes.tensorflow_quietly import tf
from edgeopt.engine.techniques.export_onnx_tensorflow import export

from .keras_models import SAVE, convnet, graph, images, in_and_out_twice, keras
from .small_models import make_bench
from .tiny_models import real


def converted(source: Path, folder: Path, **options: Any) -> ModelFile:
    """The ONNX of a model, which the checker has nothing against."""
    parent = open_file(source)
    interface = Interface(inputs=parent.inputs, outputs=parent.outputs)
    out = folder / "out.onnx"
    made = export(source, ExportOnnx(technique="export_onnx", **options), out, interface, make_bench(folder))
    assert made.precision == parent.precision
    onnx.checker.check_model(onnx.load(out), full_check=True)
    return open_file(out)


@pytest.mark.parametrize("way", SAVE)
def test_an_export_computes_the_same_under_the_same_names(tmp_path: Path, way: str):
    source = SAVE[way](convnet(), tmp_path)
    made, parent = converted(source, tmp_path), open_file(source)
    assert (made.inputs, made.outputs) == (parent.inputs, parent.outputs)
    assert made.opset == 17
    assert made.framework.startswith("edgeopt")
    (name,), x = [info.name for info in made.inputs], images(5)
    before, after = open_runner(source).run({name: x}), open_runner(made.path).run({name: x})
    for output, values in before.items():
        np.testing.assert_allclose(after[output], values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", ["keras", "saved_model"])
def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path, way: str):
    source = SAVE[way](in_and_out_twice(), tmp_path)
    made, parent = converted(source, tmp_path), open_file(source)
    assert (made.inputs, made.outputs) == (parent.inputs, parent.outputs)
    feeds = {info.name: np.ones((2, info.shape[1] or 0), np.float32) for info in made.inputs}
    before, after = open_runner(source).run(feeds), open_runner(made.path).run(feeds)
    assert {name: values.tolist() for name, values in before.items()} == {n: v.tolist() for n, v in after.items()}


def test_the_batch_axis_is_named_and_stays_open(tmp_path: Path):
    source = SAVE["keras"](convnet(), tmp_path)
    model = onnx.load(converted(source, tmp_path).path)
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_an_opset_is_taken_or_refused(tmp_path: Path):
    source = SAVE["keras"](convnet(), tmp_path)
    (tmp_path / "new").mkdir()
    assert converted(source, tmp_path / "new", opset=15).opset == 15
    for place, opset in (("low", 11), ("high", 40)):
        (tmp_path / place).mkdir()
        with pytest.raises(JobProblem, match="leave opset out") as found:
            converted(source, tmp_path / place, opset=opset)
        assert found.value.problem.code == "INVALID_ARGUMENT"


NO_ONNX: dict[str, Callable[[Any], Any]] = {
    "Betainc": lambda x: tf.math.betainc(x, x, x),
    "Igamma": lambda x: tf.math.igamma(x, x),
}


@pytest.mark.parametrize("operator", NO_ONNX)
def test_an_operator_without_onnx_is_named(tmp_path: Path, operator: str):
    with pytest.raises(JobProblem, match=operator) as found:
        converted(graph(NO_ONNX[operator], tmp_path / "m"), tmp_path)
    assert found.value.problem.code == "UNAVAILABLE"
    assert "tflite" in found.value.problem.message


def test_names_that_tensorflow_does_not_take_come_back(tmp_path: Path):
    x = keras.Input((3,), name="what is fed:")
    source = SAVE["keras"](keras.Model(x, keras.layers.Dense(2, name="what-comes.out")(x)), tmp_path)
    made = converted(source, tmp_path)
    assert [info.name for info in (*made.inputs, *made.outputs)] == ["what is fed:", "what-comes.out"]


@pytest.mark.parametrize(
    ("model", "data", "scale"),
    [
        ("ic_resnet8_cifar10.h5", "cifar10/test_png_dev.npz", 1),
        ("ic_resnet8_cifar10_savedmodel", "cifar10/test_png_dev.npz", 1),
        ("vww_mobilenet_96_legacy.h5", "mlperf_tiny/vww_test_val2017_dev.npz", 1 / 255),
    ],
)
def test_real_models_decide_the_same(tmp_path: Path, model: str, data: str, scale: float):
    source = Path(real(f"mlperf_tiny/{model}"))
    made, samples = converted(source, tmp_path), np.load(real(data))
    feeds = {made.inputs[0].name: samples["inputs"].astype(np.float32) * np.float32(scale)}
    before, after = (open_runner(path).run(feeds)[made.outputs[0].name] for path in (source, made.path))
    assert np.mean(before.argmax(axis=1) == after.argmax(axis=1)) >= 0.999
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_a_model_without_an_optimizers_state_is_exported(tmp_path: Path):
    source = Path(real("mlperf_tiny/kws_dscnn_savedmodel_legacy"))
    made = converted(source, tmp_path)
    feeds = {"input_1": np.random.default_rng(0).normal(size=(64, 49, 10, 1)).astype(np.float32)}
    before, after = (open_runner(path).run(feeds)["dense"] for path in (source, made.path))
    np.testing.assert_allclose(after, before, atol=1e-5)
