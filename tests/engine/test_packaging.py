"""Packages: complete, runnable without edgeopt, verified, and never taken at their word."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.contract.measures import Comparison, Interface, Latency, Measurement, Noise, Speedup, TensorInfo
from edgeopt.engine.bench import Bench
from edgeopt.engine.data.preprocessing import apply
from edgeopt.engine.jobs import BuildPackage, Packaged, Verified, VerifyPackage
from edgeopt.engine.packaging import build, infer, verify
from edgeopt.engine.packaging.composing import format_of, infer_code
from edgeopt.engine.packaging.readme import render
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.catalog import RUNTIMES, missing, version
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from .dump_tensorrt_api import API
from .image_models import CLASSES, PREPROCESSING, SIDE, convnet, evaluation, images, save
from .runtime_models import CONVOLUTION, IMAGE_INTERFACE, KERNEL, convolved
from .small_models import make_bench
from .tiny_models import real
from .tiny_models import save as save_graph

LABEL = "Host Estimate (not target hardware)"
FILES = {"README.md", "SHA256SUMS", "infer.py", "metadata.json", "preprocessing.json", "requirements.txt"}


def measurement(mean: float) -> Measurement:
    latency = Latency(mean=mean, p50=mean, p95=mean, p99=mean, std=0, n=200, p99_is_bound=False)
    return Measurement(
        measurement_id="m1", where="host_estimate", label=LABEL, device="cpu-generic", runtime="onnxruntime 1", threads=1,
        batch_size=1, latency_ms=latency, throughput_per_s=1, peak_memory_mb=20, file_size_bytes=1000,
    )  # fmt: skip


COMPARISON = Comparison(
    baseline=measurement(4.0),
    variant=measurement(2.0),
    speedup=Speedup(value=2.0, ci95=(1.9, 2.1), verdict="faster"),
    compression=3.0,
    memory_ratio=1.0,
    noise=Noise(half_width=0.01, processes=10, disturbed=False),
)


def package(
    folder: Path,
    model: str | None = None,
    data: Evaluation | None = None,
    interface: Interface | None = None,
    **metadata: Any,
) -> tuple[Path, Packaged]:
    """The package of a model, by default of the convolutional network, which is renamed."""
    folder.mkdir(exist_ok=True)
    task = BuildPackage(
        variant_path=model or save(convnet(), folder / "net.onnx"),
        interface=interface,
        file_name="net_int8.onnx" if model is None else Path(model).name,
        evaluation=data or evaluation(folder / "data.npz"),
        metadata={"original": {"files": [{"path": "/models/net.onnx", "sha256": "0" * 64}]}} | metadata,
    )
    (folder / "build").mkdir()
    bench = make_bench(folder / "build")
    return bench.files / "package", build.run(task, bench)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Packaged]:
    told = {
        "measurements": [COMPARISON.model_dump(mode="json")],
        "steps": [{"technique": "int8_static", "precision": "int8"}],
        "decisions": [{"outcome": "keep", "decided_by": "agent"}],
    }
    return package(tmp_path_factory.mktemp("built"), **told)


@pytest.fixture
def copied(built: tuple[Path, Packaged], tmp_path: Path) -> Path:
    return Path(shutil.copytree(built[0], tmp_path / "package"))


def test_a_package_holds_what_it_takes_and_its_digests(built: tuple[Path, Packaged]):
    folder, result = built
    assert result.verified
    assert "8 recorded samples" in result.verification
    assert {file.name for file in result.files} == FILES | {"net_int8.onnx", "verification.npz"}
    assert {path.name for path in folder.iterdir()} == {file.name for file in result.files}
    for file in result.files:
        content = (folder / file.name).read_bytes()
        assert (file.sha256, file.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def test_the_metadata_are_those_of_the_session_and_what_only_the_worker_knows(built: tuple[Path, Packaged]):
    metadata = json.loads((built[0] / "metadata.json").read_text())
    assert metadata["original"]["files"][0]["path"] == "/models/net.onnx"
    assert metadata["steps"][0]["technique"] == "int8_static"
    assert metadata["verification"]["verified"] is True
    assert {file["name"] for file in metadata["files"]} >= {"net_int8.onnx", "infer.py", "verification.npz"}
    versions = (built[0] / "requirements.txt").read_text().split()
    assert [line.split("==")[0] for line in versions] == ["onnxruntime", "numpy"]


def test_the_readme_says_where_its_figures_were_measured(built: tuple[Path, Packaged]):
    readme = (built[0] / "README.md").read_text()
    assert readme.count(LABEL) >= 3, "once above the table and in both of its columns"
    assert "Speedup 2.00" in readme
    assert "int8_static" in readme
    assert "keep, by agent" in readme


# What infer.py may import besides the standard library, numpy and Pillow.
IMPORTS = {
    "onnx": {"onnxruntime"},
    "pytorch": {"torch"},
    "tensorflow": {"tensorflow"},
    "tflite": {"ai_edge_litert", "tflite_runtime"},
    "openvino": {"openvino"},
    "tensorrt": {"tensorrt", "pycuda", "cuda"},
}


@pytest.mark.parametrize("format", IMPORTS)
def test_infer_py_needs_nothing_but_numpy_and_its_runtime(format: str):
    code = infer_code(format)
    tree = ast.parse(code)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {a.name.split(".")[0] for n in imports if isinstance(n, ast.Import) for a in n.names}
    names |= {str(node.module).split(".")[0] for node in imports if isinstance(node, ast.ImportFrom)}
    assert IMPORTS[format] <= names <= set(sys.stdlib_module_names) | {"numpy", "PIL"} | IMPORTS[format]
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in imports)
    top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert "PIL" not in top, "Pillow is imported only where it is needed"


def test_every_name_of_tensorrt_that_a_package_uses_is_there():
    """In the bindings of both major versions; what they do was not run."""
    owners = {
        "trt": "",
        "trt.ILogger": "ILogger",
        "trt.TensorIOMode": "TensorIOMode",
        "self.loader": "Runtime",
        "self.engine": "ICudaEngine",
        "self.context": "IExecutionContext",
    }
    nodes = [node for node in ast.walk(ast.parse(infer_code("tensorrt"))) if isinstance(node, ast.Attribute)]
    used = {(owners[owner], node.attr) for node in nodes if (owner := ast.unparse(node.value)) in owners}
    assert len(used) > 12
    for names in json.loads(API.read_text()).values():
        assert [name for owner, name in used if name not in names[owner] and not name.startswith("__")] == []


def test_the_code_of_a_package_is_known_by_every_byte():
    assert [format_of(infer_code(format)) for format in RUNTIMES] == list(RUNTIMES) == list(IMPORTS)
    assert format_of(infer_code("onnx") + b"\n") is None
    assert format_of(b"") is None


def run_infer(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-B", "infer.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_package_runs_elsewhere_on_its_own(copied: Path):
    batch = images(5, seed=77)
    np.savez(copied.parent / "in.npz", inputs=batch)
    assert run_infer(copied, "../in.npz", "--output", "../out.npz").returncode == 0
    x = apply(batch, PREPROCESSING.model_copy(update={"layout": "NCHW", "dtype": "float32"}))
    wanted = open_runner(copied / "net_int8.onnx").run({"image": x})["scores"]
    np.testing.assert_allclose(np.load(copied.parent / "out.npz")["scores"], wanted, rtol=1e-5, atol=1e-6)
    Image.fromarray(batch[0]).save(copied.parent / "in.png")
    printed = run_infer(copied, "../in.png")
    assert printed.returncode == 0
    assert "scores float32 (1, 4)" in printed.stdout


def test_verify_notices_another_answer(copied: Path):
    assert run_infer(copied, "--verify").returncode == 0
    model = onnx.load(copied / "net_int8.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b3")
    bias.raw_data = (np.frombuffer(bias.raw_data, np.float32) + np.float32(0.5)).tobytes()
    onnx.save(model, copied / "net_int8.onnx")
    said = run_infer(copied, "--verify")
    assert said.returncode == 1
    assert "NOT verified" in said.stderr


def checked(folder: Path) -> Verified:
    bench = folder.parent / "bench"
    shutil.rmtree(bench, ignore_errors=True)
    bench.mkdir()
    return verify.run(VerifyPackage(path=str(folder)), Bench(bench, bench))


def reseal(folder: Path) -> None:
    """SHA256SUMS over what is there now: what somebody who changes a package would write."""
    names = sorted(path.name for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_a_whole_package_is_verified_and_left_alone(copied: Path):
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    for path in copied.iterdir():
        path.chmod(0o444)
    copied.chmod(0o555)
    found = checked(copied)
    copied.chmod(0o755)
    assert found.verified, found.verification
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before


def change(folder: Path) -> None:
    (folder / "metadata.json").write_text("{}")


def lose(folder: Path) -> None:
    (folder / "README.md").unlink()


def add(folder: Path) -> None:
    (folder / "onnxruntime.py").write_text("raise SystemExit('planted')")


def add_below(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "extra").write_text("")


def link(folder: Path) -> None:
    model = folder / "net_int8.onnx"
    model.rename(folder.parent / "elsewhere.onnx")
    model.symlink_to(folder.parent / "elsewhere.onnx")


def link_a_folder(folder: Path) -> None:
    (folder / "sub").symlink_to(folder.parent)


def no_sums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


def name_a_file_outside(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.write_text("x")
    line = f"{hashlib.sha256(b'x').hexdigest()}  ../outside\n"
    (folder / "SHA256SUMS").write_text((folder / "SHA256SUMS").read_text() + line)


def name_a_file_twice(folder: Path) -> None:
    text = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text(text + text.splitlines(keepends=True)[0])


def a_model_elsewhere(folder: Path) -> None:
    shutil.copy(folder / "net_int8.onnx", folder.parent / "net_int8.onnx")
    (folder / "net_int8.onnx").unlink()
    about = json.loads((folder / "preprocessing.json").read_text())
    (folder / "preprocessing.json").write_text(json.dumps(about | {"model": "../net_int8.onnx"}))
    reseal(folder)


def another_model(folder: Path) -> None:
    model = onnx.load(folder / "net_int8.onnx")
    del model.graph.node[2].input[:]
    model.graph.node[2].input.append("c1")
    onnx.save(model, folder / "net_int8.onnx")
    reseal(folder)


def a_pickle_for_a_model(folder: Path) -> None:
    (folder / "net_int8.onnx").write_bytes(b"\x80\x04cposix\nsystem\n(X\x04\x00\x00\x00touch ranR.")
    reseal(folder)


def no_model_named(folder: Path) -> None:
    (folder / "preprocessing.json").write_text('{"model": ["net_int8.onnx"]}')
    reseal(folder)


FLAWS: list[tuple[Callable[[Path], None], str]] = [
    (change, "changed since the package was made: metadata.json"),
    (lose, "missing: README.md"),
    (add, "does not list: onnxruntime.py"),
    (add_below, "does not list: sub/extra"),
    (link, "not a regular file"),
    (link_a_folder, "not a regular file"),
    (no_sums, "no SHA256SUMS"),
    (name_a_file_outside, "../outside"),
    (name_a_file_twice, "once for each file"),
    (a_model_elsewhere, "exit status"),
    (another_model, "differ from the recorded ones"),
    (a_pickle_for_a_model, "is a Python pickle: opening it would run its code, so it was not run"),
    (no_model_named, "does not name the model"),
]


@pytest.mark.parametrize(("damage", "why"), FLAWS, ids=[damage.__name__ for damage, _ in FLAWS])
def test_every_flaw_is_found_and_named(copied: Path, damage: Callable[[Path], None], why: str):
    damage(copied)
    found = checked(copied)
    assert not found.verified
    assert why in found.verification


def test_what_runs_nowhere_here_is_not_tried(copied: Path):
    if missing("tensorrt") is None:
        pytest.skip("TensorRT is installed")
    (copied / "infer.py").write_bytes(infer_code("tensorrt"))
    reseal(copied)
    found = checked(copied)
    assert not found.verified
    assert "nothing was run: tensorrt-cu13 is not installed" in found.verification


def test_foreign_code_in_a_package_is_not_run(copied: Path):
    (copied / "infer.py").write_text(f"open({str(copied.parent / 'ran')!r}, 'w')")
    reseal(copied)
    found = checked(copied)
    assert not found.verified
    assert "was not run" in found.verification
    assert not (copied.parent / "ran").exists()


def test_what_is_no_package_is_said_to_be_none(tmp_path: Path):
    assert "not a folder" in checked(tmp_path / "nothing").verification


def test_a_package_that_does_not_repeat_itself_is_not_built(tmp_path: Path):
    """A model that answers differently every time."""
    noise = [
        helper.make_node("RandomNormalLike", ["image"], ["noise"]),
        helper.make_node("Add", ["image", "noise"], ["loud"]),
        helper.make_node("GlobalAveragePool", ["loud"], ["p"]),
        helper.make_node("Flatten", ["p"], ["scores"]),
    ]
    shape = ["N", 3, SIDE, SIDE]
    model = save_graph(
        tmp_path / "n.onnx", noise, {"image": (TensorProto.FLOAT, shape)}, {"scores": (TensorProto.FLOAT, ["N", 3])}, {}
    )
    np.savez(tmp_path / "data.npz", inputs=images(10), labels=np.arange(10) % 3)
    data = Evaluation(dataset_path=str(tmp_path / "data.npz"), metric="top1", preprocessing=PREPROCESSING)
    with pytest.raises(JobProblem) as caught:
        package(tmp_path / "p", model, data)
    assert caught.value.problem.code == "PACKAGE_NOT_VERIFIED"


def outputs_of(folder: Path, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What the package's own code makes of raw samples."""
    np.savez(folder.parent / "raw.npz", allow_pickle=False, **inputs)
    ran = run_infer(folder, "../raw.npz", "--output", "../answers.npz")
    assert ran.returncode == 0, ran.stderr
    with np.load(folder.parent / "answers.npz") as answers:
        return dict(answers)


