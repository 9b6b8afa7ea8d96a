"""FORMAT_DEVICE_MISMATCH: every device by every format, and engines that belong to another machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edgeopt.contract.devices import DEVICES
from edgeopt.contract.instead import instead
from edgeopt.contract.steps import (
    MAKES,
    Float16,
    Int8Static,
    OpenVINO,
    Step,
    TensorRT,
    TFLite,
    needs_calibration,
    takes,
)
from edgeopt.state.guardrails import judge
from edgeopt.state.request import Facts, Request
from edgeopt.state.session import Session

from . import worlds

ENGINE = TensorRT(technique="tensorrt")
STEPS: list[Step] = [
    *(TFLite(technique="tflite", quantization=q) for q in ("float32", "float16", "dynamic", "int8")),
    *(OpenVINO(technique="openvino", precision=p) for p in ("fp32", "fp16", "int8")),
    *(TensorRT(technique="tensorrt", precision=p) for p in ("fp16", "int8")),
    Float16(technique="float16"),
]
# The seeds' "target hardware determines the format", as it was agreed.
DEPLOYS = {
    "jetson-orin-nano": ["tensorrt", "onnx"],
    "raspberry-pi-5": ["tflite", "onnx"],
    "raspberry-pi-4": ["tflite", "onnx"],
    "cpu-generic": ["onnx", "openvino", "tflite"],
}
OWNER = Facts(owner="uid:0")


def kept(device: str, format: str = "onnx") -> Session:
    """A session with a kept variant of this format."""
    steps = [*worlds.created(2, 1), *worlds.benchmarked(3, "v1"), *worlds.validated(4, "v1", "PASS")]
    session = worlds.begun(*worlds.profiled(), *steps, target_device=device)
    session = worlds.grown(session, worlds.decided(session, "v1", "keep", by_person=False))
    record = session.variants["v1"]
    record = replace(record, artifact=record.artifact.model_copy(update={"format": format}))
    return replace(session, variants={"v1": record})


def test_every_device_takes_its_formats_best_first_with_a_reason_and_onnx_among_them():
    assert {name: [d.format for d in device.deploys] for name, device in DEVICES.items()} == DEPLOYS
    for device in DEVICES.values():
        assert all(d.because and d.runtime for d in device.deploys)
        assert set(MAKES.values()) <= {d.format for d in device.deploys} | set(device.others)


@pytest.mark.parametrize("device", DEPLOYS)
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_step_is_refused_exactly_where_its_format_does_not_deploy(device: str, step: Step):
    request = Request("optimize_model", variant_id="baseline", step=step)
    refusal = judge(kept(device), request, OWNER)
    makes = MAKES.get(step.technique, "onnx")
    assert (refusal is None) == (makes in DEPLOYS[device])
    if refusal:
        assert refusal.code == "FORMAT_DEVICE_MISMATCH"
        assert DEVICES[device].others[makes] in refusal.message
        assert DEVICES[device].runs in refusal.message


@pytest.mark.parametrize("device", DEPLOYS)
@pytest.mark.parametrize("format", ["onnx", "tflite", "openvino", "tensorrt", "pytorch", "tensorflow"])
def test_a_variant_is_packaged_exactly_where_its_format_deploys(device: str, format: str):
    refusal = judge(kept(device, format), Request("package_variant", variant_id="v1"), OWNER)
    assert (refusal.code if refusal else None) == (None if format in DEPLOYS[device] else "FORMAT_DEVICE_MISMATCH")


@pytest.mark.parametrize("device", DEPLOYS)
@pytest.mark.parametrize("parent", ["onnx", "tflite", "tensorflow", "pytorch"])
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_what_is_to_be_taken_instead_fits_device_and_parent_and_needs_no_more_data(
    device: str, parent: str, step: Step
):
    for other in instead(step, device, parent):
        assert takes(other.technique, parent)
        assert MAKES.get(other.technique, "onnx") in DEPLOYS[device]
        calibrates = needs_calibration(other.technique, other.model_dump())
        assert not calibrates or needs_calibration(step.technique, step.model_dump())


def test_the_refusal_names_the_step_to_take_instead_with_its_arguments():
    step = OpenVINO(technique="openvino", precision="int8")
    other = Int8Static(technique="int8_static")
    request = Request("optimize_model", variant_id="v1", step=step)
    refusal = judge(kept("raspberry-pi-5"), request, replace(OWNER, instead=(other,)))
    assert refusal
    first, last = refusal.next_calls
    assert first.arguments == {"session_id": "s_" + "0" * 32, "step": other.model_dump(mode="json"), "parent": "v1"}
    assert (first.tool, last.tool) == ("optimize_model", "recommend_next")


def test_what_is_not_kept_yet_is_kept_before_it_is_converted():
    session = kept("cpu-generic", "pytorch")
    undecided = replace(session, variants={"v1": replace(session.variants["v1"], decision=None)})
    facts = replace(OWNER, instead=(Float16(technique="float16"),))
    request = Request("package_variant", variant_id="v1")
    for where, tool in ((session, "optimize_model"), (undecided, "decide_variant")):
        refusal = judge(where, request, facts)
        assert refusal
        assert refusal.next_calls[0].tool == tool


@pytest.mark.parametrize(
    ("architecture", "unavailable", "code"),
    [
        ("aarch64", None, None),
        ("x86_64", None, "FORMAT_DEVICE_MISMATCH"),
        ("x86_64", "TensorRT is not installed.", "UNAVAILABLE"),
        ("aarch64", "TensorRT is not installed.", "UNAVAILABLE"),
    ],
)
def test_an_engine_is_built_on_the_architecture_that_it_is_for(
    architecture: str, unavailable: str | None, code: str | None
):
    facts = replace(OWNER, architecture=architecture, unavailable=unavailable)
    refusal = judge(kept("jetson-orin-nano"), Request("optimize_model", variant_id="v1", step=ENGINE), facts)
    assert (refusal.code if refusal else None) == code
    if code == "FORMAT_DEVICE_MISMATCH":
        assert refusal
        assert "--host-is jetson-orin-nano" in refusal.message


def test_an_engine_that_another_machine_built_is_neither_measured_nor_packaged():
    session, why = kept("jetson-orin-nano", "tensorrt"), "it was built with TensorRT 10.16, and this machine has 11.4"
    for tool in ("benchmark_variant", "validate_variant", "package_variant"):
        request = Request(tool, variant_id="v1")
        assert judge(session, request, OWNER) is None
        refusal = judge(session, request, replace(OWNER, engine=why))
        assert refusal
        assert refusal.code == "FORMAT_DEVICE_MISMATCH"
        assert why in refusal.message
