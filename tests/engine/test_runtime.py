from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.measures import TensorInfo
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes import catalog
from edgeopt.engine.runtimes.fitting import adapt, convert
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from onnx import TensorProto, helper

from .tiny_models import image_model, linear, picking, real, save


@pytest.fixture
def model(tmp_path: Path) -> str:
    return linear(tmp_path / "m.onnx", np.arange(6).reshape(3, 2), np.array([1, -1]))


def test_a_runner_says_what_the_model_takes_and_gives(model: str) -> None:
    runner = open_runner(model)
    assert runner.name.startswith("onnxruntime 1.")
    assert runner.inputs == [TensorInfo(name="x", dtype="float32", shape=[None, 3])]
    assert runner.outputs == [TensorInfo(name="y", dtype="float32", shape=[None, 2])]


def test_running_computes_the_model(model: str) -> None:
    x = np.array([[1, 2, 3], [0, 1, 0]], np.float32)
    assert open_runner(model).run({"x": x})["y"].tolist() == [[17, 21], [3, 2]]


def test_the_call_for_timing_computes_the_same(model: str) -> None:
    runner, x = open_runner(model), np.ones((1, 3), np.float32)
    assert np.array_equal(runner.raw_call({"x": x})()[0], runner.run({"x": x})["y"])  # pyright: ignore[reportIndexIssue]


def test_weights_among_the_graph_inputs_are_no_inputs(tmp_path: Path) -> None:
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    path = save(
        tmp_path / "m.onnx",
        [node],
        {"x": (TensorProto.FLOAT, [1, 2])},
        {"y": (TensorProto.FLOAT, [1, 2])},
        {"w": np.full(2, 3, np.float32)},
        weights_as_inputs=True,
    )
    runner = open_runner(path)
    assert [info.name for info in runner.inputs] == ["x"]
    assert runner.run({"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[3, 3]]


@pytest.mark.parametrize("content", [b"", b"not a model" * 50, None])
def test_a_file_that_is_no_model_is_named_with_the_reason(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(JobProblem, match=r"broken\.onnx") as error:
        open_runner(path)
    assert error.value.problem.code == "BAD_FILE"


def test_a_cut_model_is_a_bad_file(tmp_path: Path) -> None:
    whole = Path(real("cifar10/resnet20_cifar10.onnx")).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[:200_000])
    with pytest.raises(JobProblem, match=r"cut\.onnx") as error:
        open_runner(tmp_path / "cut.onnx")
    assert error.value.problem.code == "BAD_FILE"


def test_a_folder_is_a_bad_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(JobProblem, match="is a folder"):
        open_runner(tmp_path / "m.onnx")


def test_a_format_without_a_runtime_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "version", lambda distribution: None)
    (tmp_path / "m.tflite").write_bytes(b"x")
    with pytest.raises(JobProblem, match="pip install") as error:
        open_runner(tmp_path / "m.tflite")
    assert error.value.problem.code == "UNAVAILABLE"


def test_a_model_that_loads_and_cannot_run_says_so(tmp_path: Path) -> None:
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        {"x": (TensorProto.FLOAT, ["batch", 3])},
        {"y": (TensorProto.FLOAT, [2, 2])},
        {"shape": np.array([2, 2], np.int64)},
    )
    with pytest.raises(JobProblem) as error:
        open_runner(path).run({"x": np.ones((1, 3), np.float32)})
    assert error.value.problem.code == "NOT_RUNNABLE"


@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, r"inputs \['x'\] got no data"),
        ({"x": np.ones((1, 3)), "z": np.ones(1)}, r"no inputs \['z'\]"),
        ({"x": np.ones((1, 4), np.float32)}, r"takes shape \[\?, 3\] and was given \[1, 4\]"),
        ({"x": np.ones(3, np.float32)}, r"takes shape \[\?, 3\] and was given \[3\]"),
        ({"x": np.array([["a", "b", "c"]])}, "takes float32 and was given <U1"),
        ({"x": np.full((1, 3), 1e300)}, "float32 cannot hold"),
        ({"x": np.full((1, 3), 2**24 + 1)}, "float32 cannot hold"),
    ],
)
def test_what_does_not_fit_is_said_in_words(model: str, feeds: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(JobProblem, match=words) as error:
        open_runner(model).run(feeds)
    assert error.value.problem.code == "INVALID_ARGUMENT"


def test_the_adapter_makes_arrays_contiguous_and_narrower_floats(model: str) -> None:
    x = np.arange(12, dtype=np.float64).reshape(3, 4)[:, :2].T / 10
    adapted = adapt({"x": x}, open_runner(model).inputs)["x"]
    assert adapted.dtype == np.float32
    assert adapted.flags.c_contiguous
    assert np.array_equal(adapted, x.astype(np.float32))


def test_uint8_models_take_bytes(tmp_path: Path) -> None:
    runner = open_runner(image_model(tmp_path / "m.onnx", [1, 2, 2, 3], dtype=TensorProto.UINT8))
    assert runner.inputs[0].dtype == "uint8"
    assert runner.run({"image": np.full((1, 2, 2, 3), 200, np.int64)})["y"].max() == 200


@given(
    npst.arrays(st.sampled_from(["int8", "uint8", "int16", "int32", "int64", "bool", "float32", "float64"]), (4,)),
    st.sampled_from(["int8", "uint8", "int32", "int64", "float16", "float32", "bool"]),
)
def test_a_conversion_keeps_every_value_or_is_refused(array: np.ndarray, dtype: str) -> None:
    info = TensorInfo(name="x", dtype=dtype, shape=[None])
    try:
        converted = convert(array, info)
    except JobProblem as problem:
        assert problem.problem.code == "INVALID_ARGUMENT"
        return
    assert converted.dtype == dtype
    if array.dtype == dtype:
        assert converted is array
    elif array.dtype.kind == "f" and dtype.startswith("float"):
        assert np.array_equal(converted, array.astype(dtype)) and np.isfinite(converted).all()
    else:
        assert [int(v) for v in converted.tolist()] == array.tolist()


@pytest.mark.parametrize("value", [0.5, -1.0, 256.0, np.nan, np.inf])
def test_floats_that_are_no_bytes_are_not_cut_to_bytes(value: float) -> None:
    info = TensorInfo(name="x", dtype="uint8", shape=[None])
    assert convert(np.array([0.0, 255.0]), info).tolist() == [0, 255]
    with pytest.raises(JobProblem, match="uint8 cannot hold"):
        convert(np.array([0.0, value]), info)


def test_a_picked_column_is_the_input(tmp_path: Path) -> None:
    x = np.array([[1, 2, 3]], np.float32)
    assert open_runner(picking(tmp_path / "m.onnx", 3, [2, 0])).run({"x": x})["y"].tolist() == [[3, 1]]