def test_a_fixed_batch_is_recorded_whole_and_takes_any_number_of_samples(tmp_path: Path):
    folder, result = package(tmp_path / "p", save(convnet(batch=4), tmp_path / "net.onnx"))
    assert "8 recorded samples" in result.verification, "two batches of four"
    wanted = open_runner(save(convnet(), tmp_path / "dynamic.onnx"))
    for count in (1, 4, 10):
        batch = images(count, seed=count)
        x = apply(batch, PREPROCESSING.model_copy(update={"layout": "NCHW", "dtype": "float32"}))
        scores = outputs_of(folder, inputs=batch)["scores"]
        np.testing.assert_allclose(scores, wanted.run({"image": x})["scores"], rtol=1e-5, atol=1e-6)


def test_an_output_without_rows_is_not_cut_out_of_fixed_batches(tmp_path: Path):
    nodes = [
        helper.make_node("ReduceSum", ["image"], ["total"], keepdims=0),
        helper.make_node("GlobalAveragePool", ["image"], ["p"]),
        helper.make_node("Flatten", ["p"], ["scores"]),
    ]
    model = save_graph(
        tmp_path / "n.onnx",
        nodes,
        {"image": (TensorProto.FLOAT, [2, 3, SIDE, SIDE])},
        {"scores": (TensorProto.FLOAT, [2, 3]), "total": (TensorProto.FLOAT, [])},
        {},
    )
    np.savez(tmp_path / "data.npz", inputs=images(10), labels=np.arange(10) % 3)
    data = Evaluation(dataset_path=str(tmp_path / "data.npz"), metric="top1", preprocessing=PREPROCESSING)
    folder, _ = package(tmp_path / "p", model, data)
    assert outputs_of(folder, inputs=images(2))["total"].shape == ()
    np.save(tmp_path / "three.npy", images(3))
    ran = run_infer(folder, str(tmp_path / "three.npy"))
    assert ran.returncode == 1
    assert "give 2 samples at a time" in ran.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"inputs": images(2, side=SIDE + 1)}, f"the input image takes the shape [None, 3, {SIDE}, {SIDE}]"),
        ({"inputs": images(2)[:0]}, "at least one"),
        ({"x": images(2), "y": images(2)}, "there are no samples for ['image']"),
    ],
)
def test_what_the_model_cannot_take_is_said_in_a_line(copied: Path, given: dict[str, np.ndarray], words: str):
    np.savez(copied.parent / "in.npz", allow_pickle=False, **given)
    ran = run_infer(copied, "../in.npz")
    assert ran.returncode == 1
    assert words in ran.stderr
    assert len(ran.stderr.splitlines()) == 1


