"""Toolchains: installed whole or not at all, run apart from everything of ours, and what is said otherwise for them."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from edgeopt.contract.measures import Interface, TensorInfo
from edgeopt.engine.bench import Bench
from edgeopt.engine.data.dataset import open_dataset
from edgeopt.engine.data.sizes import sized
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.techniques.tflite_toolchain import fixed
from edgeopt.engine.toolchains.catalog import TOOLCHAINS, Toolchain, installed, is_current, missing, python_in
from edgeopt.engine.toolchains.convert_onnx2tf import without_strides
from edgeopt.engine.toolchains.installing import NotInstalled, install, remove
from edgeopt.engine.toolchains.running import run_toolchain
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from .image_models import PREPROCESSING, image_set


def tiny_wheel(folder: Path) -> str:
    """A package `tiny` 1.0 of one module, made by hand; returns its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    info = "tiny-1.0.dist-info"
    files = {
        "tiny.py": "ANSWER = 42\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        for name, text in files.items()
    }
    files[f"{info}/RECORD"] = (
        "".join(f"{name},sha256={digest},\n" for name, digest in digests.items()) + f"{info}/RECORD,,\n"
    )
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name), text)  # of one date: the same bytes each time
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def tiny(folder: Path, *, sha256: str | None = None, module: str = "tiny", comment: str = "") -> Toolchain:
    """A toolchain of that package alone, from a folder: no network."""
    digest = tiny_wheel(folder / "wheels")
    lock = folder / "tiny.lock"
    lock.write_text(
        f"{comment}\n--no-index\n--find-links {folder / 'wheels'}\ntiny==1.0 --hash=sha256:{sha256 or digest}\n"
    )
    return Toolchain("tiny", "nothing to nothing", lock, (), module, 50, (9, 9))


def quiet(_line: str) -> None:
    """For installations whose words are not looked at."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tiny toolchain in it. Tests that change anything make their own."""
    folder = tmp_path_factory.mktemp("toolchains")
    install(tiny(folder), folder / "installed", quiet)
    return folder


@pytest.fixture
def known(home: Path) -> Iterator[Path]:
    """The folder of the installed tiny toolchain, which the catalog has meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TOOLCHAINS, "tiny", tiny(home))
        yield home / "installed"


# What there is


def test_what_is_not_installed_is_said_with_the_command_that_installs_it(tmp_path: Path):
    assert installed(tmp_path / "nowhere") == dict.fromkeys(TOOLCHAINS)
    for name in TOOLCHAINS:
        assert f"edgeopt toolchain install {name}" in str(missing(name, tmp_path))
        assert f"edgeopt toolchain install {name}" in str(missing(name, None))


@pytest.mark.parametrize("name", ["litert-torch", "onnx2tf"])
def test_every_locked_package_has_one_version_and_its_hashes(name: str):
    chain = TOOLCHAINS[name]
    blocks = re.split(r"\n(?=\S)", re.sub(r"(?m)^#.*\n", "", chain.lock.read_text()))
    assert all(re.match(r"[a-z0-9-]+==[\w.]+ \\\n", block) for block in blocks), blocks[:2]
    assert all("--hash=sha256:" in block for block in blocks)
    assert re.fullmatch(r"[\d.]+", chain.version)
    assert all("==" in requirement for requirement in chain.requirements)
    assert not any(block.startswith("torch==") for block in blocks)


# Installing


def test_an_installed_toolchain_has_its_packages_and_is_known_again(home: Path):
    chain, folder = tiny(home), home / "installed"
    code = "import tiny; print(tiny.ANSWER)"
    ran = subprocess.run([python_in(folder / "tiny"), "-I", "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "42\n"
    said: list[str] = []
    assert install(chain, folder, said.append) == folder / "tiny"
    assert said == [f"tiny 1.0 is installed already, in {folder / 'tiny'}."]
    assert sorted(entry.name for entry in folder.iterdir()) == [".lock", "tiny"]


def test_a_toolchain_of_another_lock_is_not_taken_for_this_one_and_is_replaced(tmp_path: Path):
    older = tiny(tmp_path)
    place = install(older, tmp_path / "installed", quiet)
    (place / "mark").touch()
    newer = tiny(tmp_path, comment="# another set of versions")
    assert not is_current(newer, place)
    said: list[str] = []
    install(newer, tmp_path / "installed", said.append)
    assert is_current(newer, place) and not (place / "mark").exists()
    assert "  1/1 tiny-1.0-py3-none-any.whl" in said
    remove(newer, tmp_path / "installed")
    assert [entry.name for entry in (tmp_path / "installed").iterdir()] == [".lock"]
    with pytest.raises(NotInstalled, match="there is no toolchain tiny"):
        remove(newer, tmp_path / "installed")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"sha256": "0" * 64}, "DO NOT MATCH THE HASHES|hash"), ({"module": "absent"}, "absent cannot be imported")],
)
def test_one_that_cannot_be_installed_leaves_nothing(tmp_path: Path, wrong: dict[str, str], words: str):
    folder = tmp_path / "installed"
    litter = folder / ".tiny.killed" / "made"
    litter.mkdir(parents=True)
    with pytest.raises(NotInstalled, match=words):
        install(tiny(tmp_path, **wrong), folder, quiet)
    assert [entry.name for entry in folder.iterdir()] == [".lock"]


def test_too_small_a_disk_is_found_before_anything_is_fetched(tmp_path: Path):
    chain = tiny(tmp_path)._replace(room_mb=1 << 40)
    with pytest.raises(NotInstalled, match=r"takes up to \d+ MB .* EDGEOPT_TOOLCHAINS"):
        install(chain, tmp_path / "installed", quiet)


def test_too_new_a_python_is_told_which_one_goes(tmp_path: Path):
    with pytest.raises(NotInstalled, match=r"install edgeopt with Python 3\.0 or older"):
        install(tiny(tmp_path)._replace(newest_python=(3, 0)), tmp_path / "installed", quiet)


def test_what_is_no_toolchain_is_not_replaced(tmp_path: Path):
    (tmp_path / "installed" / "tiny").mkdir(parents=True)
    (tmp_path / "installed" / "tiny" / "model.onnx").touch()
    with pytest.raises(NotInstalled, match="is no toolchain"):
        install(tiny(tmp_path), tmp_path / "installed", quiet)
    assert (tmp_path / "installed" / "tiny" / "model.onnx").exists()


def test_two_installations_do_not_meet(tmp_path: Path):
    folder = tmp_path / "installed"
    folder.mkdir()
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NotInstalled, match="another edgeopt is at work"):
            install(tiny(tmp_path), folder, quiet)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(NotInstalled, match=r"cannot be written.*EDGEOPT_TOOLCHAINS"):
        install(tiny(tmp_path), tmp_path / "file" / "below", quiet)


# Running

SCRIPT = """
import json, os, pathlib, sys
task = json.loads(pathlib.Path(sys.argv[1]).read_bytes())
{}
"""
LOOK = """
import tiny
here = {"home": os.environ["HOME"], "cwd": os.getcwd(), "path": sys.path, "python": sys.executable, "given": task,
        "environment": sorted(os.environ), "own": [name for name in sys.modules if name.startswith("edgeopt")]}
