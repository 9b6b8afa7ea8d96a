"""Real models through the real toolchains, in sandboxed workers. Skipped where a toolchain or the data is not here:
`edgeopt toolchain install NAME`, EDGEOPT_TOOLCHAINS and EDGEOPT_DATA say where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.steps import TFLite
from edgeopt.engine.executor.base import Done, Failed
from edgeopt.engine.executor.local import LocalExecutor
from edgeopt.engine.jobs import JobSpec, Optimize, Optimized
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.runtimes.runner import open_runner
from edgeopt.engine.toolchains.catalog import missing
from edgeopt.server.settings import toolchains_folder
from onnx import TensorProto, helper, numpy_helper

from .image_models import image_set
from .tiny_models import DATA

pytestmark = pytest.mark.slow

NORMALISED = Preprocessing(
    color="RGB", scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], layout="NCHW", dtype="float32"
)


def cifar(folder: Path) -> Evaluation:
    return Evaluation(dataset_path=str(DATA / "cifar10" / "test_png_dev.npz"), metric="top1", preprocessing=NORMALISED)


def imagenet(folder: Path) -> Evaluation:
    return Evaluation(dataset_path=str(DATA / "imagenet" / "calib_50"), metric="top1", preprocessing=NORMALISED)


def coco(folder: Path) -> Evaluation:
    plain = Preprocessing(resize=(352, 352), color="BGR", scale=1 / 255, layout="NCHW", dtype="float32")
    return Evaluation(
        dataset_path=str(DATA / "coco" / "val2017_dev_64" / "annotations.json"), metric="map", preprocessing=plain
    )


def sentences(folder: Path) -> Evaluation:
    """The first of each pair, with a number as its label: only the outputs are looked at here."""
    with np.load(DATA / "text" / "stsb_dev_1500.npz") as pairs:
        np.savez(
            folder / "set.npz",
            input_ids=pairs["ids_a"].astype(np.int64),
            attention_mask=pairs["mask_a"].astype(np.int64),
            labels=pairs["score"],
        )
    return Evaluation(dataset_path=str(folder / "set.npz"), metric="spearman", preprocessing=Preprocessing())


def signals(folder: Path) -> Evaluation:
    with np.load(DATA / "nanopore" / "calib_chunks_160x1x3000.npz") as chunks:
        (values,) = (chunks[name] for name in chunks.files)
    np.savez(folder / "set.npz", inputs=values, labels=np.arange(len(values)))
    return Evaluation(dataset_path=str(folder / "set.npz"), metric="mae", preprocessing=Preprocessing())


def converted(folder: Path, model: Path, evaluation: Evaluation, toolchain: str) -> Done | Failed:
    toolchains = toolchains_folder()
    if lacking := missing(toolchain, toolchains):
        pytest.skip(lacking)
    pytest.importorskip("ai_edge_litert", reason="the extra tflite is not installed")
    task = Optimize(
        parent_path=str(model),
        step=TFLite(technique="tflite", quantization="float32"),
        file_stem="model_tflite_fp32",
        evaluation=evaluation,
        calibration_path=None,
    )
    spec = JobSpec(job_id="j", task=task, memory_mb=6000, timeout_s=1800, toolchains=str(toolchains))
    return LocalExecutor().run(folder / "job", spec)


@pytest.mark.parametrize(
    ("model", "evaluation", "toolchain"),
    [
        ("cifar10/resnet20_cifar10.pt2", cifar, "litert-torch"),
        ("imagenet/squeezenet1_1_imagenet.pt2", imagenet, "litert-torch"),
        ("cifar10/resnet20_cifar10.onnx", cifar, "onnx2tf"),
        ("cifar10/mobilenetv2_cifar10_probe.onnx", cifar, "onnx2tf"),
        ("imagenet/squeezenet1_1_imagenet.onnx", imagenet, "onnx2tf"),
        ("coco/fastestdet_352.onnx", coco, "onnx2tf"),
        ("text/minilm_l6_v2_stsbvocab.onnx", sentences, "onnx2tf"),
        ("nanopore/squigglenet_gru48.onnx", signals, "onnx2tf"),
    ],
)
def test_a_real_model_is_converted_and_computes_the_same(
    tmp_path: Path, model: str, evaluation: Callable[[Path], Evaluation], toolchain: str
):
    if not (DATA / model).exists():
        pytest.skip(f"no {model} in the data folder (EDGEOPT_DATA)")
    if toolchain == "litert-torch":
        pytest.importorskip("torch", reason="the extra torch is not installed")
    done = converted(tmp_path, DATA / model, evaluation(tmp_path), toolchain)
    assert isinstance(done, Done), (done.problem, done.log_tail[-800:])
    assert isinstance(done.result, Optimized)
    assert done.result.format == "tflite" and done.result.precision == "fp32"
    assert any(f"converted by {toolchain}" in note for note in done.result.notes)
    made = open_file(done.files / done.result.file.name)
    assert all(None not in info.shape for info in made.inputs)


# What is refused, and odd names


def network(
    nodes: list[onnx.NodeProto], ports: dict[str, list[int | str]], constants: dict[str, np.ndarray], path: Path
) -> Path:
    """Saves a model whose first port is its input, and the others its outputs."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports.items()]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "network", infos[:1], infos[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def tensors(folder: Path, *shape: int) -> Evaluation:
    values = np.random.default_rng(4).standard_normal((8, *shape)).astype(np.float32)
    np.savez(folder / "set.npz", inputs=values, labels=np.arange(8))
    return Evaluation(dataset_path=str(folder / "set.npz"), metric="mae", preprocessing=Preprocessing())


