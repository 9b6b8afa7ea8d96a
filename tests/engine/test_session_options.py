"""Session options that a file carries: whoever loads it runs by them, and a later step leaves them behind."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeopt.contract.steps import SessionOptions, Simplify
from edgeopt.engine.explaining.operators import Workload, profile
from edgeopt.engine.packaging.composing import infer_code
from edgeopt.engine.runtimes.recorded_options import OPTIONS_KEY, checked_options, fields, recorded_options
from edgeopt.engine.runtimes.runner import open_runner
from edgeopt.engine.techniques.session_options import CHOICES
from hypothesis import given
from hypothesis import strategies as st

from .image_models import convnet, images
from .test_techniques import Workshop, outputs

BASIC = SessionOptions(technique="session_options", choice="basic")
NAMES = st.characters(min_codepoint=32, max_codepoint=126)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "level": st.sampled_from(["basic", "extended", "all"]),
        "disabled_optimizers": st.lists(st.text(NAMES, max_size=20), min_size=1, max_size=4),
    },
)


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def kinds(file: Path, tmp: Path) -> set[str]:
    """The operators that ONNX Runtime makes of a file."""
    pixels = images(2).astype(np.float32).transpose(0, 3, 1, 2) / 255
    (found,) = profile([Workload(file, [{"image": pixels[:1]}])], 1, tmp, blocks=1)
    return {operator.type for operator in found}


@given(options=OPTIONS, others=st.dictionaries(st.text(max_size=9), st.text(max_size=99), max_size=3))
def test_what_stands_in_the_metadata_is_read_off_the_bytes(
    tmp_path_factory: pytest.TempPathFactory, options: dict, others: dict[str, str]
) -> None:
    model = convnet()
    for key, value in {**others, OPTIONS_KEY: json.dumps(options)}.items():
        model.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    file = tmp_path_factory.mktemp("read") / "net.onnx"
    onnx.save(model, file)
    assert recorded_options(file) == options


@given(st.binary(max_size=200))
def test_bytes_that_are_no_model_carry_nothing_and_end(content: bytes) -> None:
    assert sum(len(entry) for _, entry in fields(BytesIO(content))) <= len(content)
    assert set(checked_options(content)) <= {"level", "disabled_optimizers"}


def test_a_model_without_options_carries_none(shop: Workshop) -> None:
    assert recorded_options(Path(shop.parent)) == {}


def test_the_runtime_loads_a_file_by_the_options_that_it_carries(shop: Workshop) -> None:
    made, file = shop.run(BASIC)
    assert made.changed
    assert recorded_options(file) == CHOICES["basic"]
    assert "Relu" not in kinds(Path(shop.parent), shop.folder)  # it is part of the convolution before it
    assert "Relu" in kinds(file, shop.folder)
    np.testing.assert_allclose(outputs(file, shop.data), outputs(shop.parent, shop.data), rtol=1e-4, atol=1e-5)


def test_every_choice_is_one_that_the_step_offers_and_the_file_keeps(shop: Workshop) -> None:
    offered = SessionOptions.model_json_schema()["properties"]["choice"]["enum"]
    assert set(offered) == {"auto", *CHOICES}
    for choice, options in CHOICES.items():
        _, file = shop.run(SessionOptions.model_validate({"technique": "session_options", "choice": choice}))
        assert recorded_options(file) == options
        assert open_runner(file).outputs == open_runner(shop.parent).outputs


def test_the_next_step_leaves_them_behind_and_says_so(shop: Workshop) -> None:
    _, file = shop.run(BASIC)
    made, simplified = shop.run(Simplify(technique="simplify"), file)
    assert recorded_options(simplified) == {}
    assert any("session options" in note and "left out" in note for note in made.notes)


def test_a_packages_script_loads_by_them(shop: Workshop) -> None:
    _, file = shop.run(BASIC)
    script = ModuleType("infer")
    script.__file__ = str(shop.folder / "infer.py")
    exec(infer_code("onnx"), script.__dict__)
    level = onnxruntime.GraphOptimizationLevel
    for model, wanted in ((file, level.ORT_ENABLE_BASIC), (Path(shop.parent), level.ORT_ENABLE_ALL)):
        found = script.__dict__["Session"](model, 1).session.get_session_options()
        assert found.graph_optimization_level == wanted


@pytest.mark.slow
def test_auto_keeps_what_is_measured_to_be_faster_or_nothing(shop: Workshop) -> None:
    made, file = shop.run(SessionOptions(technique="session_options"))
    tried = next(note for note in made.notes if "times as fast" in note)
    assert all(choice in tried for choice in CHOICES)
    assert made.changed == bool(recorded_options(file))
    assert recorded_options(file) in ({}, *CHOICES.values())


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + _number(value >> 7)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(_field(14, _field(1, OPTIONS_KEY.encode()) + _field(2, b"[" * 60_000)), id="nested without end"),
        pytest.param(b"\x0a" + _number(1 << 61), id="a length that no file has"),
        pytest.param(
            _field(14, _field(1, OPTIONS_KEY.encode()) + _field(2, b'{"disabled_optimizers": ["\\ud800"]}')),
            id="no text",
        ),
        pytest.param(
            _field(
                14,
                _field(1, OPTIONS_KEY.encode()) + _field(2, json.dumps({"disabled_optimizers": ["a"] * 9999}).encode()),
            ),
            id="more names than there are rules",
        ),
    ],
)
def test_a_hostile_file_has_no_options(tmp_path: Path, content: bytes):
    file = tmp_path / "hostile.onnx"
    file.write_bytes(content)
    assert recorded_options(file) == {}
