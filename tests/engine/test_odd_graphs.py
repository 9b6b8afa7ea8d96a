"""Graphs that are valid and not what exporters usually write: what quantizing them leaves of their function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.measures import Interface
from edgeopt.contract.steps import Int4Weights, Int8Dynamic, Int8Static, Simplify, Step
from edgeopt.engine import analyzing
from edgeopt.engine.data.dataset import open_dataset
from edgeopt.engine.jobs import Analyze
from edgeopt.engine.models import onnx_file
from edgeopt.engine.quantization.judging import Judge
from edgeopt.engine.sensitivity.ranking import noise, rank
from edgeopt.engine.techniques import technique
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .small_models import make_bench

WIDTH, SAMPLES = 16, 40
STATIC = Int8Static(technique="int8_static", calibrator="minmax", equalize=False, bias_correction=False)
EVERYTHING = Int8Static(technique="int8_static")
INT4 = Int4Weights(technique="int4_weights")


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def dense(nodes: list[NodeProto], constants: dict[str, np.ndarray], outputs: tuple[str, ...] = ("y",)) -> ModelProto:
    """A model from `x` (n, 16)."""
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def of_images(nodes: list[NodeProto], constants: dict[str, np.ndarray], opset: int = 17) -> ModelProto:
    """A model from `x` (n, 3, 8, 8) to `y`."""
    model = dense(nodes, constants)
    del model.graph.input[:], model.opset_import[:], model.graph.output[:]
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8]))
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", None, None, None]))
    model.opset_import.append(helper.make_opsetid("", opset))
    return model


def taken(model: ModelProto, step: Step, folder: Path) -> ModelProto:
    """What the step makes of the model, calibrated on noise."""
    if step.technique == "int4_weights":
        pytest.importorskip("onnx_ir", reason="the extra torch is not installed")
    parent, data = folder / "net.onnx", folder / "calibration.npz"
    onnx.save(model, parent)
    first = model.graph.input[0]
    shape = [axis.dim_value for axis in first.type.tensor_type.shape.dim][1:]
    np.savez(data, allow_pickle=False, **{first.name: fed(SAMPLES, *shape)})
    interface = Interface(inputs=onnx_file.inputs(model), outputs=onnx_file.outputs(model))
    calibration = open_dataset(str(data), Preprocessing(), interface.inputs, labelled=False)
    technique(step.technique).run(parent, step, folder / "made.onnx", calibration, interface, make_bench(folder))  # pyright: ignore
    return onnx.load(folder / "made.onnx")


def fed(samples: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(samples).standard_normal((samples, *shape)).astype(np.float32)


def decibels(model: ModelProto, other: ModelProto, x: np.ndarray, output: int = 0) -> float:
    """How far the noise of the other's output lies below the signal."""
    one, two = (
        np.asarray(ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[output])
        for m in (model, other)
    )  # fmt: skip
    return float(10 * np.log10(np.sum(one**2) / max(float(np.sum((two - one) ** 2)), 1e-30)))


@pytest.mark.parametrize("correct", [True, False])
def test_a_bias_that_is_added_takes_no_tensors_name(correct: bool, tmp_path: Path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="one"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "v"], ["q"], name="two"),
        helper.make_node("PRelu", ["q", "h_bias"], ["y"], name="three"),
    ]
    model = dense(nodes, {"w": drawn(WIDTH, 8), "v": drawn(8, 8), "h_bias": drawn(8)})
    step = Int8Static(technique="int8_static", bias_correction=correct)
    assert decibels(model, taken(model, step, tmp_path), fed(SAMPLES, WIDTH)) > 30


def shared(*, gathered: bool) -> ModelProto:
    """A transposed weight that two nodes read."""
    first = helper.make_node("Gather", ["w", "rows"], ["e"], name="one") if gathered else None
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Add", ["r", "e"], ["y"], name="add")
        if first
        else helper.make_node("Gemm", ["r", "w"], ["y"], name="second", transB=1),
    ]
    rows = {"rows": np.array([3])} if gathered else {}
    return dense([*([first] if first else []), *nodes], {"w": drawn(WIDTH, WIDTH), **rows})


