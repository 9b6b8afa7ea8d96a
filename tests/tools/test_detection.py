"""A detector's whole session: its boxes decoded by description or by the operator's leave, measured, judged, packaged."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ..engine.detectors import detector, drawings
from ..engine.test_detectors import ADAPTER
from ..engine.tiny_models import real
from .agents import Agent, Answer, at, settings

pytestmark = pytest.mark.anyio
PREPROCESSING = {"resize": [64, 64], "scale": 1 / 255}
GRID = {"kind": "grid", "score_threshold": 0.2}


def world(folder: Path, **evaluation: Any) -> dict[str, Any]:
    """The arguments of open_session."""
    return {
        "model_path": detector(folder / "net.onnx"),
        "target_device": "cpu-generic",
        "evaluation": {
            "dataset_path": drawings(folder / "test", images=8),
            "metric": "map",
            "preprocessing": PREPROCESSING,
            "decoding": GRID,
        }
        | evaluation,
    }


async def session(agent: Agent, arguments: dict[str, Any], step: dict[str, Any]) -> dict[str, Answer]:
    """Open, profile, one step, benchmark, validate; every answer by its tool."""
    answers = {"open_session": await agent.call("open_session", **arguments)}
    of = {"session_id": answers["open_session"].ok()["session_id"]}
    for tool, more in (
        ("profile_model", {"iterations": 100}),
        ("optimize_model", {"step": step}),
        ("benchmark_variant", {"variant_id": "v1", "iterations": 100}),
        ("validate_variant", {"variant_id": "v1"}),
    ):
        answers[tool] = await agent.finish(tool, **of, **more)
        answers[tool].ok()
    return answers


async def test_a_detector_goes_all_the_way_to_a_package(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        answers = await session(agent, world(tmp_path), {"technique": "simplify"})
        of = {"session_id": answers["open_session"].data["session_id"]}
        validation = answers["validate_variant"].data["validation"]
        assert (validation["metric"], validation["status"], validation["samples"]) == ("map", "PASS", 8)
        assert validation["method"].startswith("parity")
        packaged = await agent.finish("package_variant", **of, variant_id="v1")
    details = {item["item"]: item["detail"] for item in answers["open_session"].data["preflight"]}
    assert details["Test dataset available"] == "8 samples, 2 classes"
    assert answers["profile_model"].data["baseline"]["accuracy"]["value"] == validation["baseline"] > 0.4
    folder = Path(packaged.ok()["package"]["path"])
    about = json.loads((folder / "preprocessing.json").read_text())
    assert about["decoding"]["kind"] == "grid"
    assert about["decoding"]["score_threshold"] == 0.2
    image = tmp_path / "photo.png"
    Image.new("RGB", (50, 40)).save(image)
    ran = subprocess.run(
        [sys.executable, "-I", "infer.py", str(image)], cwd=folder, capture_output=True, check=False, text=True
    )
    assert "head float32 (1, 7, 8, 8)" in ran.stdout, ran.stderr


async def test_an_adapter_by_the_operators_leave(tmp_path: Path):
    adapter = tmp_path / "adapter.py"
    adapter.write_text(ADAPTER)
    said = f"adapter.py:boxes, sha256 {hashlib.sha256(ADAPTER.encode()).hexdigest()[:16]}"
    arguments = world(tmp_path, decoding=None, adapter=f"{adapter}:boxes")
    pinned = {adapter.resolve(): hashlib.sha256(adapter.read_bytes()).hexdigest()}
    async with at(settings(tmp_path)) as agent:
        (await agent.call("open_session", **arguments)).refused("UNTRUSTED_CODE")
    async with at(settings(tmp_path, user_code=pinned)) as agent:
        opened = (await agent.call("open_session", **arguments)).ok()
        details = {item["item"]: item["detail"] for item in opened["preflight"]}
        assert details["Accuracy metric defined"] == f"map, by user code: {said}"
        of = {"session_id": opened["session_id"]}
        adapter.write_text(ADAPTER + "\n")
        assert "adapter.py:boxes" in (await agent.call("profile_model", **of)).refused("SAME_DATASET")["message"]
        adapter.write_text(ADAPTER)
        profiled = await agent.finish("profile_model", **of, iterations=100)
        assert profiled.ok()["baseline"]["accuracy"]["user_code"] == said
        assert said in profiled.text


@pytest.mark.parametrize(
    ("evaluation", "code", "words"),
    [
        ({"decoding": None}, "INVALID_ARGUMENT", "how do the model's outputs describe them"),
        ({"metric": "top1"}, "INVALID_ARGUMENT", "decoding is for map and map50"),
        ({"decoding": {"kind": "cubes"}}, "INVALID_ARGUMENT", "evaluation.decoding"),
        ({"decoding": GRID | {"nms": 0.5}}, "INVALID_ARGUMENT", "evaluation.decoding.grid.nms"),
        ({"decoding": {"kind": "boxes", "boxes": "b", "scores": "s"}}, "INVALID_ARGUMENT", "no output 'b'"),
        ({"preprocessing": {"resize": [64, 64]}}, "INVALID_ARGUMENT", "are pixels scaled by 1/255"),
    ],
)
async def test_what_is_left_open_is_asked(tmp_path: Path, evaluation: dict[str, Any], code: str, words: str):
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("open_session", **world(tmp_path, **evaluation))).refused(code)
    assert words in refusal["message"]


async def test_a_wrong_decoding_is_no_baseline(tmp_path: Path):
    """Green is called red: not a single box has the right class."""
    async with at(settings(tmp_path)) as agent:
        opened = await agent.call("open_session", **world(tmp_path, decoding=GRID | {"category_ids": [7, 3]}))
        answer = await agent.finish("profile_model", session_id=opened.ok()["session_id"], iterations=100)
    assert "classes in another order" in answer.refused("BASELINE_IMPLAUSIBLE")["message"]


@pytest.mark.parametrize("kind", ["coco", "csv"])
async def test_calibration_images_are_the_registered_ones_in_every_job(tmp_path: Path, kind: str):
    """The file that lists them stays as it is, so only its contents tell."""
    listed = drawings(tmp_path / "calibration", images=40, seed=1)
    folder = tmp_path / "calibration" / "images"
    if kind == "csv":
        listed = str(tmp_path / "calibration" / "list.csv")
        Path(listed).write_text("path\n" + "".join(f"images/{i}.png\n" for i in range(40)))
    arguments = world(tmp_path) | {"calibration_path": listed}
    step = {"technique": "int8_static", "calibration_samples": 40}
    kept = (folder / "3.png").read_bytes()
    async with at(settings(tmp_path)) as agent:
        of = {"session_id": (await agent.call("open_session", **arguments)).ok()["session_id"]}
        (await agent.finish("profile_model", **of, iterations=100)).ok()
        (folder / "3.png").write_bytes((folder / "4.png").read_bytes())
        changed = await agent.finish("optimize_model", **of, step=step)
        assert "its samples have changed since" in changed.refused("CALIBRATION_UNFIT")["message"]
        (folder / "3.png").unlink()
        outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
        outside.write_bytes(kept)
        (folder / "3.png").symlink_to(outside)
        (await agent.finish("optimize_model", **of, step=step)).refused("PATH_NOT_ALLOWED")


@pytest.mark.slow
async def test_a_real_detector_on_real_photographs(tmp_path: Path):
    test_set = Path(real("coco/val2017_dev_64/annotations.json"))
    arguments = {
        "model_path": real("coco/fastestdet_352_bs1.onnx"),
        "target_device": "cpu-generic",
        "calibration_path": real("coco/calib_train2017_32"),
        "evaluation": {
            "dataset_path": str(test_set),
            "metric": "map",
            "preprocessing": {"color": "BGR", "scale": 1 / 255, "resize": [352, 352]},
            "decoding": {"kind": "grid", "clip": False},
        },
    }
    server = settings(tmp_path)
    server = type(server)(workspace=server.workspace, allow_roots=(tmp_path, test_set.parents[1].resolve()))
    async with at(server) as agent:
        answers = await session(agent, arguments, {"technique": "simplify"})
        assert answers["profile_model"].data["baseline"]["accuracy"]["value"] == pytest.approx(0.189, abs=0.01)
        validation = answers["validate_variant"].data["validation"]
        assert (validation["status"], validation["changed_decisions"]) == ("PASS", 0)
        of = {"session_id": answers["open_session"].data["session_id"]}
        (await agent.finish("package_variant", **of, variant_id="v1")).ok()
