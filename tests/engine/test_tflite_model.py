"""TensorFlow Lite files: what they say of themselves, and what is said of those that are not whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.contract.measures import Quantization, TensorInfo
from edgeopt.engine.models.model_file import open_file
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import tflite_models
from .tflite_models import Writer, schema
from .tiny_models import real

REAL = sorted(
    {
        "ad_autoencoder_float32": (265864, {"FULLY_CONNECTED": 10}, "fp32"),
        "ad_autoencoder_int8_ref": (265864, {"FULLY_CONNECTED": 10}, "int8"),
        "ic_resnet8_cifar10_float32": (77706, {"CONV_2D": 9, "ADD": 3, "SOFTMAX": 1}, "fp32"),
        "ic_resnet8_cifar10_int8_ref": (77706, {"CONV_2D": 9, "ADD": 3, "SOFTMAX": 1}, "int8"),
        # The weights of its convolutions are in 8 bits, whatever its name says.
        "kws_dscnn_float32": (22604, {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 4}, "int8"),
        "kws_dscnn_int8_ref": (22604, {"CONV_2D": 5, "DEPTHWISE_CONV_2D": 4}, "int8"),
        "vww_mobilenet_96_float32": (210850, {"CONV_2D": 14, "DEPTHWISE_CONV_2D": 13}, "fp32"),
        "vww_mobilenet_96_int8_ref": (210850, {"CONV_2D": 14, "DEPTHWISE_CONV_2D": 13}, "int8"),
    }.items()
)


@pytest.mark.parametrize(("name", "known"), REAL, ids=[name for name, _ in REAL])
def test_real_files_say_what_is_known_of_them(name: str, known: tuple[int, dict[str, int], str]):
    path = Path(real(f"mlperf_tiny/{name}.tflite"))
    file, runner = open_file(path), open_runner(path)
    parameters, operators, precision = known
    assert file.check([]) == []
    assert (file.format, file.opset, file.framework) == ("tflite", None, "MLIR Converted.")
    assert (file.inputs, file.outputs) == (runner.inputs, runner.outputs)
    assert (file.parameters, file.precision) == (parameters, precision)
    assert operators.items() <= file.operators.items()


def test_a_quantized_file_is_fed_real_numbers_and_says_how_it_holds_them():
    path = real("mlperf_tiny/ic_resnet8_cifar10_int8_ref.tflite")
    runner = open_runner(path)
    (taken,) = runner.inputs
    assert (taken.dtype, taken.quantization) == ("float32", Quantization(dtype="int8", scale=1.0, zero_point=-128))
    image = np.full((1, 32, 32, 3), 255, np.float32)
    assert runner.native({taken.name: image})[taken.name].max() == 127
    (scores,) = runner.run({taken.name: image}).values()
    assert scores.dtype == np.float32
    assert scores.sum() == pytest.approx(1, abs=0.05)


@pytest.fixture
def separable(tmp_path: Path) -> Path:
    return tflite_models.separable(tmp_path / "net.tflite")


def test_names_are_those_of_the_only_signature(separable: Path):
    file = open_file(separable)
    assert file.inputs == [TensorInfo(name="image", dtype="float32", shape=[None, 8, 8, 3])]
    assert file.outputs == [TensorInfo(name="scores", dtype="float32", shape=[None, 4])]
    assert (open_runner(separable).inputs, open_runner(separable).outputs) == (file.inputs, file.outputs)


def halves(signatures: int) -> Writer:
    """x to y, without a signature or with several."""
    writer = Writer()
    x, y = writer.tensor("serving_default_x:0", (1, 2)), writer.tensor("StatefulPartitionedCall:0", (1, 2))
    writer.operator("ADD", [x, writer.constant("one", np.ones((1, 2), np.float32))], [y], schema.AddOptionsT())
    for number in range(signatures):
        writer.sign(f"signature{number}", {f"in{number}": x}, {f"out{number}": y})
    return writer


@pytest.mark.parametrize("signatures", [0, 2])
def test_names_are_the_tensors_own_without_one_signature(tmp_path: Path, signatures: int):
    path = halves(signatures).save(tmp_path / "m.tflite", [0], [1])
    file, runner = open_file(path), open_runner(path)
    assert [info.name for info in (*file.inputs, *file.outputs)] == ["x", "StatefulPartitionedCall"]
    assert (file.inputs, file.outputs) == (runner.inputs, runner.outputs)
    assert ("2 signatures" in " ".join(file.check([]))) == (signatures == 2)


def test_a_model_is_the_same_whatever_its_tensors_are_called(separable: Path, tmp_path: Path):
    other = tflite_models.separable(tmp_path / "other.tflite")
    content = other.read_bytes()
    other.write_bytes(content.replace(b"kernel1", b"Kernel7").replace(b"by hand", b"BY HAND"))
    before, after = open_file(separable), open_file(other)
    assert (before.graph, before.weights) == (after.graph, after.weights)
    assert after.framework == "BY HAND"


def test_a_model_is_another_by_one_weight_and_by_one_option(separable: Path, tmp_path: Path):
    from edgeopt.engine.models.tflite_model import TFLiteModel

    def changed(change: Any) -> TFLiteModel:
        model = TFLiteModel(separable).model
        change(model)
        path = tmp_path / f"{change.__name__}.tflite"
        path.write_bytes(tflite_models.convert_object_to_bytearray(model))
        return TFLiteModel(path)

    def weight(model: Any) -> None:
        (tensor,) = (tensor for tensor in model.subgraphs[0].tensors if tensor.name == b"kernel2")
        model.buffers[tensor.buffer].data = model.buffers[tensor.buffer].data[::-1].copy()

    def option(model: Any) -> None:
        model.subgraphs[0].operators[0].builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU

    before = TFLiteModel(separable)
    assert changed(weight).weights != before.weights
    assert changed(weight).graph != before.graph
    assert changed(option).weights == before.weights
    assert changed(option).graph != before.graph


def test_a_constant_that_is_too_short_is_named(tmp_path: Path):
    writer = halves(0)
    writer.graph.tensors[2].shape = [1, 4]
    path = writer.save(tmp_path / "short.tflite", [0], [1])
    with pytest.raises(JobProblem, match=r"one of shape \[1, 4\] needs 16 bytes, and the file holds 8") as found:
        open_file(path).check([])
    assert found.value.problem.code == "BAD_FILE"


def test_a_model_without_inputs_is_refused(tmp_path: Path):
    path = halves(0).save(tmp_path / "fixed.tflite", [], [1])
    with pytest.raises(JobProblem, match="no inputs"):
        open_file(path).check([])


@pytest.mark.parametrize("index", [99, -7, 2**31 - 1])
@pytest.mark.parametrize("where", ["buffer", "operator", "operand", "output"])
def test_an_index_that_leads_nowhere_is_a_bad_file(tmp_path: Path, where: str, index: int):
    writer = halves(0)
    operator = writer.graph.operators[0]
    outputs = [1]
    if where == "buffer":
        writer.graph.tensors[2].buffer = abs(index)
    elif where == "operator":
        operator.opcodeIndex = abs(index)
    elif where == "operand":
        operator.inputs = [0, index]
    else:
        outputs = [index]
    path = writer.save(tmp_path / "astray.tflite", [0], outputs)
    with pytest.raises(JobProblem, match=r"astray\.tflite") as found:
        open_file(path).check([])
    assert found.value.problem.code == "BAD_FILE"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_that_was_changed_anywhere_is_read_or_refused(separable: Path, data: st.DataObject):
    """Nothing but a JobProblem comes out."""
    whole = tflite_models.convert_object_to_bytearray(open_file(separable).model)  # pyright: ignore[reportAttributeAccessIssue]
    at = data.draw(st.integers(0, len(whole) - 5))
    changed = separable.with_name("changed.tflite")
    changed.write_bytes(whole[:at] + data.draw(st.binary(min_size=4, max_size=4)) + whole[at + 4 :])
    file = open_file(changed)
    try:
        file.check([])
        described = (
            file.inputs,
            file.outputs,
            file.parameters,
            file.operators,
            file.precision,
            file.weights,
            file.graph,
        )
        assert len(described) == 7
    except JobProblem as problem:
        assert problem.problem.code in ("BAD_FILE", "UNAVAILABLE")
