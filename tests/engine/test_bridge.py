"""A model in another format's names and axes, fed and read as its original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.measures import Interface, TensorInfo
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import Direct, open_runner
from onnx import TensorProto, helper

from .tiny_models import Axis, save


def info(name: str, *shape: int | None) -> TensorInfo:
    return TensorInfo(name=name, dtype="float32", shape=list(shape))


ORIGINAL = Interface(inputs=[info("image", None, 3, 4, 5)], outputs=[info("map", None, 3, 4, 5), info("sum", None, 1)])


def channels_last(folder: Path, names: tuple[str, str, str], batch: Axis = "n") -> str:
    """Doubles an NHWC image, and sums it up; the sum comes first."""
    image, doubled, total = names
    return save(
        folder / "variant.onnx",
        [
            helper.make_node("Add", [image, image], [doubled]),
            helper.make_node("Flatten", [image], ["flat"]),
            helper.make_node("ReduceSum", ["flat", "axes"], [total]),
        ],
        {image: (TensorProto.FLOAT, [batch, 4, 5, 3])},
        {total: (TensorProto.FLOAT, [batch, 1]), doubled: (TensorProto.FLOAT, [batch, 4, 5, 3])},
        {"axes": np.array([1], np.int64)},
    )


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)


@pytest.mark.parametrize(
    "names", [("image", "map", "sum"), ("serving_default_image:0", "Map", "sum:0"), ("args_0", "output_1", "output_0")]
)
def test_axes_names_and_order_are_the_originals(
    tmp_path: Path, images: np.ndarray, names: tuple[str, str, str]
) -> None:
    runner = open_runner(channels_last(tmp_path, names), interface=ORIGINAL)
    assert (runner.inputs, runner.outputs) == (ORIGINAL.inputs, ORIGINAL.outputs)
    outputs = runner.run({"image": images})
    assert list(outputs) == ["map", "sum"]
    np.testing.assert_allclose(outputs["map"], 2 * images)
    np.testing.assert_allclose(outputs["sum"], images.sum(axis=(1, 2, 3), keepdims=True)[..., 0, 0], rtol=1e-5)


def test_what_is_timed_is_fed_as_the_model_itself_takes_it(tmp_path: Path, images: np.ndarray) -> None:
    runner = open_runner(channels_last(tmp_path, ("x", "y", "z")), interface=ORIGINAL)
    native = runner.native({"image": images})
    assert native["x"].flags.c_contiguous
    assert np.array_equal(native["x"], images.transpose(0, 2, 3, 1))


def test_a_batch_that_the_variant_fixes_is_fixed(tmp_path: Path, images: np.ndarray) -> None:
    runner = open_runner(channels_last(tmp_path, ("image", "map", "sum"), 1), interface=ORIGINAL)
    assert [one.shape for one in runner.inputs] == [[1, 3, 4, 5]]
    with pytest.raises(JobProblem, match=r"takes shape \[1, 4, 5, 3\]"):
        runner.run({"image": images})


def test_nothing_lies_between_a_model_and_its_own_interface(tmp_path: Path) -> None:
    path = channels_last(tmp_path, ("image", "map", "sum"))
    own = open_runner(path)
    assert isinstance(open_runner(path, interface=Interface(inputs=own.inputs, outputs=own.outputs)), Direct)


@pytest.mark.parametrize(
    ("original", "words"),
    [
        (Interface(inputs=[info("image", None, 7, 4, 5)], outputs=ORIGINAL.outputs), "no order of axes"),
        (Interface(inputs=[info("image", None, 60)], outputs=ORIGINAL.outputs), "no order of axes"),
        (Interface(inputs=ORIGINAL.inputs, outputs=ORIGINAL.outputs[:1]), "the model has the outputs"),
    ],
)
def test_a_model_that_is_another_is_refused(tmp_path: Path, original: Interface, words: str) -> None:
    with pytest.raises(JobProblem, match=words):
        open_runner(channels_last(tmp_path, ("image", "map", "sum")), interface=original)


def test_an_input_that_nobody_knows_is_named(tmp_path: Path, images: np.ndarray) -> None:
    runner = open_runner(channels_last(tmp_path, ("x", "y", "z")), interface=ORIGINAL)
    with pytest.raises(JobProblem, match="no inputs \\['picture'\\]"):
        runner.run({"picture": images})