def problem(ended: Done | Failed, code: str) -> str:
    assert isinstance(ended, Failed)
    assert ended.problem.code == code, ended.problem
    return ended.problem.message


def test_an_operator_that_tflite_has_not_is_named(tmp_path: Path):
    node = helper.make_node("Det", ["x"], ["y"])
    model = network([node], {"x": ["N", 3, 3], "y": ["N"]}, {}, tmp_path / "det.onnx")
    ended = converted(tmp_path, model, tensors(tmp_path, 3, 3), "onnx2tf")
    assert "TFLite has no operator for what onnx2tf makes of it: MatrixDeterminant" in problem(
        ended, "TECHNIQUE_FAILED"
    )


def test_a_recurrent_model_of_many_steps_is_sent_by_way_of_onnx(tmp_path: Path):
    pytest.importorskip("torch", reason="the extra torch is not installed")
    model = DATA / "nanopore" / "squigglenet_gru48.pt2"
    if not model.exists():
        pytest.skip("no squigglenet_gru48.pt2 in the data folder (EDGEOPT_DATA)")
    said = problem(converted(tmp_path, model, signals(tmp_path), "litert-torch"), "UNAVAILABLE")
    assert "take 4000 steps" in said and "export_onnx" in said


def test_a_wrong_conversion_is_refused_with_the_layer(tmp_path: Path):
    """ResNet-20 with its shortcuts turned round: onnx2tf takes 16 channels of 16 rows of 16 columns for one another."""
    model = DATA / "cifar10" / "resnet20_cifar10.onnx"
    if not model.exists():
        pytest.skip("no resnet20_cifar10.onnx in the data folder (EDGEOPT_DATA)")
    turned = onnx.load(model)
    backwards = {1: "from_last", 2: "to_first", 4: "by_twos"}
    for node in turned.graph.node:
        for place, name in backwards.items() if node.op_type == "Slice" else ():
            node.input[place] = name
    values = zip(backwards.values(), (-1, -99, -2), strict=True)
    turned.graph.initializer.extend(numpy_helper.from_array(np.array([value]), name) for name, value in values)
    onnx.save(turned, tmp_path / "turned.onnx")
    said = problem(converted(tmp_path, tmp_path / "turned.onnx", cifar(tmp_path), "onnx2tf"), "OUTPUTS_DIFFER")
    assert "off by" in said and "They part at Pad 'node_pad'" in said


def test_outputs_keep_their_names_and_order_whatever_they_are_called(tmp_path: Path):
    nodes = [
        helper.make_node("Conv", ["in/put:0", "w"], ["/out/a:0"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["/out/a:0"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["495"]),
    ]
    weights = {"w": np.random.default_rng(6).standard_normal((5, 3, 3, 3)).astype(np.float32)}
    ports = {"in/put:0": ["N", 3, 8, 8], "b": ["N", 5, 8, 8], "495": ["N", 5, 1, 1], "/out/a:0": ["N", 5, 8, 8]}
    model = network(nodes, ports, weights, tmp_path / "names.onnx")
    images = Evaluation(dataset_path=image_set(tmp_path / "set.npz"), metric="top1", preprocessing=NORMALISED)
    done = converted(tmp_path, model, images, "onnx2tf")
    assert isinstance(done, Done), (done.problem, done.log_tail[-800:])
    assert isinstance(done.result, Optimized)
    made = open_runner(done.files / done.result.file.name)
    assert {info.name for info in made.outputs} == {"b", "495", "/out/a:0"}
