"""The graphs that TensorRT builds engines from: they run in ONNX Runtime, so they are tested for real."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.steps import TensorRT
from edgeopt.engine.bench import Bench
from edgeopt.engine.data.dataset import Dataset, open_dataset, open_evaluation
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.models import onnx_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.quantization.samples import Samples
from edgeopt.engine.runtimes.runner import open_runner
from edgeopt.engine.techniques.symmetric_qdq import objections, symmetric_qdq
from edgeopt.engine.techniques.tensorrt_graph import profile_shapes, typed_graph
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from .image_models import convnet, evaluation, image_set, images, save
from .small_models import make_bench
from .tiny_models import CIFAR, real
from .tiny_models import save as save_graph

INT8, FP16 = TensorRT(technique="tensorrt", precision="int8"), TensorRT(technique="tensorrt", precision="fp16")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def calibration(model: ModelProto, folder: Path) -> Samples:
    inputs = onnx_file.inputs(model)
    preprocessing = open_evaluation(evaluation(folder / "test.npz"), inputs).preprocessing
    data = open_dataset(image_set(folder / "calib.npz", 32, seed=8), preprocessing, inputs, labelled=False)
    return samples(data, model, folder)


def samples(data: Dataset, model: ModelProto, folder: Path) -> Samples:
    return Samples(data, open_runner(save(model, folder / "fed.onnx")))


def scores(model: ModelProto, folder: Path) -> np.ndarray:
    runner = open_runner(save(model, folder / "run.onnx"))
    data = open_evaluation(evaluation(folder / "test.npz"), runner.inputs)
    return runner.run(data.feeds(0, len(data)))["scores"]


def constants(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_all_zero_points_are_0_and_everything_quantized_is_int8(tmp_path: Path, bench: Bench) -> None:
    model = symmetric_qdq(convnet(), calibration(convnet(), tmp_path), 32, bench)
    values = constants(model)
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(pairs) == 9  # Q and DQ of three inputs, DQ of three weights
    for node in pairs:
        zero_point = values[node.input[2]]
        assert zero_point.dtype == np.int8
        assert not zero_point.any()
    assert objections(model) == []


def test_weights_have_a_scale_a_channel_and_biases_stay_in_float(tmp_path: Path, bench: Bench) -> None:
    model = symmetric_qdq(convnet(), calibration(convnet(), tmp_path), 32, bench)
    values = constants(model)
    producer = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        activation, weight, bias = (producer.get(name) for name in node.input)
        assert activation is not None and activation.op_type == "DequantizeLinear"
        assert weight is not None and weight.op_type == "DequantizeLinear"
        assert values[weight.input[0]].dtype == np.int8
        assert values[weight.input[1]].shape == (len(values[node.input[2]]),)
        assert bias is None and values[node.input[2]].dtype == np.float32


def test_nothing_stands_between_a_convolution_and_what_can_be_merged_into_it(tmp_path: Path, bench: Bench) -> None:
    model = symmetric_qdq(convnet(), calibration(convnet(), tmp_path), 32, bench)
    consumers = {name: node.op_type for node in model.graph.node for name in node.input}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 2
    assert {consumers[node.output[0]] for node in convolutions} == {"Relu"}


def test_it_computes_nearly_what_the_float_model_does(tmp_path: Path, bench: Bench) -> None:
    model = convnet()
    before = scores(model, tmp_path)
    after = scores(symmetric_qdq(model, calibration(model, tmp_path), 32, bench), tmp_path)
    # A range by min-max cuts what lies beyond the calibration set: so not every single value.
    assert 0 < np.median(np.abs(after - before)) < 0.01 * np.ptp(before)
    assert np.mean(after.argmax(1) == before.argmax(1)) > 0.9


def test_products_of_two_activations_stay_in_float(tmp_path: Path, bench: Bench) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    path = save_graph(
        tmp_path / "attention.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["q"], name="weighted"),
            helper.make_node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["q", "k"], ["y"], name="attention"),
        ],
        {"x": (TensorProto.FLOAT, ["N", 4, 8])},
        {"y": (TensorProto.FLOAT, ["N", 4, 4])},
        {"w": weight},
    )
    model = onnx_file.load(Path(path))
    x = np.random.default_rng(1).standard_normal((16, 4, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    data = open_dataset(str(tmp_path / "x.npz"), Preprocessing(), onnx_file.inputs(model), labelled=False)
    made = symmetric_qdq(model, samples(data, model, tmp_path), 16, bench)
    producer = {node.output[0]: node.op_type for node in made.graph.node}
    taken = {node.name: [producer.get(name, "") for name in node.input] for node in made.graph.node}
    assert taken["weighted"] == ["DequantizeLinear", "DequantizeLinear"]
    assert taken["attention"] == ["MatMul", "Transpose"]


class _Images(CalibrationDataReader):
    def __init__(self) -> None:
        self.left = [{"image": images(8).transpose(0, 3, 1, 2).astype(np.float32) / 255}]

    def get_next(self) -> dict[str, np.ndarray]:
        return self.left.pop() if self.left else {}


def quantized(folder: Path, activations: QuantType, weights: QuantType, **options: bool) -> ModelProto:
    """As ONNX Runtime quantizes by its own defaults."""
    source, target = save(convnet(), folder / "float.onnx"), folder / "quantized.onnx"
    quantize_static(
        source,
        target,
        _Images(),
        quant_format=QuantFormat.QDQ,
        activation_type=activations,
        weight_type=weights,
        extra_options=options,
    )
    return onnx.load(target)


@pytest.mark.parametrize(
    ("activations", "options", "why"),
    [
        (QuantType.QUInt8, {}, "tensors are quantized to uint8"),
        (QuantType.QInt8, {}, "zero points are not 0"),
        (QuantType.QInt8, {"ActivationSymmetric": True}, "biases are quantized to int32"),
    ],
)
def test_what_tensorrt_does_not_take_is_named(
    tmp_path: Path, activations: QuantType, options: dict[str, bool], why: str
) -> None:
    found = objections(quantized(tmp_path, activations, QuantType.QInt8, **options))
    assert any(why in sentence for sentence in found), found


def test_a_parent_that_is_quantized_otherwise_is_refused_and_a_symmetric_one_is_taken(
    tmp_path: Path, bench: Bench
) -> None:
    data = calibration(convnet(), tmp_path)
    with pytest.raises(JobProblem, match="TensorRT's int8 is symmetric") as caught:
        typed_graph(quantized(tmp_path, QuantType.QUInt8, QuantType.QInt8), INT8, data, bench)
    assert caught.value.problem.code == "UNAVAILABLE"
    symmetric = symmetric_qdq(convnet(), data, 32, bench)
    assert typed_graph(symmetric, INT8, data, bench) == symmetric


def test_half_precision_is_in_the_graph_and_its_inputs_stay_in_float(tmp_path: Path, bench: Bench) -> None:
    before = scores(convnet(), tmp_path)
    made = typed_graph(convnet(), FP16, None, bench)
    assert onnx_file.precision(made) == "fp16"
    assert [i.dtype for i in (*onnx_file.inputs(made), *onnx_file.outputs(made))] == ["float32", "float32"]
    assert np.abs(scores(made, tmp_path) - before).max() < 0.01 * np.ptp(before)
    with pytest.raises(JobProblem, match="is fp16 already"):
        typed_graph(made, INT8, calibration(convnet(), tmp_path), bench)


def test_int8_wants_a_calibration_set(bench: Bench) -> None:
    with pytest.raises(JobProblem, match="calibration_path"):
        typed_graph(convnet(), INT8, None, bench)


def test_a_dynamic_batch_is_planned_for_and_other_dynamic_axes_are_refused(tmp_path: Path) -> None:
    assert profile_shapes(convnet()) == {"image": ((1, 3, 8, 8), (1, 3, 8, 8), (32, 3, 8, 8))}
    assert profile_shapes(convnet(batch=2)) == {}
    path = save_graph(
        tmp_path / "text.onnx",
        [helper.make_node("Neg", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, ["N", "length"])},
        {"y": (TensorProto.FLOAT, ["N", "length"])},
        {},
    )
    with pytest.raises(JobProblem, match=r"axes \[1\] of the input 'x' are dynamic"):
        profile_shapes(onnx_file.load(Path(path)))


def test_a_real_network_keeps_its_accuracy(tmp_path: Path, bench: Bench) -> None:
    path = real("cifar10/resnet20_cifar10.onnx")
    test = Evaluation(
        dataset_path=real("cifar10/test_png_dev.npz"), metric="top1", preprocessing=Preprocessing(**CIFAR)
    )
    runner = open_runner(path)
    data = open_evaluation(test, runner.inputs)
    images = open_dataset(real("cifar10/calib_png.npz"), data.preprocessing, runner.inputs, labelled=False)
    made = symmetric_qdq(onnx_file.load(Path(path)), Samples(images, runner), 256, bench)
    assert objections(made) == []
    saved = save(made, tmp_path / "made.onnx")
    before, after = (
        evaluate(open_runner(model), data, "top1", lambda done, message: None).accuracy().value
        for model in (path, saved)
    )
    assert before == pytest.approx(0.9321, abs=1e-4)
    assert after > before - 0.01