PRODUCTS = {
    "a weight of two products": lambda: shared(gathered=False),
    "a weight that is a table too": lambda: shared(gathered=True),
    "factors": lambda: dense(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="one", alpha=0.5, beta=3.0)],
        {"w": drawn(WIDTH, 8), "b": 4 * drawn(8)},
    ),
    "a bias of one value": lambda: dense(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="one")], {"w": drawn(WIDTH, 8), "b": drawn(1)}
    ),
    "a bias that is a row": lambda: dense(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="one")], {"w": drawn(WIDTH, 8), "b": drawn(1, 8)}
    ),
    "a bias that is left out by an empty name": lambda: dense(
        [helper.make_node("Gemm", ["x", "w", ""], ["y"], name="one")], {"w": drawn(WIDTH, 8)}
    ),
    "a bias that two products take at other factors": lambda: dense(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="one", beta=2.0),
            helper.make_node("Relu", ["h"], ["r"], name="relu"),
            helper.make_node("Gemm", ["r", "v", "b"], ["y"], name="two", alpha=2.0, beta=0.5),
        ],
        {"w": drawn(WIDTH, 8), "v": drawn(8, 8), "b": drawn(8)},
    ),
}


@pytest.mark.parametrize(
    "step",
    [STATIC, EVERYTHING, Int8Dynamic(technique="int8_dynamic"), INT4],
    ids=["static", "everything", "dynamic", "int4"],
)
@pytest.mark.parametrize("of", PRODUCTS)
def test_a_product_of_any_kind_keeps_its_function(of: str, step: Step, tmp_path: Path):
    model = PRODUCTS[of]()
    made = taken(model, step, tmp_path)
    assert onnx_file.precision(made) == "int8", "it was quantized"
    assert decibels(model, made, fed(SAMPLES, WIDTH)) > (15 if step in (EVERYTHING, INT4) else 30)


def two_products(first: str, second: str) -> ModelProto:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name=first),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "v"], ["y"], name=second),
    ]
    return dense(nodes, {"w": drawn(WIDTH, 8), "v": drawn(8, 8)})


def quantized_products(model: ModelProto) -> list[bool]:
    """Of each product, whether its weight is quantized."""
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    return [makers.get(node.input[1]) == "DequantizeLinear" for node in model.graph.node if node.op_type == "Gemm"]


@pytest.mark.parametrize(
    ("first", "second"), [("", ""), ("block/" * 25 + "one", "block/" * 25 + "two"), ("Gemm_2", "")], ids=["none", "long", "alike"]
)  # fmt: skip
def test_a_layer_is_kept_by_the_name_that_the_analysis_gives_it(first: str, second: str, tmp_path: Path):
    model = two_products(first, second)
    onnx.save(model, tmp_path / "net.onnx")
    np.savez(tmp_path / "calibration.npz", x=fed(SAMPLES, WIDTH))
    (tmp_path / "analysis").mkdir()
    evaluation = Evaluation(dataset_path=str(tmp_path / "calibration.npz"), metric="top1")
    task = Analyze(
        parent_path=str(tmp_path / "net.onnx"), evaluation=evaluation, calibration_path=evaluation.dataset_path
    )
    names = {layer.name for layer in analyzing.run(task, make_bench(tmp_path / "analysis")).layers}
    assert len(names) == 2
    for place, name in enumerate(
        sorted(names, key=lambda name: (name.endswith("two"), name.rstrip("_") != first, name))
    ):
        folder = tmp_path / str(place)
        folder.mkdir()
        made = taken(model, STATIC.model_copy(update={"keep_float": [name]}), folder)
        assert quantized_products(made) == [place != 0, place != 1], name


def ranked(model: ModelProto) -> dict[str, float]:
    feeds = [{"x": row[np.newaxis]} for row in fed(SAMPLES, WIDTH)]
    return {score.layer.name: score.noise for score in rank(model, feeds, lambda *_: None)}


def test_a_layer_is_rounded_alone_where_another_has_the_same_weight():
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="one"),
        helper.make_node("Mul", ["h", "nothing"], ["s"], name="mul"),
        helper.make_node("Gemm", ["x", "w"], ["g"], name="two"),
        helper.make_node("Add", ["s", "g"], ["y"], name="add"),
    ]
    found = ranked(dense(nodes, {"w": drawn(WIDTH, 8), "nothing": np.array([1e-6], np.float32)}))
    assert found["one"] < 1e-9 < found["two"]


