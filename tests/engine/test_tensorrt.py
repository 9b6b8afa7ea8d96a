"""TensorRT where it is not: what a file says without it, what is refused, and the buffers of its runtime."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from edgeopt.contract.steps import TensorRT
from edgeopt.engine.executor.base import Failed
from edgeopt.engine.executor.local import LocalExecutor
from edgeopt.engine.jobs import JobSpec, Optimize
from edgeopt.engine.models import engine_origin, model_file
from edgeopt.engine.models.engine_origin import EngineOrigin, companion, mismatch, origin
from edgeopt.engine.models.formats import sniff
from edgeopt.engine.models.plan_header import plan_version
from edgeopt.engine.models.tensorrt_layers import Layer, layers, precision, precisions, sentence
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes import catalog, cuda_buffers
from edgeopt.engine.runtimes.runner import open_runner
from pydantic import ValidationError

from .image_models import convnet, evaluation, save

ORIN = EngineOrigin(tensorrt="10.3.0", compute_capability="8.7", gpu="Orin", platform="aarch64")
here_without = pytest.mark.skipif(catalog.missing("tensorrt") is None, reason="TensorRT is installed here")


def header(*version: int, layout: int = 0) -> bytes:
    """The first 28 bytes of an engine, as trtexec reads them."""
    return b"ftrt" + struct.pack("<I", layout) + bytes(16) + bytes(version)


def engine(folder: Path, content: bytes | None = None, name: str = "net.engine") -> Path:
    path = folder / name
    path.write_bytes(header(10, 16, 1, 11) + bytes(1000) if content is None else content)
    return path


# What the bytes say


def test_an_engine_says_which_version_built_it(tmp_path: Path) -> None:
    found = sniff(engine(tmp_path, name="net.bin"))
    assert (found.format, found.what) == ("tensorrt", "TensorRT engine, built by TensorRT 10.16.1")
    assert origin(engine(tmp_path)) == EngineOrigin(tensorrt="10.16.1")


@pytest.mark.parametrize("head", [b"", b"ftrt", header(10, 16, 1, 11)[:27], header(10, 16, 1, 11, layout=1), b"x" * 28])
def test_a_header_that_is_cut_or_unknown_says_nothing(head: bytes) -> None:
    assert plan_version(head) is None


@pytest.mark.parametrize("content", [b"", b"hello " * 50, b'\x1c\x01\0\0{"stride": 32}' + header(10, 16, 1, 11)])
@pytest.mark.parametrize("suffix", [".engine", ".plan", ".trt"])
def test_a_file_that_is_only_named_like_an_engine_is_none(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = engine(tmp_path, content, f"net{suffix}")
    assert sniff(path).format == "unknown"
    with pytest.raises(JobProblem) as caught:
        model_file.open_file(path).check([])
    assert caught.value.problem.code == "BAD_FILE"


@here_without
def test_without_tensorrt_an_engine_is_unavailable_and_the_packages_are_named(tmp_path: Path) -> None:
    for opened in (model_file.open_file, open_runner):
        with pytest.raises(JobProblem) as caught:
            opened(engine(tmp_path))
        assert caught.value.problem.code == "UNAVAILABLE"
        for word in ("tensorrt-cu13", "edgeopt[tensorrt]", "JetPack", "--system-site-packages"):
            assert word in caught.value.problem.message.replace("Tensorrt", "tensorrt")


@here_without
def test_a_real_worker_answers_the_step_with_what_to_install(tmp_path: Path) -> None:
    task = Optimize(
        parent_path=save(convnet(), tmp_path / "net.onnx"),
        step=TensorRT(technique="tensorrt"),
        file_stem="net_tensorrt_fp16",
        evaluation=evaluation(tmp_path / "test.npz"),
        calibration_path=None,
    )
    folder = tmp_path / "job"
    folder.mkdir()
    ended = LocalExecutor().run(folder, JobSpec(job_id="job-1", task=task, memory_mb=4000, timeout_s=60))
    assert isinstance(ended, Failed)
    assert ended.problem.code == "UNAVAILABLE"
    assert "edgeopt[tensorrt]" in ended.problem.message


# Old habits


@pytest.mark.parametrize(
    ("habit", "reason"),
    [
        ({"fp16": True}, "strongly typed"),
        ({"flags": ["FP16", "STRICT_TYPES"]}, "strongly typed"),
        ({"precision": "int8", "calibration_cache": "calib.cache"}, "no calibration caches"),
        ({"precision": "int8", "calibrator": "entropy2"}, "calibrated on the session's calibration set"),
    ],
)
def test_old_habits_are_refused_with_the_reason(habit: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        TensorRT.model_validate({"technique": "tensorrt"} | habit)


def test_what_nobody_knows_is_refused_as_ever() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        TensorRT.model_validate({"technique": "tensorrt", "colour": "green"})
    with pytest.raises(ValidationError):
        TensorRT.model_validate("tensorrt")


# Where an engine was built


def test_the_origin_is_read_from_beside_the_engine(tmp_path: Path) -> None:
    path = engine(tmp_path)
    companion(path).write_text(ORIN.model_dump_json())
    assert companion(path).name == "net.engine.json"
    assert origin(path) == ORIN


@pytest.mark.parametrize("content", ["", "{", "[]", '{"tensorrt": 10}', '{"other": "x"}', " " * 5000 + "{}"])
def test_a_file_beside_it_that_is_none_of_ours_is_refused(tmp_path: Path, content: str) -> None:
    path = engine(tmp_path)
    companion(path).write_text(content)
    with pytest.raises(JobProblem) as caught:
        origin(path)
    assert caught.value.problem.code == "BAD_FILE"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, None),
        ({"gpu": "Orin NX"}, None),
        ({"tensorrt": "10.3.0.30"}, None),
        ({"tensorrt": None, "compute_capability": None, "platform": None}, None),
        ({"tensorrt": "10.3.1"}, "built by TensorRT 10.3.0, and here is 10.3.1"),
        ({"compute_capability": "8.9"}, "for the GPU architecture 8.7, and here is 8.9"),
        ({"platform": "x86_64"}, "for the platform aarch64, and here is x86_64"),
    ],
)
def test_an_engine_of_elsewhere_is_named_by_what_differs(changed: dict[str, Any], said: str | None) -> None:
    found = mismatch(ORIN, ORIN.model_copy(update=changed))
    assert found is None if said is None else found == f"it was {said}"


def test_what_the_server_knows_of_this_machine_opens_no_gpu() -> None:
    known = engine_origin.here()
    assert known.platform and known.gpu is None and known.compute_capability is None


# Which precision really runs


def information(*found: object) -> str:
    return json.dumps({"Layers": found, "Bindings": ["x", "y"]})


def layer(kind: str, described: str) -> dict[str, object]:
    return {"Name": "n", "LayerType": kind, "Inputs": [{"Name": "x", "Format/Datatype": described}], "Outputs": []}


QUANTIZED = information(
    layer("Reformat", "Row major linear FP32"),
    layer("CaskConvolution", "Thirty-two wide channel vectorized row major Int8 format."),
    layer("CaskConvolution", "Int8"),
    layer("kgen", "Row major linear FP16 format"),
    layer("CaskPooling", "Half"),
    layer("TopK", "Row major Int32 format"),
    layer("CaskGemmConvolution", "N/A due to dynamic shapes"),
)


def test_layers_are_counted_by_the_type_that_they_take() -> None:
    found = layers(QUANTIZED)
    assert found[1] == Layer("CaskConvolution", "int8")
    assert precisions(found) == {"int8": 2, "fp16": 2, "integer": 1}
    assert precision(found) == "int8"
    assert sentence(found).endswith("2 in int8, 2 in fp16, 1 in integer")


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ("Row major linear FP16 format", "fp16"),
        ("Row major linear BF16 format", "fp16"),
        ("Float", "fp32"),
        ("", "fp32"),
    ],
)
def test_the_precision_is_that_of_most_layers(described: str, expected: str) -> None:
    assert precision(layers(information(layer("gemm", described), layer("gemm", described)))) == expected


def test_an_engine_with_names_alone_does_not_tell() -> None:
    found = layers(information("conv1 + relu1", "dense"))
    assert found == [Layer("layer", ""), Layer("layer", "")]
    assert "does not say" in sentence(found)


@pytest.mark.parametrize("wrong", ["[]", "{}", '{"Layers": 3}', "not json"])
def test_information_of_another_kind_is_an_error(wrong: str) -> None:
    with pytest.raises(ValueError):
        layers(wrong)


# Buffers


def test_without_cuda_bindings_and_pycuda_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_buffers, "_installed", lambda _module: False)
    with pytest.raises(cuda_buffers.NoGpu, match="pip install cuda-python"):
        cuda_buffers.open_device()


def test_without_a_gpu_cuda_itself_says_why() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    error, count = runtime.cudaGetDeviceCount()
    if error == runtime.cudaError_t.cudaSuccess and count:
        pytest.skip("there is a GPU here")
    with pytest.raises(cuda_buffers.NoGpu, match="no NVIDIA GPU"):
        cuda_buffers.CudaBindingsDevice()
