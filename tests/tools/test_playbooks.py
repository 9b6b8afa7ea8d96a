"""Playbooks: the one that fits the evidence, with calls that can be made as they stand and were not made before."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from edgeopt.contract.refusals import Code
from edgeopt.contract.steps import Step
from edgeopt.state.events import JobFailed, JobStarted, VariantCreated
from edgeopt.state.guardrails import judge
from edgeopt.state.request import Facts, Request
from edgeopt.state.session import Session
from edgeopt.tools import evidence, playbooks
from edgeopt.tools.evidence import FAILURES, of_benchmark, of_failure, of_target, of_validation
from edgeopt.tools.library import pages
from edgeopt.tools.playbooks import PLAYBOOKS, lines, read
from pydantic import TypeAdapter

from ..state import worlds
from . import planted
from .agents import at, settings

STEP: TypeAdapter[Any] = TypeAdapter(Step)
KINDS = sorted(path.stem for path in PLAYBOOKS.glob("*.md"))
CALL = re.compile(r": (\w+) (\{.*\})$")


def everything(_session: Session, _step: Step, _parent: str) -> dict[str, Any]:
    """All is installed, as far as the lookup is asked."""
    return {}


def job(step: dict[str, Any], parent: str = "baseline", number: int = 50) -> JobStarted:
    arguments = {"step": step, "parent": parent}
    return JobStarted(job_id=f"j{number}", tool="optimize_model", request=f"r{number}", arguments=arguments, spec={}, variant_id="v9")  # fmt: skip


def failed(code: str, message: str, number: int = 50) -> JobFailed:
    return JobFailed(job_id=f"j{number}", code=code, message=message)


def calls(said: list[str]) -> list[tuple[str, dict[str, Any]]]:
    return [(found[1], json.loads(found[2])) for line in said if (found := CALL.search(line))]


def steps(said: list[str]) -> list[dict[str, Any]]:
    return [arguments["step"] for tool, arguments in calls(said) if tool == "optimize_model"]


def made(number: int, technique: str, parameters: dict[str, Any], **changes: Any) -> list[Any]:
    start, event = worlds.created(10 * number, number)
    assert isinstance(event, VariantCreated)
    update = {"technique": technique, "parameters": parameters} | changes
    return [start, event.model_copy(update={"artifact": event.artifact.model_copy(update=update)})]


def test_every_playbook_names_a_page_and_every_failure_a_playbook():
    for kind in KINDS:
        book = read(kind)
        assert f"{book.knowledge}.md" in pages()
        assert book.advice and book.title
    assert set(FAILURES.values()) <= set(KINDS)
    assert not set(FAILURES) & set(Code.__args__)


def test_every_code_that_the_engine_fails_with_has_a_playbook():
    code = re.compile(r'(?:JobProblem\(\s*|Problem\(\s*code=|code=)"([A-Z_]+)"')
    root = Path(playbooks.__file__).parents[1]
    used = {name for file in (root / "engine").rglob("*.py") for name in code.findall(file.read_text())}
    assert used <= set(FAILURES) | set(Code.__args__)


def test_every_step_in_a_playbook_is_one():
    for kind in KINDS:
        for advice in read(kind).advice:
            filled = advice.arguments.replace("$precision", "fp16")
            if advice.tool == "optimize_model":
                STEP.validate_python(json.loads(filled)["step"])
            assert advice.tool is None or advice.tool == "again" or json.loads(filled) is not None


@pytest.mark.parametrize(
    ("code", "step", "message", "kind"),
    [
        ("BAD_OUTPUTS", {"technique": "int8_static"}, "output 'scores' is the same for every sample, and the parent's are not", "garbage-output"),
        ("BAD_OUTPUTS", {"technique": "float16"}, "scores: NaN or infinite where the parent's are finite", "garbage-output"),
        ("BAD_OUTPUTS", {"technique": "tflite"}, "no order of axes makes one of the other", "format-error"),
        ("BAD_OUTPUTS", {"technique": "tflite"}, "Nothing of this job was used: a link. Call the tool again", "broken-worker"),
        ("TECHNIQUE_FAILED", {"technique": "tensorrt"}, "TensorRT 10.16 builds no engine: could not find any implementation", "engine-build"),
        ("TECHNIQUE_FAILED", {"technique": "tflite"}, "onnx2tf does not convert this model. GridSample is not supported", "format-error"),
        ("TECHNIQUE_FAILED", {"technique": "export_onnx"}, "export_onnx does not cope with this model", "invalid-export"),
        ("TECHNIQUE_FAILED", {"technique": "int8_static"}, "the calibration set gave no ranges", "calibration-too-small"),
        ("OUTPUTS_DIFFER", {"technique": "openvino", "precision": "fp32"}, "they part at /conv", "invalid-export"),
        ("NOT_LOADABLE", {"technique": "openvino"}, "the new model does not run", "format-error"),
        ("MEMORY_LIMIT", {"technique": "int8_static"}, "over 4096 MB", "out-of-memory"),
        ("TIMEOUT", {"technique": "mixed_precision"}, "after 120 min", "out-of-time"),
        ("WORKER_CRASHED", {"technique": "simplify"}, "signal 11", "broken-worker"),
        ("SOMETHING_NEW", {"technique": "simplify"}, "?", "broken-worker"),
    ],
)  # fmt: skip
def test_the_evidence_chooses(code: str, step: dict[str, Any], message: str, kind: str):
    session = worlds.begun(*worlds.profiled())
    assert of_failure(code, message, "", session, job(step)).kind == kind


def test_nan_in_half_precision_and_constant_outputs_are_told_apart():
    session = worlds.begun(*worlds.profiled())
    said = " ".join(lines(of_failure("BAD_OUTPUTS", "x: NaN where", "", session, job({"technique": "float16"})), everything))  # fmt: skip
    assert "65,504" in said and "do not vary" not in said
    said = " ".join(lines(of_failure("BAD_OUTPUTS", "the same for every sample", "", session, job({"technique": "int8_static"})), everything))  # fmt: skip
    assert "do not vary" in said and "65,504" not in said


def test_the_log_of_an_engine_build_chooses_its_steps():
    session = worlds.begun(*worlds.profiled(), target_device="jetson-orin-nano")
    step = {"technique": "tensorrt", "precision": "int8"}
    memory = of_failure(
        "TECHNIQUE_FAILED", "no engine", "Device memory is insufficient to use tactic", session, job(step)
    )
    assert {"technique": "tensorrt", "precision": "int8", "workspace_mb": 256} in steps(lines(memory, _on_the_jetson))
    flags = of_failure("TECHNIQUE_FAILED", "BuilderFlag has no attribute 'FP16'", "", session, job(step))
    assert any("no precision flags" in line for line in lines(flags, _on_the_jetson))
    assert {"technique": "simplify"} in steps(lines(flags, _on_the_jetson))


def _on_the_jetson(_session: Session, _step: Step, _parent: str) -> dict[str, Any]:
    return {"architecture": "aarch64"}


def test_what_was_tried_is_said_and_not_repeated():
    fresh = worlds.begun(*worlds.profiled())
    step = {"technique": "int8_static", "per_channel": False}
    broke = failed("BAD_OUTPUTS", "the same for every sample")
    advised = steps(lines(of_failure(broke.code, broke.message, "", fresh, job(step)), everything))
    assert {"technique": "int8_static", "per_channel": True} in advised

    tried = worlds.grown(fresh, job(step), broke, job({"technique": "int8_static"}, number=51), failed("BAD_OUTPUTS", "the same for every sample", 51))  # fmt: skip
    said = lines(of_failure(broke.code, broke.message, "", tried, job(step)), everything)
    assert said[0].startswith("Tried so far") and "j50 int8_static" in said[0] and "BAD_OUTPUTS" in said[0]
    assert {"technique": "int8_static", "per_channel": True} not in steps(said)
    assert {"technique": "mixed_precision"} in steps(said)


def test_steps_that_need_what_is_not_there_are_left_out():
    bare = worlds.begun(*worlds.profiled(), calibration_path=None, calibration_digest=None)
    case = of_failure("BAD_OUTPUTS", "the same for every sample", "", bare, job({"technique": "int8_static"}))
    said = lines(case, everything)
    assert not [s for s in steps(said) if s["technique"] in ("int8_static", "mixed_precision", "qat_int8")]
    assert {"technique": "float16"} in steps(said)
    assert "analyze_sensitivity" not in [tool for tool, _ in calls(said)]


def test_a_format_of_another_device_is_not_advised():
    pi = worlds.begun(*worlds.profiled(), *made(1, "int8_static", {"per_channel": True}), *worlds.benchmarked(11, "v1", 0.8), target_device="raspberry-pi-5")  # fmt: skip
    compared = pi.variants["v1"].comparison
    assert compared
    slower = compared.model_copy(update={"speedup": compared.speedup.model_copy(update={"verdict": "slower"})})
    case = of_benchmark(pi, "v1", slower)
    assert case and case.kind == "not-faster"
    assert "openvino" not in [s["technique"] for s in steps(lines(case, everything))]


def test_a_faster_variant_and_a_pass_need_no_playbook():
    session = worlds.begun(*worlds.profiled(), *worlds.created(10, 1), *worlds.benchmarked(11, "v1"), *worlds.validated(12, "v1", "PASS"))  # fmt: skip
    record = session.variants["v1"]
    assert record.comparison and record.validation
    assert of_benchmark(session, "v1", record.comparison) is None
    assert of_validation(session, "v1", record.validation) is None
    assert of_benchmark(session, "baseline", worlds.comparison(1.0)) is None


@pytest.mark.parametrize(
    ("parameters", "drop", "kind"),
    [
        ({"per_channel": True, "calibration_samples": 256}, 0.09, "tolerance-exceeded"),
        ({"per_channel": True, "calibration_samples": 40}, 0.09, "calibration-too-small"),
        ({"per_channel": False, "calibration_samples": 40}, 0.8, "garbage-output"),
    ],
)
def test_a_failed_validation_stops_and_is_told_by_its_size(parameters: dict[str, Any], drop: float, kind: str):
    session = worlds.begun(*worlds.profiled(), *made(1, "int8_static", parameters), *worlds.benchmarked(11, "v1"), *worlds.validated(12, "v1", "FAIL"))  # fmt: skip
    judged = session.variants["v1"].validation
    assert judged
    case = of_validation(session, "v1", judged.model_copy(update={"relative_drop": drop}))
    assert case and case.kind == kind
    said = lines(case, everything)
    assert said[1].startswith("STOP.")
    decisions = [arguments for tool, arguments in calls(said) if tool == "decide_variant"]
    assert decisions[0]["outcome"] == "revert" and decisions[0]["variant_id"] == "v1"
    assert all(judge(session, Request("decide_variant", variant_id="v1", outcome=a["outcome"]), Facts(owner="uid:0", asking="chat")) is None for a in decisions)  # fmt: skip
    assert steps(said)


def test_inconclusive_says_so():
    session = worlds.begun(*worlds.profiled(), *worlds.created(10, 1), *worlds.benchmarked(11, "v1"), *worlds.validated(12, "v1", "INCONCLUSIVE"))  # fmt: skip
    judged = session.variants["v1"].validation
    case = judged and of_validation(session, "v1", judged)
    assert case and case.kind == "tolerance-exceeded"
    assert any("cannot decide" in line for line in lines(case, everything))


def test_a_slow_dynamic_int8_is_told_to_become_static_with_the_reason():
    session = worlds.begun(*worlds.profiled(), *made(1, "int8_dynamic", {"per_channel": True}), *worlds.benchmarked(11, "v1", 0.1))  # fmt: skip
    compared = session.variants["v1"].comparison
    assert compared
    slower = compared.model_copy(
        update={
            "speedup": compared.speedup.model_copy(update={"verdict": "slower"}),
            "why_not_faster": "ConvInteger is slow",
        }
    )
    case = of_benchmark(session, "v1", slower)
    said = lines(case, everything) if case else []
    assert any("ConvInteger is slow" in line for line in said)
    assert {"technique": "int8_static"} in steps(said)
    assert ("validate_variant", {"session_id": session.session_id, "variant_id": "v1"}) in calls(said)


def test_a_missed_latency_target_is_said_with_its_figures():
    assert of_target(worlds.begun(*worlds.profiled())) is None
    assert of_target(worlds.begun(*worlds.profiled(), latency_target_ms=3.0)) is None
    case = of_target(worlds.begun(*worlds.profiled(), latency_target_ms=0.5))
    assert case and case.kind == "latency-target"
    said = lines(case, everything)
    assert any("2 ms, the target is 0.5 ms" in line for line in said)
    assert ("render_report", {"session_id": case.session.session_id, "kind": "tradeoff"}) in calls(said) if case.session else False  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize(
    "technique", ["int8_static", "tflite", "openvino", "tensorrt", "float16", "int4_weights", "qat_int8"]
)
async def test_every_call_of_every_playbook_fits_its_tool(tmp_path: Path, technique: str):
    session = worlds.begun(*worlds.profiled(), *worlds.created(10, 1), *worlds.benchmarked(11, "v1"), *worlds.validated(12, "v1", "FAIL"))  # fmt: skip
    signs = frozenset({technique, "int8", "fp16", "trained", "from:onnx", "original:onnx", "calibrated", "trainable", "unsettled", *evidence._SIGNS})  # fmt: skip
    async with at(settings(tmp_path)) as agent:
        for kind in KINDS:
            words = {
                "parent": "baseline",
                "variant_id": "v1",
                "precision": "fp16",
                "why": "?",
                "best_ms": "1",
                "target_ms": "1",
            }
            case = evidence.Case(kind, signs, words, session, ("benchmark_variant", {"variant_id": "v1"}))
            for tool, arguments in calls(lines(case, everything)):
                agent.fits(tool, arguments)


@pytest.mark.anyio
async def test_a_failed_job_answers_with_its_playbook(tmp_path: Path):
    step = {"technique": "int8_static", "per_channel": False}
    broke = failed("BAD_OUTPUTS", "scores: the same for every sample, and the parent's are not")
    planted.plant(tmp_path, job(step), broke)
    async with at(settings(tmp_path)) as agent:
        answer = await agent.call("wait_for_job", session_id=planted.SESSION, job_id="j50")
        assert answer.status == "failed"
        said = answer.data["playbook"]
        assert said[-1].endswith("edgeopt://knowledge/edge_ai/garbage-output.")
        assert {"technique": "int8_static", "per_channel": True} in steps(said)
        assert all(line in answer.text for line in said)
        assert len(json.dumps(answer.data)) < 8000
        for tool, arguments in calls(said):
            agent.fits(tool, arguments)


@pytest.mark.anyio
async def test_a_verdict_that_is_no_pass_answers_with_what_to_do(tmp_path: Path):
    planted.failing(tmp_path)
    async with at(settings(tmp_path)) as agent:
        answer = await agent.call("validate_variant", session_id=planted.SESSION, variant_id="v1")
        said = answer.ok()["playbook"]
        assert any(line.startswith("STOP.") for line in said)
        assert "What to do" in answer.text
        first = next(arguments for tool, arguments in calls(said) if tool == "decide_variant")
        (await agent.call("decide_variant", **first)).ok()
