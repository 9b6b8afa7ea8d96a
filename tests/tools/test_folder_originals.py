"""An original that is a folder: all of its files are the original, and none of them changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.engine.runtimes.catalog import missing, version
from edgeopt.state.events import FileIdentity
from edgeopt.tools.fingerprints import Fingerprints
from edgeopt.tools.workshop import Settings

from ..engine.tiny_models import DATA
from . import planted
from .agents import Agent, at, settings

pytestmark = pytest.mark.anyio
OF = {"session_id": planted.SESSION}
needs_tensorflow = pytest.mark.skipif(missing("tensorflow") is not None, reason=str(missing("tensorflow")))


def folder_model(place: Path) -> Path:
    """What looks like a SavedModel folder, to whoever does not load it."""
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data"):
        planted.file(place / name)
    return place


def recorded(folder: Path) -> list[FileIdentity]:
    """As open_session records it."""
    whole = FileIdentity(path=str(folder), sha256=Fingerprints().path(folder), bytes=0)
    return [whole, *(planted.identity(path) for path in sorted(folder.rglob("*")) if path.is_file())]


def session(tmp_path: Path, **more: Any) -> Path:
    """A session on a folder that stands before v1, a PASS."""
    folder = folder_model(tmp_path / "models" / "net")
    planted.plant(
        tmp_path,
        *planted.variant(tmp_path, 1, "PASS"),
        files=recorded(folder),
        source_format="tensorflow",
        **more,
    )
    return folder


async def test_a_folder_is_as_long_as_its_files(tmp_path: Path):
    folder = session(tmp_path)
    async with at(settings(tmp_path)) as agent:
        state = (await agent.call("get_state", **OF)).ok()
    original = state["variants"][0]
    assert original["path"] == str(folder)
    assert original["size_bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert original["sha256"] == Fingerprints().path(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "saved_model.pb").write_text("other"),
        lambda folder: (folder / "variables" / "variables.data").unlink(),
        lambda folder: (folder / "variables" / "more").write_text("added"),
        lambda folder: (folder / "saved_model.pb").rename(folder / "graph.pb"),
        lambda folder: folder.rename(folder.with_name("away")),
    ],
    ids=["changed", "removed", "added", "renamed", "moved"],
)
async def test_whatever_changes_in_a_folder_is_noticed(tmp_path: Path, change: Callable[[Path], object]):
    folder = session(tmp_path)
    async with at(settings(tmp_path)) as agent:
        change(folder)
        for tool in ("benchmark_variant", "validate_variant", "package_variant"):
            refusal = (await agent.call(tool, **OF, variant_id="v1")).refused("ORIGINAL_PROTECTED")
            assert str(folder) in refusal["message"]


@pytest.mark.parametrize("place", ["", "new", "variables", "variables/new", "../net/new"])
async def test_nothing_is_written_into_a_folder(tmp_path: Path, place: str):
    folder = session(tmp_path)
    before = sorted(folder.rglob("*"))
    rules = Settings(workspace=tmp_path / "workspace", allow_roots=(tmp_path,), output_roots=(tmp_path / "models",))
    async with at(rules) as agent:
        answer = await agent.call("package_variant", **OF, variant_id="v1", output_dir=str(folder / place))
        answer.refused("ORIGINAL_PROTECTED")
    assert sorted(folder.rglob("*")) == before


async def test_a_folder_that_is_exchanged_behind_the_servers_back_is_noticed_by_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = session(tmp_path)
    (folder / "variables" / "variables.data").write_text("something else")
    monkeypatch.setattr(Fingerprints, "state", lambda *_: "intact")
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.finish("benchmark_variant", **OF, variant_id="v1")).refused("ORIGINAL_PROTECTED")
    assert "variables.data is not the file that was recorded" in refusal["message"]


# What is opened


def world(folder: Path, model: Path) -> dict[str, Any]:
    np.savez(folder / "test.npz", x=np.ones((8, 3), np.float32), labels=np.zeros(8))
    evaluation = {"dataset_path": str(folder / "test.npz"), "metric": "top1"}
    return {"model_path": str(model), "target_device": "cpu-generic", "evaluation": evaluation}


async def refused(folder: Path, model: Path, code: str, words: str, rules: Settings | None = None) -> None:
    async with at(rules or settings(folder)) as agent:
        refusal = (await agent.call("open_session", **world(folder, model))).refused(code)
    assert words in refusal["message"]


async def test_a_folder_without_a_graph_is_no_model(tmp_path: Path):
    (tmp_path / "net").mkdir()
    await refused(tmp_path, tmp_path / "net", "BAD_FILE", "without a saved_model.pb")


@needs_tensorflow
async def test_a_link_in_a_folder_leads_nowhere_outside(tmp_path: Path):
    inside = tmp_path / "inside"
    folder = folder_model(inside / "net")
    secret = planted.file(tmp_path / "secret")
    (folder / "assets.txt").symlink_to(secret)
    rules = Settings(workspace=tmp_path / "workspace", allow_roots=(inside,))
    await refused(inside, folder, "PATH_NOT_ALLOWED", "assets.txt is a link", rules)
    (folder / "assets.txt").unlink()
    (folder / "more").symlink_to(tmp_path)
    await refused(inside, folder, "BAD_FILE", "linked folder", rules)
    (folder / "more").unlink()
    os.mkfifo(folder / "pipe")
    await refused(inside, folder, "BAD_FILE", "no regular file", rules)


@needs_tensorflow
async def test_the_workspace_lies_in_no_model(tmp_path: Path):
    folder = folder_model(tmp_path / "net")
    rules = Settings(workspace=folder / "workspace", allow_roots=(tmp_path,))
    await refused(tmp_path, folder, "BAD_FILE", "--workspace", rules)


# By real workers


async def opened(agent: Agent, model: str, data: str, **preprocessing: Any) -> dict[str, Any]:
    path, samples = DATA / "mlperf_tiny" / model, DATA / data
    if not path.exists() or not samples.exists():
        pytest.skip(f"no {model} in the data folder (EDGEOPT_DATA)")
    evaluation = {
        "dataset_path": str(samples),
        "metric": "top1",
        "preprocessing": {"mean": [0] * 3, "std": [1] * 3} | preprocessing,
    }
    return (
        await agent.finish("open_session", model_path=str(path), target_device="cpu-generic", evaluation=evaluation)
    ).ok()


def at_the_data(tmp_path: Path, **more: Any) -> Settings:
    return Settings(workspace=tmp_path / "workspace", allow_roots=(DATA,), **more)


@needs_tensorflow
@pytest.mark.parametrize(
    "model", ["ic_resnet8_cifar10.h5", "ic_resnet8_cifar10.keras", "ic_resnet8_cifar10_savedmodel"]
)
async def test_every_way_of_saving_is_opened(tmp_path: Path, model: str):
    async with at(at_the_data(tmp_path)) as agent:
        answer = await opened(agent, model, "cifar10/test_png_dev.npz", scale=1.0)
    assert answer["model"]["format"] == answer["state"]["source_format"] == "tensorflow"
    assert answer["model"]["parameters"] == 78666
    assert answer["model"]["inputs"][0]["shape"] == [None, 32, 32, 3]
    assert all(item["ok"] for item in answer["preflight"] if item["required"])
    assert answer["state"]["original_model_path"] == str(DATA.resolve() / "mlperf_tiny" / model)


@needs_tensorflow
async def test_an_old_file_says_what_was_left_out(tmp_path: Path):
    async with at(at_the_data(tmp_path)) as agent:
        answer = await opened(
            agent, "vww_mobilenet_96_legacy.h5", "mlperf_tiny/vww_test_val2017_dev.npz", scale=1 / 255
        )
    assert "groups=1" in answer["message"]


@needs_tensorflow
@pytest.mark.slow
async def test_a_network_is_profiled_on_more_threads_than_it_is_judged_on(tmp_path: Path):
    async with at(at_the_data(tmp_path)) as agent:
        answer = await opened(agent, "vww_mobilenet_96.keras", "mlperf_tiny/vww_test_val2017_dev.npz", scale=1 / 255)
        profiled = await agent.finish("profile_model", session_id=answer["session_id"], iterations=100, threads=2)
    baseline = profiled.ok()["baseline"]
    assert baseline["accuracy"]["value"] == pytest.approx(0.887, abs=1e-3)
    assert baseline["threads"] == 2


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.skipif(version("tf2onnx") is None, reason="tf2onnx is not installed: pip install 'edgeopt[tensorflow]'")
async def test_a_folder_goes_the_whole_road_to_onnx_and_stays_as_it_is(tmp_path: Path):
    async with at(at_the_data(tmp_path)) as agent:
        answer = await opened(agent, "ic_resnet8_cifar10_savedmodel", "cifar10/test_png_dev.npz", scale=1.0)
        of = {"session_id": answer["session_id"]}
        before = _content(DATA / "mlperf_tiny" / "ic_resnet8_cifar10_savedmodel")
        baseline = (await agent.finish("profile_model", **of, iterations=100)).ok()["baseline"]
        assert baseline["accuracy"]["value"] == pytest.approx(0.8882, abs=1e-3)
        assert baseline["runtime"].startswith("tensorflow 2.")
        made = (await agent.finish("optimize_model", **of, step={"technique": "export_onnx"})).ok()["variant"]
        assert (made["format"], made["precision"]) == ("onnx", "fp32")
        one = {**of, "variant_id": made["variant_id"]}
        compared = (await agent.finish("benchmark_variant", **one, iterations=100)).ok()["comparison"]
        assert compared["variant"]["runtime"].startswith("onnxruntime")
        judged = (await agent.finish("validate_variant", **one)).ok()["validation"]
        assert (judged["status"], judged["changed_decisions"]) == ("PASS", 0)
        assert _content(DATA / "mlperf_tiny" / "ic_resnet8_cifar10_savedmodel") == before


def _content(folder: Path) -> dict[str, str]:
    return {str(f): hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.rglob("*") if f.is_file()}
