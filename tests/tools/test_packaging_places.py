"""Where a package may go: new folders in allowed places, never anywhere near the original."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeopt.state.store import Store
from edgeopt.tools.workshop import Settings

from . import planted
from .agents import Agent, at

pytestmark = pytest.mark.anyio


async def refused(agent: Agent, place: str, *codes: str) -> None:
    answer = await agent.call("package_variant", session_id=planted.SESSION, variant_id="v1", output_dir=place)
    answer.refused(*codes)


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("{out}/models", "ORIGINAL_PROTECTED"),
        ("{out}/models/net.onnx", "ORIGINAL_PROTECTED"),
        ("{out}/models/net.onnx/new", "ORIGINAL_PROTECTED"),
        ("{out}/link", "ORIGINAL_PROTECTED"),
        ("{out}/link/net.onnx", "ORIGINAL_PROTECTED"),
        ("{out}/other/../models", "ORIGINAL_PROTECTED"),
        ("{out}", "PATH_NOT_ALLOWED"),
        ("{out}/..", "PATH_NOT_ALLOWED"),
        ("{out}/full", "PATH_NOT_ALLOWED"),
        ("{out}/full/file.txt", "PATH_NOT_ALLOWED"),
        ("{out}/leaving/new", "PATH_NOT_ALLOWED"),
        ("{elsewhere}/new", "PATH_NOT_ALLOWED"),
        ("relative", "PATH_NOT_ALLOWED"),
        ("/", "PATH_NOT_ALLOWED"),
        ("{workspace}", "PATH_NOT_ALLOWED"),
        ("{workspace}/events.db-journal", "PATH_NOT_ALLOWED"),
        ("{workspace}/question.key", "PATH_NOT_ALLOWED"),
        ("{workspace}/sessions/s_1/jobs/j1", "PATH_NOT_ALLOWED"),
        ("{workspace}/inspections/i-1", "PATH_NOT_ALLOWED"),
        ("{out}/" + "n" * 300, "BAD_FILE"),
        ("{out}/new\0", "INVALID_ARGUMENT"),
    ],
)
async def test_an_output_folder_that_is_not_new_in_an_allowed_place_is_refused(tmp_path: Path, place: str, code: str):
    out, elsewhere, models = tmp_path / "out", tmp_path / "elsewhere", tmp_path / "out" / "models"
    elsewhere.mkdir()
    planted.file(out / "full" / "file.txt")
    original = planted.identity(planted.file(models / "net.onnx"))
    (out / "other").mkdir()
    (out / "link").symlink_to(models)
    (out / "leaving").symlink_to(elsewhere)
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"), files=[original])
    workspace = tmp_path / "workspace"
    rules = Settings(workspace=workspace, allow_roots=(tmp_path,), output_roots=(out,))
    names = {"{out}": out, "{elsewhere}": elsewhere, "{workspace}": workspace}
    for name, path in names.items():
        place = place.replace(name, str(path))
    before = sorted(tmp_path.rglob("*"))
    async with at(rules) as agent:
        await refused(agent, place, code)
    assert [p for p in sorted(tmp_path.rglob("*")) if p not in before and p.parent != workspace] == []
    Store(workspace).close()


async def test_what_is_not_measured_kept_or_a_variant_is_not_packaged(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"), *planted.variant(tmp_path, 2, None))
    of = {"session_id": planted.SESSION}
    async with at(Settings(workspace=tmp_path / "workspace")) as agent:
        (await agent.call("package_variant", **of, variant_id="v2")).refused("NOT_BENCHMARKED")
        (await agent.call("package_variant", **of)).refused(
            "NOT_VALIDATED"
        )  # nothing is kept: the best is the baseline
        (await agent.call("package_variant", **of, variant_id="baseline")).refused("NOT_VALIDATED")
        (await agent.call("package_variant", **of, variant_id="v3")).refused("UNKNOWN_VARIANT")
        revert = {"variant_id": "v1", "outcome": "revert", "reason": ""}
        (await agent.call("decide_variant", **of, **revert)).ok()
        (await agent.call("package_variant", **of, variant_id="v1")).refused("DECISION_ALREADY_MADE")


@pytest.mark.parametrize("how", ["changed", "gone"])
async def test_files_that_are_not_what_was_recorded_stop_the_session(tmp_path: Path, how: str):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"))
    of = {"session_id": planted.SESSION}
    calls = {
        "optimize_model": {**of, "step": {"technique": "float16"}, "parent": "baseline"},
        "benchmark_variant": {**of, "variant_id": "v1"},
        "package_variant": {**of, "variant_id": "v1"},
        "decide_variant": {**of, "variant_id": "v1", "outcome": "keep", "reason": ""},
        "validate_variant": {**of, "variant_id": "v1"},
    }

    def spoil(path: Path) -> bytes:
        was = path.read_bytes()
        path.write_bytes(was + b"\0") if how == "changed" else path.unlink()
        return was

    async with at(Settings(workspace=tmp_path / "workspace")) as agent:
        variant = tmp_path / "workspace" / "v1.onnx"
        was = spoil(variant)
        for tool in ("benchmark_variant", "package_variant", "decide_variant", "validate_variant"):
            (await agent.call(tool, **calls[tool])).refused("VARIANT_CHANGED")
        variant.write_bytes(was)
        test = tmp_path / "test.npz"
        was = spoil(test)
        (await agent.call("validate_variant", **calls["validate_variant"])).refused("SAME_DATASET")
        test.write_bytes(was)
        calibration = tmp_path / "calibration.npz"
        was = spoil(calibration)
        step = {"technique": "int8_static"}
        (await agent.call("optimize_model", **of, step=step, parent="baseline")).refused("CALIBRATION_REQUIRED")
        calibration.write_bytes(was)
        spoil(tmp_path / "net.onnx")
        for tool, arguments in calls.items():
            (await agent.call(tool, **arguments)).refused("ORIGINAL_PROTECTED")
        state = (await agent.call("get_state", **of)).ok()
        assert [c["met"] for c in state["completion"] if c["criterion"] == "original intact"] == [False]
        revert = calls["decide_variant"] | {"outcome": "revert"}
        (await agent.call("decide_variant", **revert)).ok()
