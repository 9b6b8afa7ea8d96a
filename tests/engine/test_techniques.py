"""The first techniques: what they make, what they keep, what they refuse."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.steps import Float16, GraphOptimize, Int8Dynamic, Int8Static, Simplify, Step
from edgeopt.engine import optimizing
from edgeopt.engine.data.dataset import open_evaluation
from edgeopt.engine.jobs import Optimize, Optimized
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.models import onnx_file
from edgeopt.engine.models.identity import graph_digest
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.quantization.samples import spread
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .image_models import convnet, evaluation, image_set, save, unsorted_convnet
from .small_models import make_bench, save_model
from .tiny_models import CIFAR, real

SIMPLIFY, GRAPH = Simplify(technique="simplify"), GraphOptimize(technique="graph_optimize")
FLOAT16, DYNAMIC = Float16(technique="float16"), Int8Dynamic(technique="int8_dynamic")
STATIC = Int8Static(technique="int8_static", calibrator="minmax", equalize=False, bias_correction=False)
ALL: list[Step] = [SIMPLIFY, GRAPH, FLOAT16, DYNAMIC, STATIC, Int8Static(technique="int8_static")]
ONE_EACH = pytest.mark.parametrize("step", ALL, ids=lambda step: step.technique)


class Workshop:
    """A folder with a model and its data, in which steps are run one after the other."""

    def __init__(self, folder: Path, model: ModelProto | None = None, data: Evaluation | None = None):
        self.folder = folder
        self.parent = save(model or convnet(), folder / "net.onnx")
        self.data = data or evaluation(folder / "data.npz")
        self.calibration: str | None = image_set(folder / "calib.npz", 32, seed=8)
        self.runs = 0

    def run(self, step: Step, parent: str | Path | None = None) -> tuple[Optimized, Path]:
        self.runs += 1
        work = self.folder / f"work{self.runs}"
        work.mkdir()
        task = Optimize(
            parent_path=str(parent or self.parent),
            step=step,
            file_stem="made",
            evaluation=self.data,
            calibration_path=self.calibration,
        )
        made = optimizing.run(task, make_bench(work))
        return made, work / "files" / made.file.name

    def refused(self, step: Step, code: str, parent: str | Path | None = None) -> str:
        with pytest.raises(JobProblem) as caught:
            self.run(step, parent)
        assert caught.value.problem.code == code, caught.value.problem
        return caught.value.problem.message


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def outputs(model: str | Path, data: Evaluation) -> np.ndarray:
    runner = open_runner(model)
    samples = open_evaluation(data, runner.inputs)
    return next(iter(runner.run(samples.feeds(0, len(samples))).values()))


@ONE_EACH
def test_a_variant_is_one_portable_file_with_the_parents_interface(shop: Workshop, step: Step):
    before = Path(shop.parent).read_bytes()
    made, path = shop.run(step)
    model, parent = onnx_file.read(path), onnx_file.read(Path(shop.parent))
    assert made.file.name == "made.onnx"
    assert made.file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert made.file.bytes == path.stat().st_size
    assert made.changed
    assert made.precision == {"float16": "fp16", "int8_dynamic": "int8", "int8_static": "int8"}.get(
        step.technique, "fp32"
    )
    assert made.parameters == step.model_dump(exclude={"technique"})
    assert onnx_file.inputs(model) == onnx_file.inputs(parent)
    assert onnx_file.outputs(model) == onnx_file.outputs(parent)
    onnx.checker.check_model(model)
    assert not onnx_file.foreign_domains(model)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert list(model.metadata_props) == list(parent.metadata_props)
    assert {entry.name for entry in path.parent.iterdir()} - {"progress.jsonl"} == {"made.onnx"}
    assert Path(shop.parent).read_bytes() == before


@pytest.mark.parametrize("step", [SIMPLIFY, GRAPH], ids=lambda step: step.technique)
def test_exact_steps_compute_the_same_with_fewer_nodes(shop: Workshop, step: Step):
    _, path = shop.run(step)
    assert "BatchNormalization" not in onnx_file.operators(onnx_file.read(path))
    np.testing.assert_allclose(outputs(path, shop.data), outputs(shop.parent, shop.data), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("step", [SIMPLIFY, GRAPH], ids=lambda step: step.technique)
def test_a_step_that_changes_nothing_says_so(shop: Workshop, step: Step):
    _, once = shop.run(step)
    twice, _ = shop.run(step, once)
    assert not twice.changed
    assert "changed nothing" in twice.notes[0]


MAKE_ALL = """
import sys
from pathlib import Path
from tests.engine.test_techniques import ALL, Workshop
shop = Workshop(Path(sys.argv[1]))
for step in ALL:
    print(step.technique, shop.run(step)[0].file.sha256)
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
        said.append([line for line in process.stdout.splitlines() if line.split()[0] in {s.technique for s in ALL}])
    assert len(said[0]) == len(ALL)
    assert said[0] == said[1]


