"""Packages: complete, runnable without edgeopt, verified, and never taken at their word."""

from __future__ import annotations

import ast
import hashlib
import json
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
from edgeopt.contract.measures import Comparison, Latency, Measurement, Noise, Speedup
from edgeopt.engine.bench import Bench
from edgeopt.engine.data.preprocessing import apply
from edgeopt.engine.jobs import BuildPackage, Packaged, Verified, VerifyPackage
from edgeopt.engine.packaging import build, infer_onnxruntime, verify
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image

from .image_models import CLASSES, PREPROCESSING, SIDE, convnet, evaluation, images, save
from .small_models import make_bench
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
    folder: Path, model: str | None = None, data: Evaluation | None = None, **metadata: Any
) -> tuple[Path, Packaged]:
    folder.mkdir(exist_ok=True)
    task = BuildPackage(
        variant_path=model or save(convnet(), folder / "net.onnx"),
        file_name="net_int8.onnx",
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
    assert "3 recorded samples" in result.verification
    assert {file.name for file in result.files} == FILES | {"net_int8.onnx", "verification.npz"}
    assert {path.name for path in folder.iterdir()} == {file.name for file in result.files}
    for file in result.files:
        content = (folder / file.name).read_bytes()
        assert (file.sha256, file.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def test_the_metadata_are_those_of_the_session_and_what_only_the_worker_knows(built: tuple[Path, Packaged]):
    metadata = json.loads((built[0] / "metadata.json").read_text())
    assert metadata["schema_version"] == 1
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


def test_infer_py_needs_nothing_but_numpy_and_onnxruntime():
    tree = ast.parse(Path(infer_onnxruntime.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {a.name.split(".")[0] for n in imports if isinstance(n, ast.Import) for a in n.names}
    names |= {str(node.module).split(".")[0] for node in imports if isinstance(node, ast.ImportFrom)}
    assert names <= set(sys.stdlib_module_names) | {"numpy", "onnxruntime", "PIL"}
    assert not any(isinstance(node, ast.ImportFrom) and node.level for node in imports)
    top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert "PIL" not in top, "Pillow is imported only where it is needed"


def infer(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-B", "infer.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_package_runs_elsewhere_on_its_own(copied: Path):
    batch = images(5, seed=77)
    np.savez(copied.parent / "in.npz", inputs=batch)
    assert infer(copied, "../in.npz", "--output", "../out.npz").returncode == 0
    x = apply(batch, PREPROCESSING.model_copy(update={"layout": "NCHW", "dtype": "float32"}))
    wanted = open_runner(copied / "net_int8.onnx").run({"image": x})["scores"]
    np.testing.assert_allclose(np.load(copied.parent / "out.npz")["scores"], wanted, rtol=1e-5, atol=1e-6)
    Image.fromarray(batch[0]).save(copied.parent / "in.png")
    printed = infer(copied, "../in.png")
    assert printed.returncode == 0
    assert "scores float32 (1, 4)" in printed.stdout


def test_verify_notices_another_answer(copied: Path):
    assert infer(copied, "--verify").returncode == 0
    model = onnx.load(copied / "net_int8.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b3")
    bias.raw_data = (np.frombuffer(bias.raw_data, np.float32) + np.float32(0.5)).tobytes()
    onnx.save(model, copied / "net_int8.onnx")
    said = infer(copied, "--verify")
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
]


@pytest.mark.parametrize(("damage", "why"), FLAWS, ids=[damage.__name__ for damage, _ in FLAWS])
def test_every_flaw_is_found_and_named(copied: Path, damage: Callable[[Path], None], why: str):
    damage(copied)
    found = checked(copied)
    assert not found.verified
    assert why in found.verification


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


def test_a_fixed_batch_is_recorded_whole(tmp_path: Path):
    _, result = package(tmp_path / "p", save(convnet(batch=4), tmp_path / "net.onnx"))
    assert "4 recorded samples" in result.verification


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
    assert infer(folder, str(tmp_path / "d.npz")).returncode == 0


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
    model = infer_onnxruntime.Model.__new__(infer_onnxruntime.Model)
    model.about = {"preprocessing": json.loads(steps.model_dump_json())}
    wanted = apply(batch, steps)
    for given_batch in (batch, list(batch)):
        got = model.preprocess(given_batch)
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