def test_layers_are_ranked_in_graphs_with_names_products_and_numbers_of_any_kind():
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="one"),
        helper.make_node("Mul", ["h", "x_scale"], ["m"], name="mul"),
        helper.make_node("MatMul", ["square", "square"], ["s"], name="twice"),
        helper.make_node("Unsqueeze", ["m", "last"], ["square_of"], name="column"),
        helper.make_node("Mul", ["square_of", "ones"], ["square"], name="spread"),
        helper.make_node("Cast", ["m"], ["d"], to=TensorProto.DOUBLE, name="widen"),
        helper.make_node("MatMul", ["d", "v"], ["e"], name="double"),
        helper.make_node("Cast", ["e"], ["f"], to=TensorProto.FLOAT, name="narrow"),
        helper.make_node("ReduceSum", ["s", "last"], ["t"], keepdims=0, name="sum"),
        helper.make_node("Add", ["t", "f"], ["y"], name="add"),
    ]
    constants = {
        "w": drawn(WIDTH, 8),
        "x_scale": drawn(8),
        "last": np.array([2]),
        "ones": np.ones((1, 1, 8), np.float32),
        "v": drawn(8, 8).astype(np.float64),
    }
    order = [nodes[i] for i in (0, 1, 3, 4, 2, 5, 6, 7, 8, 9)]
    assert sorted(ranked(dense(order, constants))) == ["one", "twice"]


def boxes() -> ModelProto:
    """As many rows as a non-maximum suppression leaves, which rounding changes."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["flat"], name="boxes"),
        helper.make_node("Reshape", ["flat", "four"], ["corners"], name="corners"),
        helper.make_node("Gemm", ["x", "v"], ["scores_of"], name="scores"),
        helper.make_node("Reshape", ["scores_of", "one"], ["scores"], name="classes"),
        helper.make_node("NonMaxSuppression", ["corners", "scores", "most", "iou", "least"], ["chosen"], name="nms"),
        helper.make_node("Cast", ["chosen"], ["y"], to=TensorProto.FLOAT, name="cast"),
    ]
    constants = {
        "w": drawn(WIDTH, 200),
        "b": drawn(200),
        "four": np.array([1, 50, 4]),
        "v": drawn(WIDTH, 50),
        "one": np.array([1, 1, 50]),
        "most": np.array([50]),
        "iou": np.array([0.3], np.float32),
        "least": np.array([0], np.float32),
    }
    return dense(nodes, constants)


def test_outputs_of_another_shape_count_as_lost(tmp_path: Path):
    found = ranked(boxes())
    assert all(0 < value < np.inf for value in found.values())
    feeds = [{"x": row[np.newaxis]} for row in fed(SAMPLES, WIDTH)]
    model = boxes()
    judge = Judge(model, lambda: feeds)
    assert judge.closeness(model).decibels == 140
    assert judge.closeness(taken(model, INT4, tmp_path)).decibels < 20


def test_an_output_before_an_activation_keeps_its_negative_values(tmp_path: Path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="one"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "v"], ["y"], name="two"),
    ]
    model = dense(nodes, {"w": drawn(WIDTH, 8), "v": drawn(8, 8)}, outputs=("y", "h"))
    made = taken(model, STATIC, tmp_path)
    assert decibels(model, made, fed(SAMPLES, WIDTH)) > 30
    assert decibels(model, made, fed(SAMPLES, WIDTH), output=1) > 30


@pytest.mark.parametrize("step", [STATIC, EVERYTHING], ids=["static", "everything"])
def test_grouped_transposed_convolutions_are_quantized(step: Step, tmp_path: Path):
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", "b"], ["h"], name="up", group=3, strides=[2, 2]),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("ConvTranspose", ["r", "v"], ["y"], name="last"),
    ]
    constants = {"w": drawn(3, 2, 2, 2), "b": drawn(6), "v": drawn(6, 5, 3, 3)}
    model = of_images(nodes, constants)
    assert decibels(model, taken(model, step, tmp_path), fed(SAMPLES, 3, 8, 8)) > 25


@pytest.mark.parametrize(
    "step",
    [Int8Dynamic(technique="int8_dynamic"), Int8Static(technique="int8_static", per_channel=False)],
    ids=["dynamic", "static"],
)
def test_an_upsampling_of_an_old_opset_is_quantized(step: Step, tmp_path: Path):
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], name="one", pads=[1, 1, 1, 1]),
        helper.make_node("Upsample", ["h"], ["u"], name="up", scales=[1.0, 1.0, 2.0, 2.0], mode="nearest"),
        helper.make_node("Conv", ["u", "v", "c"], ["y"], name="two"),
    ]
    constants = {"w": drawn(6, 3, 3, 3), "b": drawn(6), "v": drawn(4, 6, 1, 1), "c": drawn(4)}
    model = of_images(nodes, constants, opset=7)
    assert decibels(model, taken(model, step, tmp_path), fed(SAMPLES, 3, 8, 8)) > 25


def decides() -> ModelProto:
    """Two products, and of the outputs nothing but the class."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], name="first"),
        helper.make_node("Gemm", ["h", "v"], ["scores"], name="second"),
        helper.make_node("ArgMax", ["scores"], ["y"], name="class", axis=1, keepdims=0),
    ]
    model = dense(nodes, {"w": drawn(WIDTH, 64), "v": drawn(64, 8, seed=1)})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.INT64, ["n"]))
    return model