def test_float16_halves_the_weights_and_stays_close(shop: Workshop):
    _, path = shop.run(FLOAT16)
    model = onnx_file.read(path)
    assert {tensor.data_type for tensor in model.graph.initializer} == {TensorProto.FLOAT16}
    np.testing.assert_allclose(outputs(path, shop.data), outputs(shop.parent, shop.data), rtol=0.02, atol=0.02)


def quantized_weights(model: ModelProto) -> set[str]:
    """The nodes whose weights come out of a DequantizeLinear."""
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return {node.name for node in model.graph.node if len(node.input) > 1 and node.input[1] in dequantized}


def test_int8_static_quantizes_every_layer_per_channel(shop: Workshop):
    made, path = shop.run(STATIC)
    model = onnx_file.read(path)
    assert quantized_weights(model) == {"conv1", "conv2", "dense"}
    scales = {tensor.name: tensor.dims for tensor in model.graph.initializer if tensor.name.endswith("w2_scale")}
    assert list(scales.values()) == [[16]]
    assert any("all were used" in note for note in made.notes), "32 samples where 256 were asked for"
    error = np.abs(outputs(path, shop.data) - outputs(shop.parent, shop.data))
    assert np.median(error) < 0.05 * outputs(shop.parent, shop.data).std()


def test_int8_static_per_tensor_has_one_scale(shop: Workshop):
    _, path = shop.run(STATIC.model_copy(update={"per_channel": False}))
    scales = {t.name: list(t.dims) for t in onnx_file.read(path).graph.initializer if t.name.endswith("w2_scale")}
    assert list(scales.values()) in ([[]], [[1]])


def test_a_model_of_an_old_opset_gets_its_scales_by_channel_too(tmp_path: Path):
    """Before opset 13 nothing could be dequantized by channel: ONNX Runtime's own tool leaves a file that does not load."""
    old = convnet()
    old.opset_import[0].version = 11
    shop = Workshop(tmp_path, old)
    _, path = shop.run(STATIC)
    assert quantized_weights(onnx_file.read(path)) == {"conv1", "conv2", "dense"}
    error = np.abs(outputs(path, shop.data) - outputs(shop.parent, shop.data))
    assert np.median(error) < 0.05 * outputs(shop.parent, shop.data).std()


@pytest.mark.parametrize(("kept", "layer"), [("conv2", "conv2"), ("norm1", "conv1"), ("dense", "dense")])
def test_kept_nodes_stay_in_float_even_where_they_were_merged(shop: Workshop, kept: str, layer: str):
    made, path = shop.run(STATIC.model_copy(update={"keep_float": [kept]}))
    assert quantized_weights(onnx_file.read(path)) == {"conv1", "conv2", "dense"} - {layer}
    assert any("merged into 'conv1'" in note for note in made.notes) == (kept == "norm1")