pathlib.Path(sys.argv[2]).write_text(json.dumps(here))
"""


def bench(folder: Path, toolchains: Path | None) -> Bench:
    for name in ("files", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    return Bench(folder / "files", folder / "tmp", toolchains=toolchains)


def ran(folder: Path, toolchains: Path | None, code: str) -> dict[str, object]:
    script = folder / "script.py"
    script.write_text(SCRIPT.format(code))
    return run_toolchain("tiny", str(script), {"number": 7}, bench(folder, toolchains))


def test_a_converter_runs_with_its_own_packages_and_nothing_of_ours(
    tmp_path: Path, known: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SECRET_TOKEN", "s")
    here = ran(tmp_path, known, LOOK)
    assert here["given"] == {"number": 7} and here["own"] == []
    assert here["python"] == str(python_in(known / "tiny"))
    assert here["home"] == here["cwd"] and Path(str(here["cwd"])).is_relative_to(tmp_path / "tmp")
    assert str(tmp_path) not in str(here["path"]) and "SECRET_TOKEN" not in str(here["environment"])
    assert ran(tmp_path, known, LOOK)["cwd"] != here["cwd"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("pathlib.Path(sys.argv[2]).write_text(json.dumps({'problem': 'No such operator: Foo'})); sys.exit(1)", "Foo"),
        ("print('first'); print('the last word'); sys.exit(3)", "exit status 3; its last words: first / the last word"),
        ("os.abort()", "SIGABRT"),
        ("raise ValueError('bad axis')", "ValueError: bad axis"),
    ],
)
def test_a_converter_that_fails_says_why(tmp_path: Path, known: Path, code: str, words: str):
    with pytest.raises(JobProblem) as found:
        ran(tmp_path, known, code)
    assert found.value.problem.code == "TECHNIQUE_FAILED"
    assert words in found.value.problem.message


@pytest.mark.parametrize("code", ["raise MemoryError('std::bad_alloc')", "os.kill(os.getpid(), 9)"])
def test_a_converter_without_memory_is_the_memory_limits_business(tmp_path: Path, known: Path, code: str):
    with pytest.raises(MemoryError):
        ran(tmp_path, known, code)


@pytest.mark.parametrize("toolchains", [None, Path("/nowhere")])
def test_a_toolchain_that_is_not_there_is_unavailable_with_the_command(tmp_path: Path, toolchains: Path | None):
    with pytest.raises(JobProblem, match="edgeopt toolchain install onnx2tf") as found:
        run_toolchain("onnx2tf", "convert_onnx2tf.py", {}, bench(tmp_path, toolchains))
    assert found.value.problem.code == "UNAVAILABLE"


# Shapes


def info(name: str, *shape: int | None) -> TensorInfo:
    return TensorInfo(name=name, dtype="float32", shape=list(shape))


def test_open_axes_get_the_sizes_of_the_session_and_batches_of_one():
    assert fixed([info("a", None, 3, None)], [info("a", None, 3, 64)]) == [info("a", 1, 3, 64)]
    assert fixed([info("b", None, None)], [info("a", None, 9)]) == [info("b", 1, 9)]
    assert fixed([info("a", 4, 3)], [info("a", 4, 3)]) == [info("a", 4, 3)]
    with pytest.raises(JobProblem, match=r"\[\?, \?\].*a size for every axis"):
        fixed([info("a", None, None)], [info("a", None, None)])


def test_sizes_that_a_data_set_has_are_those_of_its_samples(tmp_path: Path):
    inputs = [info("image", None, 3, None, None)]
    nchw = PREPROCESSING.model_copy(update={"layout": "NCHW"})
    samples = open_dataset(image_set(tmp_path / "set.npz", 4), nchw, inputs, labelled=True)
    assert sized(Interface(inputs=inputs, outputs=[]), samples).inputs == [info("image", None, 3, 8, 8)]


# What onnx2tf gets wrong, said otherwise


@st.composite
def slices(draw: st.DrawFn) -> tuple[list[int], dict[int, tuple[int, int, int]]]:
    """A shape, and by axis a start, an end and a step that pick something."""
    shape = draw(st.lists(st.integers(1, 7), min_size=2, max_size=4))
    axes = draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True))
    bounds = st.sampled_from([*range(-8, 9), np.iinfo(np.int64).max, np.iinfo(np.int64).min])
    picks = {axis: (draw(bounds), draw(bounds), draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))) for axis in axes}
    return shape, picks


def sliced(shape: list[int], picks: dict[int, tuple[int, int, int]]) -> onnx.ModelProto:
    columns = [list(column) for column in zip(*picks.values(), strict=True)]
    given = {"starts": columns[0], "ends": columns[1], "axes": list(picks), "steps": columns[2]}
    constants = [numpy_helper.from_array(np.array(values, dtype=np.int64), name) for name, values in given.items()]
    node = helper.make_node("Slice", ["x", "starts", "ends", "axes", "steps"], ["y"])
    graph = helper.make_graph(
        [node],
        "slice",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def computed(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@settings(deadline=None, max_examples=200)
@given(slices())
def test_a_slice_with_strides_said_otherwise_picks_the_same(case: tuple[list[int], dict[int, tuple[int, int, int]]]):
    shape, picks = case
    model = sliced(shape, picks)
    said = without_strides(model)
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert np.array_equal(computed(said, x), computed(model, x))


def test_only_slices_with_strides_are_said_otherwise_and_pictures_stay_pictures():
    huge = int(np.iinfo(np.int64).max)
    said = without_strides(sliced([1, 4, 4, 4], {2: (0, huge, 2), 3: (0, huge, 2)}))
    assert [node.op_type for node in said.graph.node] == ["MaxPool"]
    said = without_strides(sliced([1, 4, 4, 4], {3: (1, huge, 2)}))
    assert [node.op_type for node in said.graph.node] == ["Slice", "MaxPool"]
    lowest = int(np.iinfo(np.int64).min)
    said = without_strides(sliced([1, 6, 4], {1: (-1, lowest, -1)}))
    assert [node.op_type for node in said.graph.node] == ["Gather"]
    said = without_strides(sliced([1, 6, 4], {1: (2, 5, 1)}))
    assert [node.op_type for node in said.graph.node] == ["Slice"]


# From the command line


def edgeopt(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "edgeopt", "toolchain", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "EDGEOPT_TOOLCHAINS": str(folder / "toolchains")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_line_lists_and_refuses_in_words(tmp_path: Path):
    listed = edgeopt("list", folder=tmp_path)
    assert listed.returncode == 0
    assert all(f"edgeopt toolchain install {name}" in listed.stdout for name in TOOLCHAINS)
    unknown = edgeopt("install", "nonesuch", folder=tmp_path)
    assert unknown.returncode == 2 and "litert-torch or onnx2tf" in unknown.stderr
    absent = edgeopt("remove", "onnx2tf", folder=tmp_path)
    assert absent.returncode == 1 and "there is no toolchain onnx2tf" in absent.stderr
    (tmp_path / "toolchains").mkdir(exist_ok=True)
    (tmp_path / "toolchains" / "onnx2tf").mkdir()
    taken = edgeopt("install", "onnx2tf", folder=tmp_path)
    assert taken.returncode == 1 and "is no toolchain" in taken.stderr
    assert not any("Traceback" in done.stderr for done in (listed, unknown, absent, taken))
