"""TensorFlow Lite of TensorFlow models: the same function under the same names, then quantized like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.measures import Interface
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner

from .small_models import make_bench
from .tiny_models import real

pytest.importorskip("tensorflow", reason="tensorflow is not installed: pip install 'edgeopt[tensorflow]'")
pytest.importorskip("ai_edge_quantizer", reason="ai-edge-quantizer is not installed: pip install 'edgeopt[tflite]'")
from edgeopt.engine.runtimes.tensorflow_quietly import tf
from edgeopt.engine.techniques.tflite_tensorflow import convert

from .test_tflite_techniques import Workshop, noise

IMAGES = Evaluation(dataset_path="", metric="top1", preprocessing=Preprocessing(scale=1))
KINDS = ["ic_resnet8_cifar10.keras", "ic_resnet8_cifar10.h5", "ic_resnet8_cifar10_savedmodel"]


def shop_of(folder: Path, model: str) -> Workshop:
    evaluation = IMAGES.model_copy(update={"dataset_path": real("cifar10/test_png_dev.npz")})
    return Workshop(folder, Path(real(f"mlperf_tiny/{model}")), evaluation, real("cifar10/calib_png.npz"))


@pytest.mark.parametrize("model", KINDS)
def test_a_network_is_the_same_in_the_other_format(tmp_path: Path, model: str):
    shop = shop_of(tmp_path, model)
    made, path = shop.run("float32")
    source, file = open_file(shop.parent), open_file(path)
    assert (made.precision, made.format) == ("fp32", "tflite")
    assert (file.inputs, file.outputs) == (source.inputs, source.outputs)
    assert file.parameters == 77706
    before, after = shop.outputs(shop.parent), shop.outputs(path)
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert np.mean(after.argmax(1) == before.argmax(1)) >= 0.999


def test_it_is_quantized_on_the_way(tmp_path: Path):
    shop = shop_of(tmp_path, KINDS[0])
    made, path = shop.run("int8")
    assert made.precision == "int8"
    assert noise(shop.outputs(path), shop.outputs(shop.parent)) < 0.2
    assert open_file(path).outputs[0].name == "dense"


def test_a_model_that_only_the_first_loader_takes_is_converted_and_says_so(tmp_path: Path):
    parent = open_file(Path(real("mlperf_tiny/kws_dscnn_savedmodel_legacy")))
    interface = Interface(inputs=parent.inputs, outputs=parent.outputs)
    out = tmp_path / "out.tflite"
    notes = convert(parent, out, interface, make_bench(tmp_path))
    assert "TensorFlow 1" in " ".join(notes)
    x = np.random.default_rng(0).normal(size=(1, 49, 10, 1)).astype(np.float32)
    of_the_source, made = (open_runner(path).run({"input_1": x})["dense"] for path in (parent.path, out))
    np.testing.assert_allclose(made, of_the_source, atol=1e-5)


class Two(tf.Module):
    """Inputs and outputs whose order and names a converter may confuse, and a variable."""

    def __init__(self):
        super().__init__()
        self.weight = tf.Variable([2.0, 3.0, 4.0])

    @tf.function(
        input_signature=[tf.TensorSpec((None, 3), tf.float32, "zulu"), tf.TensorSpec((None, 3), tf.float32, "alpha")]
    )
    def __call__(self, zulu, alpha):
        return {"sum": zulu + self.weight * alpha, "apart": zulu - 2 * alpha}


class Spectrum(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((1, 8), tf.float32, "x")])
    def __call__(self, x):
        return {"y": tf.linalg.expm(tf.reshape(tf.tile(x, (1, 8)), (1, 8, 8)))}


def saved(module: Any, folder: Path) -> Path:
    tf.saved_model.save(module, str(folder), signatures=module.__call__.get_concrete_function())
    return folder


def converted(parent: Path, folder: Path) -> Path:
    source = open_file(parent)
    convert(source, folder / "out.tflite", Interface(inputs=source.inputs, outputs=source.outputs), make_bench(folder))
    return folder / "out.tflite"


def test_inputs_and_outputs_keep_their_names(tmp_path: Path):
    parent = saved(Two(), tmp_path / "two")
    runner, original = open_runner(converted(parent, tmp_path)), open_runner(parent)
    feeds = {"zulu": np.full((1, 3), 10, np.float32), "alpha": np.ones((1, 3), np.float32)}
    found = runner.run(feeds)
    assert found["sum"].tolist() == [[12, 13, 14]]
    assert found["apart"].tolist() == [[8, 8, 8]]
    assert {name: value.tolist() for name, value in original.run(feeds).items()} == {
        name: value.tolist() for name, value in found.items()
    }


def test_what_tensorflow_lite_has_no_operators_for_is_refused(tmp_path: Path):
    parent = saved(Spectrum(), tmp_path / "spectrum")
    with pytest.raises(JobProblem, match="own operators") as found:
        converted(parent, tmp_path)
    assert found.value.problem.code == "UNAVAILABLE"