def test_a_product_and_its_sum_are_kept_under_either_name(tmp_path: Path):
    """Pre-processing makes one Gemm of them, under a new name."""
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
        helper.make_node("Add", ["product", "b"], ["sum"], name="sum"),
        helper.make_node("Relu", ["sum"], ["relu"], name="relu"),
        helper.make_node("MatMul", ["relu", "v"], ["y"], name="last"),
    ]
    constants = {"w": rng.standard_normal((16, 8)), "b": rng.standard_normal(8), "v": rng.standard_normal((8, 4))}
    save_model(tmp_path / "net.onnx", nodes, {name: v.astype(np.float32) for name, v in constants.items()})
    x = rng.standard_normal((80, 16)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x[:40], labels=np.arange(40) % 4)
    np.savez(tmp_path / "calibration.npz", x=x[40:])
    data = Evaluation(dataset_path=str(tmp_path / "x.npz"), metric="top1")
    shop = Workshop(tmp_path, onnx_file.read(tmp_path / "net.onnx"), data)
    shop.calibration = str(tmp_path / "calibration.npz")
    float_weights = []
    for name in ("product", "sum"):
        made, path = shop.run(STATIC.model_copy(update={"keep_float": [name]}))
        assert any(f"the node {name} was merged into" in note for note in made.notes)
        model = onnx_file.read(path)
        float_weights.append({t.name for t in model.graph.initializer if t.data_type == 1 and len(t.dims) == 2})
    assert float_weights[0] == float_weights[1]
    assert len(float_weights[0]) == 1


def test_unknown_nodes_are_refused_with_the_nearest_names(shop: Workshop):
    message = shop.refused(STATIC.model_copy(update={"keep_float": ["conv3", "x\ny"]}), "INVALID_ARGUMENT")
    assert "conv1" in message
    assert "conv2" in message
    assert "\n" not in message


def test_int8_static_needs_a_calibration_set(shop: Workshop):
    shop.calibration = None
    shop.refused(STATIC, "CALIBRATION_REQUIRED")