def test_where_a_model_answers_with_classes_alone_their_changes_rank():
    found = ranked(decides())
    assert set(found) == {"first", "second"}
    feeds = [{"x": fed(1, WIDTH)}]
    coarse = [[np.array([3])], [np.array([1])]], [[np.array([3])], [np.array([2])]]
    assert noise(*coarse) == 0.5
    assert noise(coarse[0], coarse[0]) == 0.0
    assert rank(decides(), feeds, lambda *_: None)


def test_what_a_layer_costs_is_positive_where_less_is_better(tmp_path: Path):
    """Labels are what the float model says, so that any rounding makes the error greater."""
    model = dense([helper.make_node("Gemm", ["x", "w"], ["y"], name="only")], {"w": drawn(WIDTH, 4)})
    onnx.save(model, tmp_path / "net.onnx")
    x = fed(SAMPLES, WIDTH)
    labels = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.savez(tmp_path / "calibration.npz", allow_pickle=False, x=x, labels=np.asarray(labels))
    evaluation = Evaluation(dataset_path=str(tmp_path / "calibration.npz"), metric="rmse")
    task = Analyze(
        parent_path=str(tmp_path / "net.onnx"), evaluation=evaluation, calibration_path=evaluation.dataset_path
    )
    (tmp_path / "analysis").mkdir()
    (layer,) = analyzing.run(task, make_bench(tmp_path / "analysis")).layers
    assert layer.accuracy_drop is not None and layer.accuracy_drop > 0


def test_products_of_integers_stay_beside_those_in_4_bits(tmp_path: Path):
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.INT32),
        helper.make_node("MatMul", ["c", "w"], ["m"], name="integers"),
        helper.make_node("Cast", ["m"], ["k"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["k", "v"], ["y"], name="real"),
    ]
    whole = np.arange(WIDTH * WIDTH, dtype=np.int32).reshape(WIDTH, WIDTH) % 5
    made = taken(dense(nodes, {"w": whole, "v": drawn(WIDTH, 32)}), INT4, tmp_path)
    assert {"MatMul", "MatMulNBits"} <= {node.op_type for node in made.graph.node}
    ort.InferenceSession(made.SerializeToString()).run(None, {"x": fed(2, WIDTH)})


def test_simplify_goes_on_without_fusions_that_break(tmp_path: Path):
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]),  # `perm` may be left out, and onnxsim's fusion asserts it
        helper.make_node("Gemm", ["t", "w"], ["y"], transA=1),
    ]
    model = dense(nodes, {"w": drawn(WIDTH, 4)})
    assert decibels(model, taken(model, Simplify(technique="simplify"), tmp_path), fed(3, WIDTH)) > 100
