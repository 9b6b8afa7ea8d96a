"""int8_static with the options of its own, as a session runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from edgeopt.contract.measures import Interface
from edgeopt.contract.steps import Int8Static
from edgeopt.engine import optimizing
from edgeopt.engine.jobs import Optimize, Optimized
from edgeopt.engine.models import onnx_file
from edgeopt.engine.quantization.observing import observe
from edgeopt.engine.quantization.qdq import EVERY_OPERATOR
from edgeopt.engine.quantization.risks import risks
from onnx import ModelProto, helper

from .image_models import convnet, evaluation, image_set, save
from .mobile_models import Builder, mobile, noise
from .small_models import make_bench

STATIC = Int8Static(technique="int8_static", calibrator="minmax", equalize=False, bias_correction=False)


class Shop:
    def __init__(self, folder: Path):
        self.folder = folder
        self.runs = 0

    def run(
        self, step: Int8Static, parent: ModelProto | None = None, device: str | None = None
    ) -> tuple[Optimized, ModelProto]:
        self.runs += 1
        work = self.folder / f"work{self.runs}"
        work.mkdir()
        original = convnet()
        task = Optimize(
            parent_path=save(parent or original, work / "net.onnx"),
            step=step,
            device=device,
            file_stem="made",
            interface=Interface(inputs=onnx_file.inputs(original), outputs=onnx_file.outputs(original)),
            evaluation=evaluation(work / "data.npz"),
            calibration_path=image_set(work / "calib.npz", 40, seed=8),
        )
        made = optimizing.run(task, make_bench(work))
        return made, onnx_file.read(work / "files" / made.file.name)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize("calibrator", ["auto", "minmax", "entropy", "percentile", "mse"])
def test_every_calibrator_with_everything_on_makes_a_variant(shop: Shop, calibrator: str):
    step = STATIC.model_copy(update={"calibrator": calibrator, "equalize": True, "bias_correction": True})
    made, model = shop.run(step)
    assert made.precision == "int8"
    onnx.checker.check_model(model)
    said = " ".join(made.notes)
    assert "8-bit types " in said
    assert "equalization: " in said
    assert "bias correction: 3 layers" in said
    assert ("held" in said or "calibration did not use" in said) == (calibrator == "auto")


def test_the_same_step_makes_the_same_file(shop: Shop):
    step = STATIC.model_copy(update={"calibrator": "auto", "equalize": True, "bias_correction": True})
    (first, _), (second, _) = shop.run(step), shop.run(step)
    assert first.file.sha256 == second.file.sha256


def test_a_parent_is_fed_by_its_own_names_and_axes(shop: Shop):
    """A kept variant of another road may name its input otherwise, and have its channels last."""
    parent = convnet()
    parent.graph.node.insert(0, helper.make_node("Transpose", ["pixels:0"], ["image"], "turn", perm=[0, 3, 1, 2]))
    parent.graph.input[0].CopyFrom(helper.make_tensor_value_info("pixels:0", 1, ["N", 8, 8, 3]))
    made, model = shop.run(STATIC, parent)
    assert made.precision == "int8"
    assert [info.name for info in onnx_file.inputs(model)] == ["pixels:0"]


def activation_types(model: ModelProto) -> set[int]:
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {kinds[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"}


def test_a_target_with_an_arm_processor_gets_signed_symmetric_numbers(shop: Shop):
    made, model = shop.run(STATIC, device="raspberry-pi-5")
    assert activation_types(model) == {onnx.TensorProto.INT8}
    assert any(note.startswith("8-bit types S8S8 symmetric") for note in made.notes)


def gated(gate: str) -> ModelProto:
    built = Builder(0, "")
    x = built.conv("x", 3, 8)
    if gate == "SiLU":
        y = built.node("Mul", x, built.node("Sigmoid", x))
    elif gate == "HardSwish":
        y = built.node("HardSwish", x)
    else:
        shifted = built.node("Clip", built.node("Add", x, built.constant(3)), built.constant(0), built.constant(6))
        y = built.node("Mul", x, built.node("Div", shifted, built.constant(6)))
    pooled = built.node("Flatten", built.node("GlobalAveragePool", y))
    return built.model((3, 12, 12), built.gemm(pooled, 8, 5))


def told(model: ModelProto, values: np.ndarray, *, per_channel: bool = True) -> list[str]:
    observed = observe(
        model,
        [{"x": value[None]} for value in values],
        operators=EVERY_OPERATOR,
        excluded=(),
        histograms=True,
        progress=lambda done: None,
    )
    return risks(model, observed, per_channel=per_channel)


@pytest.mark.parametrize(("gate", "name"), [("SiLU", "SiLU"), ("HardSwish", "hard-swish"), ("spelled", "hard-swish")])
def test_gated_activations_are_named(gate: str, name: str):
    assert any(f"1 activations are {name}" in said for said in told(gated(gate), noise(4)))


def test_uneven_channels_are_a_risk_of_one_scale_alone():
    model, values = mobile(activation="Relu", spread=30), noise(4)
    assert any("with one scale a tensor" in said for said in told(model, values, per_channel=False))
    assert not any("with one scale a tensor" in said for said in told(model, values))


def test_outliers_are_told_and_ordinary_values_are_not():
    values = noise(8)
    assert told(mobile(activation="Relu"), values) == []
    values[0, 0, 0, 0] = 200
    assert any("less than an eighth of the range (x" in said for said in told(mobile(activation="Relu"), values))