@given(size=st.integers(1, 3000), count=st.integers(1, 3000))
def test_calibration_samples_are_spread_over_the_whole_set(size: int, count: int):
    chosen = spread(size, count)
    assert len(chosen) == min(size, count)
    assert len(set(chosen)) == len(chosen)
    assert all(index * size // len(chosen) <= at for index, at in enumerate(chosen))
    assert all(at < (index + 1) * size // len(chosen) for index, at in enumerate(chosen))
    assert chosen == spread(size, count)


@pytest.mark.parametrize("step", [FLOAT16, DYNAMIC, STATIC], ids=lambda step: step.technique)
@pytest.mark.parametrize("first", [FLOAT16, STATIC], ids=lambda step: step.technique)
def test_rounding_what_is_rounded_is_refused(shop: Workshop, first: Step, step: Step):
    _, parent = shop.run(first)
    assert "parent='baseline'" in shop.refused(step, "UNAVAILABLE", parent)


def test_half_precision_can_be_simplified_and_is_not_turned_back_into_float(shop: Workshop):
    _, halved = shop.run(FLOAT16)
    made, _ = shop.run(SIMPLIFY, halved)
    assert made.precision == "fp16"
    assert "simplify" in shop.refused(GRAPH, "UNAVAILABLE", halved)


@pytest.mark.parametrize("step", [SIMPLIFY, GRAPH], ids=lambda step: step.technique)
def test_exact_steps_leave_a_quantized_model_quantized(shop: Workshop, step: Step):
    _, quantized = shop.run(STATIC)
    made, path = shop.run(step, quantized)
    assert made.precision == "int8"
    np.testing.assert_allclose(outputs(path, shop.data), outputs(quantized, shop.data), atol=1e-5)


def test_dynamic_quantization_of_convolutions_is_pointed_out(shop: Workshop):
    made, _ = shop.run(DYNAMIC)
    assert any("2 convolutions" in note and "benchmark" in note for note in made.notes)


@ONE_EACH
def test_a_fixed_batch_axis_stays(tmp_path: Path, step: Step):
    _, path = Workshop(tmp_path, convnet(batch=3)).run(step)
    assert open_runner(path).inputs[0].shape[0] == 3


@ONE_EACH
def test_a_parent_with_external_data_gives_the_same_variant(shop: Workshop, step: Step):
    _, plain = shop.run(step)
    split = shop.folder / "split"
    split.mkdir()
    onnx.save(convnet(), split / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    _, path = shop.run(step, split / "net.onnx")
    assert graph_digest(onnx_file.read(path)) == graph_digest(onnx_file.read(plain))


def ends_with(*nodes: onnx.NodeProto) -> ModelProto:
    """The network with more nodes between its scores, now called `raw`, and its output."""
    model = convnet()
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.extend(nodes)
    return model


BROKEN = [
    (ends_with(helper.make_node("Log", ["raw"], ["scores"])), "BAD_OUTPUTS", "NaN"),
    (ends_with(helper.make_node("Sub", ["raw", "raw"], ["scores"])), "BAD_OUTPUTS", "same for every sample"),
    (ends_with(helper.make_node("NoSuchOperator", ["raw"], ["scores"])), "NOT_LOADABLE", "NoSuchOperator"),
]


@pytest.mark.parametrize(("variant", "code", "why"), BROKEN, ids=["nan", "constant", "not loadable"])
def test_what_is_broken_is_not_accepted(shop: Workshop, variant: ModelProto, code: str, why: str):
    parent, path = Path(shop.parent), Path(save(variant, shop.folder / "variant.onnx"))
    samples = open_evaluation(shop.data, open_runner(parent).inputs)
    with pytest.raises(JobProblem) as caught:
        optimizing.accept(parent, path, samples)
    assert caught.value.problem.code == code
    assert why in caught.value.problem.message
    optimizing.accept(parent, parent, samples)


def test_a_graph_that_a_framework_does_not_cope_with_is_a_failure_with_its_reason(tmp_path: Path):
    message = Workshop(tmp_path, unsorted_convnet()).refused(SIMPLIFY, "TECHNIQUE_FAILED")
    assert message.startswith("simplify does not cope with this model. ")
    assert "topologically sorted" in message


def test_a_variant_whose_outputs_no_longer_vary_is_not_accepted(tmp_path: Path):
    """One huge calibration sample, and every real one falls into a single step of the 8-bit scale."""
    rng = np.random.default_rng(1)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="a"), helper.make_node("MatMul", ["h", "v"], ["y"])]
    weights = {"w": rng.standard_normal((16, 16)), "v": rng.standard_normal((16, 4))}
    save_model(tmp_path / "net.onnx", nodes, {name: v.astype(np.float32) for name, v in weights.items()})
    x = rng.standard_normal((80, 16)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x[:40], labels=np.arange(40) % 4)
    x[40] *= 1e6
    np.savez(tmp_path / "huge.npz", x=x[40:])
    shop = Workshop(
        tmp_path, onnx_file.read(tmp_path / "net.onnx"), Evaluation(dataset_path=str(tmp_path / "x.npz"), metric="top1")
    )
    shop.calibration = str(tmp_path / "huge.npz")
    assert "same for every sample" in shop.refused(STATIC, "BAD_OUTPUTS")


def test_a_file_that_grows_says_so(tmp_path: Path):
    """Weights stored as half floats and cast to float: folding the cast doubles them."""
    model = convnet()
    halved = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    wide = numpy_helper.from_array(numpy_helper.to_array(halved).astype(np.float16), "stored")
    halved.CopyFrom(wide)
    model.graph.node.insert(0, helper.make_node("Cast", ["stored"], ["w2"], name="cast", to=TensorProto.FLOAT))
    made, _ = Workshop(tmp_path, model).run(SIMPLIFY)
    assert made.precision == "fp32"
    assert any("the file grew" in note for note in made.notes)


@given(seed=st.integers(0, 10_000))
def test_a_graph_is_known_however_its_file_was_written(seed: int):
    model, order = convnet(), random.Random(seed)
    weights = list(model.graph.initializer)
    order.shuffle(weights)
    del model.graph.initializer[:]
    for weight in weights:
        values = numpy_helper.to_array(weight)
        listed = helper.make_tensor(weight.name, TensorProto.FLOAT, values.shape, values.ravel().tolist())
        model.graph.initializer.append(order.choice([weight, listed]))
    for node in model.graph.node:
        node.name, node.doc_string = f"renamed{order.random()}", "said"
        attributes = sorted(node.attribute, key=lambda _: order.random())
        del node.attribute[:]
        node.attribute.extend(attributes)
    model.producer_name = model.graph.name = "another tool"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert graph_digest(model) == graph_digest(convnet())


def change_a_weight(model: ModelProto) -> None:
    weight = model.graph.initializer[0]
    values = numpy_helper.to_array(weight).copy()
    values.flat[0] = np.nextafter(values.flat[0], np.float32(9))
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def change_an_attribute(model: ModelProto) -> None:
    model.graph.node[0].attribute[0].ints[0] = 2


def change_an_operator(model: ModelProto) -> None:
    model.graph.node[2].op_type = "Sigmoid"


def change_the_opset(model: ModelProto) -> None:
    model.opset_import[0].version = 16


@pytest.mark.parametrize("change", [change_a_weight, change_an_attribute, change_an_operator, change_the_opset])
def test_another_graph_is_another_graph(change: Any):
    model = convnet()
    change(model)
    assert graph_digest(model) != graph_digest(convnet())


def real_workshop(tmp_path: Path, model: str) -> Workshop:
    data = Evaluation(
        dataset_path=real("cifar10/test_png_dev.npz"), metric="top1", preprocessing=Preprocessing(**CIFAR)
    )
    shop = Workshop(tmp_path, onnx_file.read(Path(real(model))), data)
    shop.calibration = real("cifar10/calib_png.npz")
    return shop


def top1(model: Path, data: Evaluation) -> float:
    runner = open_runner(model, threads=2)
    return evaluate(runner, open_evaluation(data, runner.inputs), "top1", lambda *_: None).accuracy().value


def test_a_robust_real_network_survives_int8(tmp_path: Path):
    shop = real_workshop(tmp_path, "cifar10/resnet20_cifar10.onnx")
    made, path = shop.run(STATIC)
    assert abs(top1(path, shop.data) - 0.934) < 0.006
    assert made.file.bytes < Path(shop.parent).stat().st_size / 2.5


def test_a_fragile_real_network_needs_scales_per_channel(tmp_path: Path):
    shop = real_workshop(tmp_path, "cifar10/mobilenetv2_cifar10_probe.onnx")
    few = STATIC.model_copy(update={"calibration_samples": 100})
    per_channel = top1(shop.run(few)[1], shop.data)
    per_tensor = top1(shop.run(few.model_copy(update={"per_channel": False}))[1], shop.data)
    assert per_tensor < 0.78 < per_channel < 0.828


def test_a_real_transformer_stays_portable(tmp_path: Path):
    model = onnx_file.read(Path(real("text/minilm_l6_v2_stsbvocab.onnx")))
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 1000, (8, 12))
    np.savez(tmp_path / "ids.npz", input_ids=ids, attention_mask=np.ones_like(ids), labels=np.arange(8))
    shop = Workshop(tmp_path, model, Evaluation(dataset_path=str(tmp_path / "ids.npz"), metric="top1"))
    for step in (SIMPLIFY, GRAPH):
        _, path = shop.run(step)
        assert not onnx_file.foreign_domains(onnx_file.read(path))
        np.testing.assert_allclose(outputs(path, shop.data), outputs(shop.parent, shop.data), atol=1e-5)