# A package answers as the session's original, whatever its own format calls and orders.
ORIGINAL = Interface(
    inputs=[TensorInfo(name="image", dtype="float32", shape=[None, 3, SIDE, SIDE])],
    outputs=[
        TensorInfo(name="map", dtype="float32", shape=[None, 3, SIDE, SIDE]),
        TensorInfo(name="scores", dtype="float32", shape=[None, 3]),
    ],
)


def channels_last(path: Path) -> str:
    """`scores` and twice the image, in an order of its own and with channels last."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["twice"]),
        helper.make_node("ReduceMean", ["x"], ["scores"], axes=[1, 2], keepdims=0),
    ]
    shape = ["N", SIDE, SIDE, 3]
    return save_graph(
        path,
        nodes,
        {"x": (TensorProto.FLOAT, shape)},
        {"scores": (TensorProto.FLOAT, ["N", 3]), "twice": (TensorProto.FLOAT, shape)},
        {},
    )


def test_a_package_answers_as_the_original(tmp_path: Path):
    model = channels_last(tmp_path / "last.onnx")
    folder, _ = package(tmp_path / "p", model, evaluation(tmp_path / "data.npz"), ORIGINAL)
    batch = images(3)
    x = apply(batch, PREPROCESSING.model_copy(update={"layout": "NCHW", "dtype": "float32"}))
    outputs = outputs_of(folder, inputs=batch)
    assert list(outputs) == ["map", "scores"]
    np.testing.assert_allclose(outputs["map"], 2 * x, rtol=1e-6)
    np.testing.assert_allclose(outputs["scores"], x.mean((2, 3)), rtol=1e-5, atol=1e-6)
    about = json.loads((folder / "preprocessing.json").read_text())
    assert [tensor["model"]["name"] for tensor in about["outputs"]] == ["twice", "scores"]
    assert about["inputs"][0]["shape"] == [None, 3, SIDE, SIDE]
    assert about["inputs"][0]["model"]["axes"] == [0, 2, 3, 1]


FORMATS = [(format, batch) for format in CONVOLUTION for batch in (None, 2) if (format, batch) != ("tensorflow", 2)]


@pytest.mark.parametrize(("format", "batch"), FORMATS)
def test_a_package_in_every_format_runs_on_its_runtime_alone(tmp_path: Path, format: str, batch: int | None):
    if lacking := missing(format):
        pytest.skip(lacking)
    model = CONVOLUTION[format](tmp_path, batch)
    raw = np.random.default_rng(2).integers(0, 256, (5, 5, 6, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", inputs=raw, labels=np.arange(5) % 2)
    data = Evaluation(
        dataset_path=str(tmp_path / "data.npz"), metric="top1", preprocessing=Preprocessing(scale=1 / 255)
    )
    folder, result = package(tmp_path / "p", str(model), data, IMAGE_INTERFACE)
    runtime = RUNTIMES[format]
    assert runtime.distribution in (folder / "requirements.txt").read_text()
    assert re.search(
        rf"repeated with [a-z-]+ {(version(runtime.distribution) or '').partition('+')[0]}", result.verification
    )
    wanted = convolved(raw.transpose(0, 3, 1, 2) * np.float32(1 / 255))
    np.testing.assert_allclose(outputs_of(folder, inputs=raw)["map"], wanted, rtol=1e-4, atol=1e-5)
    assert checked(Path(shutil.copytree(folder, tmp_path / "copy"))).verified


def test_a_quantized_package_takes_and_gives_real_numbers(tmp_path: Path):
    pytest.importorskip("ai_edge_litert")
    model, data = real("mlperf_tiny/ic_resnet8_cifar10_int8_ref.tflite"), real("cifar10/test_png_dev.npz")
    original = Interface(
        inputs=[TensorInfo(name="picture", dtype="float32", shape=[None, 3, 32, 32])],
        outputs=[TensorInfo(name="classes", dtype="float32", shape=[None, 10])],
    )
    evaluated = Evaluation(dataset_path=data, metric="top1", preprocessing=Preprocessing(scale=1.0))
    folder, _ = package(tmp_path / "p", model, evaluated, original)
    with np.load(data) as arrays:
        batch, labels = arrays["inputs"][:50], arrays["labels"][:50]
    scores = outputs_of(folder, inputs=batch)["classes"]
    assert (scores.dtype, scores.shape) == (np.float32, (50, 10))
    assert scores.min() >= 0 and np.abs(scores.sum(axis=1) - 1).max() < 0.05, "these are probabilities"
    assert (scores.argmax(axis=1) == labels).mean() > 0.8
    runner = open_runner(model, interface=original)
    np.testing.assert_array_equal(scores, runner.run({"picture": batch.transpose(0, 3, 1, 2)})["classes"])
    tensor = json.loads((folder / "preprocessing.json").read_text())["inputs"][0]["model"]
    assert tensor["quantization"] == {"dtype": "int8", "scale": 1.0, "zero_point": -128}


def test_the_weights_of_an_openvino_package_are_part_of_it(tmp_path: Path):
    pytest.importorskip("openvino")
    model = CONVOLUTION["openvino"](tmp_path, None)
    np.savez(tmp_path / "data.npz", inputs=np.full((4, 5, 6, 3), 9, np.uint8), labels=np.arange(4) % 2)
    data = Evaluation(dataset_path=str(tmp_path / "data.npz"), metric="top1", preprocessing=Preprocessing(scale=1.0))
    folder, result = package(tmp_path / "p", str(model), data, IMAGE_INTERFACE)
    weights = model.with_suffix(".bin").name
    assert weights in {file.name for file in result.files}
    readme = (folder / "README.md").read_text()
    assert "openvino" in readme and "float32" in readme
    other = np.fromfile(folder / weights, np.float32)
    other[: KERNEL.size] *= 2
    other.tofile(folder / weights)
    assert "were changed" in checked(folder).verification
    reseal(folder)
    assert "differ from the recorded ones" in checked(folder).verification


def test_several_inputs_are_recorded_by_name(tmp_path: Path):
    model = save_graph(
        tmp_path / "two.onnx",
        [helper.make_node("Cast", ["k"], ["kf"], to=TensorProto.FLOAT), helper.make_node("Mul", ["x", "kf"], ["y"])],
        {"x": (TensorProto.FLOAT, ["N", 4]), "k": (TensorProto.INT64, ["N", 4])},
        {"y": (TensorProto.FLOAT, ["N", 4])},
        {},
    )
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "d.npz", x=rng.random((9, 4), np.float32), k=rng.integers(0, 9, (9, 4)), labels=np.arange(9) % 4
    )
    folder, result = package(tmp_path / "p", model, Evaluation(dataset_path=str(tmp_path / "d.npz"), metric="top1"))
    assert result.verified
    assert run_infer(folder, str(tmp_path / "d.npz")).returncode == 0


def test_outputs_that_are_no_arrays_are_left_out(tmp_path: Path):
    """A list of them before the scores, as converters of classic models make."""
    model = convnet()
    model.graph.node.append(helper.make_node("SequenceConstruct", ["scores", "scores"], ["twice"]))
    scores = model.graph.output.pop()
    twice = helper.make_tensor_sequence_value_info("twice", TensorProto.FLOAT, ["N", CLASSES])
    model.graph.output.extend([twice, scores])
    folder, result = package(tmp_path / "p", save(model, tmp_path / "net.onnx"))
    assert result.verified
    assert list(outputs_of(folder, inputs=images(3))) == ["scores"]


def test_an_engine_says_where_it_runs():
    readme = render("net.engine", "tensorrt", "tensorrt 10.16.1, Orin", [], {})
    assert "runs only on the GPU architecture" in readme
    assert "`net.engine.json`" in readme
    assert "tensorrt 10.16.1, Orin" in readme


def test_external_data_go_along(tmp_path: Path):
    onnx.save(convnet(), tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    folder, result = package(tmp_path / "p", str(tmp_path / "net.onnx"))
    assert "net.data" in {file.name for file in result.files}
    (tmp_path / "net.data").unlink()
    assert checked(Path(shutil.copytree(folder, tmp_path / "copy"))).verified


def test_image_files_of_different_sizes_are_resized_as_recorded(tmp_path: Path):
    for index in range(12):
        place = tmp_path / "set" / str(index % CLASSES)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images(1, seed=index, side=20 + index)[0]).save(place / f"{index}.png")
    steps = PREPROCESSING.model_copy(update={"resize": 12, "center_crop": SIDE})
    data = Evaluation(dataset_path=str(tmp_path / "set"), metric="top1", preprocessing=steps)
    folder, result = package(tmp_path / "p", data=data)
    assert result.verified
    assert "Pillow==" in (folder / "requirements.txt").read_text()


SIZES = st.none() | st.integers(4, 9) | st.tuples(st.integers(4, 9), st.integers(4, 9))
CHANNELS = st.lists(st.floats(0.1, 2.0), min_size=3, max_size=3)
STEPS = st.builds(
    Preprocessing,
    resize=SIZES,
    center_crop=st.none() | st.integers(1, 4),
    color=st.sampled_from([None, "RGB", "BGR", "GRAY"]),
    scale=st.none() | st.floats(0.001, 2.0),
    mean=st.none() | CHANNELS | st.just([0.5]),
    std=st.none() | CHANNELS | st.just([0.25]),
    layout=st.sampled_from([None, "NCHW", "NHWC"]),
    dtype=st.sampled_from([None, "float32", "float16", "uint8", "int8"]),
)


@given(steps=STEPS, count=st.integers(1, 3), height=st.integers(4, 11), width=st.integers(4, 11))
@settings(max_examples=150, deadline=None)
def test_a_package_prepares_samples_exactly_as_the_evaluation_did(
    steps: Preprocessing, count: int, height: int, width: int
):
    if steps.color == "GRAY" and len(steps.mean or [0]) + len(steps.std or [0]) > 2:
        steps = steps.model_copy(update={"mean": None, "std": None})
    batch = np.random.default_rng(height * width).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    model = infer.Model.__new__(infer.Model)
    model.about = {"preprocessing": json.loads(steps.model_dump_json())}
    wanted = apply(batch, steps)
    for given_batch in (batch, list(batch)):
        got = model.preprocess(given_batch)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
