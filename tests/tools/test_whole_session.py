"""A finished session of a real model: what every phase answered, what is recorded, what is on the disk."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from edgeopt.drawing import png
from edgeopt.state.events import CallRefused

from . import planted
from .agents import at, settings
from .finished import Finished

LABEL = "Host Estimate (not target hardware)"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def data(finished: Finished, step: str) -> dict[str, Any]:
    return finished.answers[step].data


def history(finished: Finished) -> list[str]:
    return planted.kinds(finished.folder, finished.session_id)


def test_opening_checks_everything_beforehand(finished: Finished):
    opened = data(finished, "open_session")
    items = {item["item"]: item["ok"] for item in opened["preflight"]}
    assert len(items) >= 9
    assert [name for name, ok in items.items() if not ok] == [
        "Latency target defined",
        "Calibration dataset available",
        "Training dataset available",
        *(["Workers are sandboxed"] if not items["Workers are sandboxed"] else []),
    ]
    assert opened["model"]["operators"] == {"MatMul": 1}
    state = opened["state"]
    assert (state["phase"], state["baseline_latency_ms"], state["baseline_accuracy"]) == (
        "PROFILE",
        "unmeasured",
        "unmeasured",
    )
    assert (state["accuracy_tolerance"], state["optimizations_applied"]) == ("2%", "none")
    assert state["original_model_path"] == str(finished.folder / "net.onnx")


def test_the_baseline_is_measured_and_says_where(finished: Finished):
    baseline = data(finished, "profile_model")["baseline"]
    latency = baseline["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert (latency["n"], latency["p99_is_bound"]) == (100, False)
    assert baseline["file_size_bytes"] == (finished.folder / "net.onnx").stat().st_size
    assert baseline["peak_memory_mb"] > 5
    assert 0.8 < baseline["accuracy"]["value"] < 1
    assert baseline["accuracy"]["n"] == 60
    assert (baseline["where"], baseline["label"]) == ("host_estimate", LABEL)
    assert baseline["throughput_per_s"] == pytest.approx(1000 / latency["mean"], rel=0.01)
    assert data(finished, "profile_model")["state"]["phase"] == "OPTIMIZE"


def test_long_work_says_how_far_it_has_got(finished: Finished):
    for tool in ("profile_model", "benchmark_variant"):
        progress = finished.answers[tool].progress
        done = [how_far for how_far, _, _ in progress]
        assert len(done) > 1
        assert done == sorted(set(done))
        assert all(total == 1 and message for _, total, message in progress)


def test_a_call_before_its_time_is_refused_with_the_state_and_stays_in_the_history(finished: Finished):
    refusal = finished.answers["too early"].refused("BASELINE_REQUIRED")
    assert [c["tool"] for c in refusal["next_calls"]] == ["profile_model"]
    assert data(finished, "too early")["state"]["phase"] == "PROFILE"
    events = planted.recorded(finished.folder, finished.session_id).history
    refusals = [r.event for r in events if isinstance(r.event, CallRefused)]
    assert [(r.tool, r.code) for r in refusals[:2]] == [
        ("optimize_model", "BASELINE_REQUIRED"),
        ("benchmark_variant", "SESSION_BUSY"),
    ]


def test_the_same_call_joins_the_running_job_and_another_is_told_to_wait(finished: Finished):
    job = data(finished, "started")["job_id"]
    assert finished.answers["started"].status == finished.answers["joined"].status == "running"
    assert data(finished, "joined")["job_id"] == job
    busy = finished.answers["busy"].refused("SESSION_BUSY")
    assert busy["next_calls"][0]["arguments"] == {"session_id": finished.session_id, "job_id": job}
    assert data(finished, "optimize_model")["job_id"] == job


def test_the_baseline_is_read_again_while_another_job_runs(finished: Finished):
    again = finished.answers["profiled again"].ok()
    assert again["baseline"] == data(finished, "profile_model")["baseline"]
    assert again["job_id"] == data(finished, "profile_model")["job_id"]


def test_a_variant_is_a_new_file_named_after_what_was_done(finished: Finished):
    variant = data(finished, "optimize_model")["variant"]
    path = Path(variant["path"])
    assert path.name == "net_simplify_fp32.onnx"
    assert path.is_relative_to(finished.workspace)
    assert (sha256(path), path.stat().st_size) == (variant["sha256"], variant["size_bytes"])
    assert (variant["parent_id"], variant["technique"], variant["status"]) == ("baseline", "simplify", "created")


def test_both_models_are_timed_in_one_run(finished: Finished):
    comparison = data(finished, "benchmark_variant")["comparison"]
    low, high = comparison["speedup"]["ci95"]
    assert low <= comparison["speedup"]["value"] <= high
    assert comparison["baseline"]["measurement_id"] != comparison["variant"]["measurement_id"]
    assert {comparison[side]["label"] for side in ("baseline", "variant")} == {LABEL}
    assert LABEL in finished.answers["benchmark_variant"].text


def test_the_same_function_passes_by_parity(finished: Finished):
    validation = data(finished, "validate_variant")["validation"]
    assert (validation["status"], validation["delta"], validation["changed_decisions"]) == ("PASS", 0, 0)
    assert (validation["samples"], validation["tolerance"], validation["decision_required"]) == (60, "2%", False)
    assert validation["baseline"] == data(finished, "profile_model")["baseline"]["accuracy"]["value"]


def test_the_package_stands_alone_and_says_where_it_comes_from(finished: Finished):
    package = data(finished, "package_variant")["package"]
    folder = Path(package["path"])
    assert package["verified"]
    assert {f["name"]: f["sha256"] for f in package["files"]} == {
        str(p.relative_to(folder)): sha256(p) for p in folder.rglob("*") if p.is_file()
    }
    told = json.loads((folder / "metadata.json").read_text())
    assert told["original"]["files"][0]["sha256"] == sha256(finished.folder / "net.onnx")
    assert [d["decided_by"] for d in told["decisions"]] == ["agent"]
    assert told["variant"]["sha256"] == sha256(folder / "net_simplify_fp32.onnx")
    ran = subprocess.run([sys.executable, "-I", "infer.py", "--verify"], cwd=folder, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_the_report_shows_every_number_with_its_label(finished: Finished):
    rendered = data(finished, "render_report")
    for words in ("| Baseline |", "v1 simplify (kept)", "Speedup", LABEL):
        assert words in rendered["markdown"]
    markdown, page, picture, *as_png = map(Path, rendered["files"])
    assert [file.suffix for file in as_png] == ([] if png.lacking() else [".png"])
    assert markdown.read_text() == rendered["markdown"]
    assert LABEL in page.read_text() and "Speedup" in page.read_text()
    assert LABEL in picture.read_text()


def test_what_was_derived_of_the_preprocessing_is_told(finished: Finished):
    told = data(finished, "open_session")["preprocessing"]
    assert (told["dtype"], told["scale"]) == ("float32", None)


def test_the_end_is_known_as_such(finished: Finished):
    state = data(finished, "get_state")
    assert all(c["met"] for c in state["completion"])
    assert len(state["completion"]) == 6
    assert state["state"]["phase"] == "PACKAGE"
    assert state["state"]["optimizations_applied"] == "simplify"
    assert state["state"]["next_action"] == "none: the session is complete"
    assert [v["variant_id"] for v in state["variants"]] == ["baseline", "v1"]
    assert [v["status"] for v in state["variants"]] == ["original", "kept"]


def test_every_job_is_recorded_once(finished: Finished):
    kinds = history(finished)
    assert kinds.count("JobStarted") == 5
    for kind in ("BaselineMeasured", "VariantCreated", "VariantBenchmarked", "VariantValidated", "PackageBuilt"):
        assert kinds.count(kind) == 1


@pytest.mark.anyio
async def test_another_server_reads_the_same_results_again(finished: Finished):
    """Nothing is measured twice: the recorded answers come back, word for word."""
    of = {"session_id": finished.session_id}
    before = history(finished)
    async with at(settings(finished.folder)) as agent:
        again = (await agent.call("profile_model", **of, iterations=100)).ok()
        assert again["baseline"] == data(finished, "profile_model")["baseline"]
        again = (await agent.call("validate_variant", **of, variant_id="v1")).ok()
        assert again["validation"] == data(finished, "validate_variant")["validation"]
        lines = (await agent.call("list_sessions")).ok()["sessions"]
        assert [line["session_id"] for line in lines] == [finished.session_id]
        for job in planted.recorded(finished.folder, finished.session_id).jobs.values():
            (await agent.call("wait_for_job", **of, job_id=job.job_id, wait_s=0)).ok()
    assert history(finished) == before


@pytest.mark.anyio
async def test_a_baseline_is_immutable(finished: Finished):
    async with at(settings(finished.folder)) as agent:
        answer = await agent.call("profile_model", session_id=finished.session_id, iterations=101)
    assert "immutable" in answer.refused("INVALID_ARGUMENT")["message"]


def test_answers_are_small(finished: Finished):
    """2,000 tokens of o200k: hashes take a token every other character, words one every four; 3 is a fair average."""
    for step, answer in finished.answers.items():
        assert len(json.dumps(answer.data)) < 6000, step
        assert len(answer.text) < 6000, step
