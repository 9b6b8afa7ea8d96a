"""Rules that need facts from outside the session: owners, budgets, labels, disks, edited histories."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from edgeopt.engine.runtimes import catalog
from edgeopt.tools.workshop import Workshop

from . import planted
from .agents import at, settings

pytestmark = pytest.mark.anyio
OF = {"session_id": planted.SESSION}
V1 = {**OF, "variant_id": "v1"}
STEP: dict[str, Any] = {**OF, "step": {"technique": "simplify"}, "parent": "baseline"}
EVERY_CALL: dict[str, dict[str, Any]] = {
    "get_state": OF,
    "profile_model": OF,
    "recommend_next": OF,
    "analyze_sensitivity": OF,
    "optimize_model": STEP,
    "benchmark_variant": V1,
    "validate_variant": V1,
    "decide_variant": {**V1, "outcome": "revert", "reason": ""},
    "package_variant": V1,
    "render_report": OF,
    "wait_for_job": {**OF, "job_id": "j1"},
    "cancel_job": {**OF, "job_id": "j1"},
}


async def test_a_session_of_somebody_else_is_closed_to_every_tool(tmp_path: Path):
    planted.failing(tmp_path, owner="token:somebody-else")
    before = planted.kinds(tmp_path)
    async with at(settings(tmp_path)) as agent:
        assert set(EVERY_CALL) == set(agent.tools) - {"open_session", "list_sessions", "search_knowledge"}
        for tool, arguments in EVERY_CALL.items():
            answer = await agent.call(tool, **arguments)
            answer.refused("NOT_YOUR_SESSION")
            assert answer.data["state"] is None
            assert "net.onnx" not in answer.text
        assert (await agent.call("list_sessions")).ok()["sessions"] == []
    assert planted.kinds(tmp_path) == before


async def test_an_edited_history_is_not_believed_and_the_other_sessions_are_not_hurt(tmp_path: Path):
    other = planted.failing(tmp_path, session_id=planted.OTHER)
    planted.failing(tmp_path)
    with sqlite3.connect(tmp_path / "workspace" / "events.db") as db:
        edit = "UPDATE event SET body = replace(body, '\"FAIL\"', '\"PASS\"') WHERE session = ? AND kind = 'VariantValidated'"
        assert db.execute(edit, (planted.SESSION,)).rowcount == 1
    db.close()
    async with at(settings(tmp_path)) as agent:
        for tool, arguments in EVERY_CALL.items():
            refusal = (await agent.call(tool, **arguments)).refused("BAD_FILE")
            assert "not the one that was recorded" in refusal["message"]
        listed = (await agent.call("list_sessions")).ok()
        assert [line["session_id"] for line in listed["sessions"]] == [other]
        assert planted.SESSION in listed["message"]


async def test_target_measurements_and_host_estimates_are_never_compared(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, None))
    async with at(settings(tmp_path, host_is="cpu-generic")) as agent:
        (await agent.call("benchmark_variant", **V1)).refused("TARGET_LABEL")
    async with at(settings(tmp_path, host_is="raspberry-pi-5")) as agent:
        assert (await agent.call("benchmark_variant", **V1, wait_s=0)).status != "refused"


async def test_work_starts_only_where_it_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    planted.plant(tmp_path)
    monkeypatch.setattr(Workshop, "disk_free_mb", lambda _: 12.0)
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("optimize_model", **STEP)).refused("DISK_SPACE")
        assert "12 MB free" in refusal["message"]


async def test_what_is_recorded_is_read_again_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"), *planted.variant(tmp_path, 2, None))
    monkeypatch.setattr(Workshop, "disk_free_mb", lambda _: 12.0)
    async with at(settings(tmp_path)) as agent:
        again = (await agent.call("validate_variant", **V1)).ok()
        assert again["validation"]["status"] == "PASS"
        (await agent.call("validate_variant", **OF, variant_id="v2")).refused("DISK_SPACE")


async def test_a_step_that_cannot_be_taken_here_says_why_and_where_it_can(tmp_path: Path):
    planted.plant(tmp_path, target_device="jetson-orin-nano")
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("optimize_model", **OF, step={"technique": "export_onnx"})).refused("UNAVAILABLE")
        assert "export_onnx" in refusal["message"]
        if catalog.missing("tensorrt"):
            refusal = (await agent.call("optimize_model", **OF, step={"technique": "tensorrt"})).refused("UNAVAILABLE")
            assert "--host-is jetson-orin-nano" in refusal["message"]
            answer = await agent.call("recommend_next", **OF)
            assert "On jetson-orin-nano TensorRT comes first" in answer.ok()["message"]
            assert "On jetson-orin-nano TensorRT comes first" in answer.text
    assert planted.kinds(tmp_path).count("JobStarted") == 1


async def test_a_format_that_is_wrong_for_the_device_is_refused_with_a_step_that_can_be_taken(tmp_path: Path):
    planted.plant(tmp_path, target_device="raspberry-pi-5")
    openvino = {"technique": "openvino", "precision": "int8"}
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("optimize_model", **OF, step=openvino)).refused("FORMAT_DEVICE_MISMATCH")
        assert "tflite (TFLite), onnx (ONNX Runtime)" in refusal["message"]
        first = refusal["next_calls"][0]
        assert first["arguments"]["parent"] == "baseline"
        assert first["arguments"]["step"]["technique"] in ("tflite", "int8_static")
        assert (await agent.call(first["tool"], **first["arguments"], wait_s=0)).status == "running"


async def test_a_kept_variant_of_another_format_is_packaged_where_it_deploys_alone(tmp_path: Path):
    keep = planted.worlds.DecisionMade(
        variant_id="v1", variant_sha256="", outcome="keep", by_person=False, decided_by="agent", reason=""
    )
    events = planted.variant(tmp_path, 1, "PASS", technique="openvino", format="openvino")
    planted.plant(tmp_path, *events, keep, target_device="raspberry-pi-5")
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("package_variant", **V1)).refused("FORMAT_DEVICE_MISMATCH")
        assert [call["tool"] for call in refusal["next_calls"]] == ["recommend_next"]
        found = (await agent.call("recommend_next", **OF)).ok()["recommendations"]
        assert "package_variant" not in [call["tool"] for call in found]


async def test_an_engine_of_another_machine_is_not_run(tmp_path: Path):
    events = planted.variant(tmp_path, 1, None, technique="tensorrt", format="tensorrt")
    planted.plant(tmp_path, *events, target_device="jetson-orin-nano")
    beside = tmp_path / "workspace" / "v1.onnx.json"
    async with at(settings(tmp_path)) as agent:
        beside.write_text('{"platform": "a platform of nobody"}')
        refusal = (await agent.call("benchmark_variant", **V1)).refused("FORMAT_DEVICE_MISMATCH")
        assert "a platform of nobody" in refusal["message"]
        beside.write_text("{}")
        assert (await agent.call("benchmark_variant", **V1, wait_s=0)).status == "running"


async def test_a_step_from_a_variant_that_there_is_not_is_refused_by_name(tmp_path: Path):
    planted.plant(tmp_path)
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("optimize_model", **STEP | {"parent": "v7"})).refused("UNKNOWN_VARIANT")
        assert "v7" in refusal["message"]


async def test_int8_static_needs_a_calibration_set(tmp_path: Path):
    planted.plant(tmp_path, calibration_path=None, calibration_digest=None)
    async with at(settings(tmp_path)) as agent:
        (await agent.call("optimize_model", **OF, step={"technique": "int8_static"})).refused("CALIBRATION_REQUIRED")


async def test_one_change_at_a_time_names_the_missing_measurement(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, None))
    async with at(settings(tmp_path)) as agent:
        measurements = {
            "benchmark_variant": planted.worlds.benchmarked(50, "v1"),
            "validate_variant": planted.worlds.validated(60, "v1", "PASS"),
        }
        for tool, measured in measurements.items():
            refusal = (await agent.call("optimize_model", **STEP)).refused("ONE_AT_A_TIME")
            assert [(c["tool"], c["arguments"]) for c in refusal["next_calls"]] == [(tool, V1)]
            planted.append(tmp_path, *measured)
        refusal = (await agent.call("optimize_model", **STEP | {"parent": "v1"})).refused("ONE_AT_A_TIME")
        assert [c["tool"] for c in refusal["next_calls"]] == ["decide_variant", "optimize_model"]


async def test_every_recommendation_is_a_call_that_can_be_made(tmp_path: Path):
    """From the baseline to the report: whatever is recommended is valid, and no guardrail refuses its order."""
    worlds = planted.worlds
    chapters: list[tuple[str, list[Any]]] = [
        ("optimize_model", []),
        ("benchmark_variant", planted.variant(tmp_path, 1, None)),
        ("validate_variant", worlds.benchmarked(20, "v1")),
        ("decide_variant", worlds.validated(30, "v1", "FAIL")),
    ]
    planted.plant(tmp_path)
    found: list[dict[str, Any]] = []
    async with at(settings(tmp_path)) as agent:
        for expected, events in chapters:
            if events:
                planted.append(tmp_path, *events)
            found = (await agent.call("recommend_next", **OF)).ok()["recommendations"]
            assert found[0]["tool"] == expected
            for call in found:
                agent.fits(call["tool"], call["arguments"])
                assert call["reason"] and call["rule"]
        first = found[0]
        (await agent.call(first["tool"], **first["arguments"])).ok()
