"""What a client sees before it calls anything, and what it is told when it calls wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from edgeopt.contract.measures import LayerScore
from edgeopt.server.app import INSTRUCTIONS, TOOLS
from edgeopt.state.block import StateBlock
from edgeopt.state.events import SensitivityAnalyzed
from edgeopt.state.session import BASELINE
from edgeopt.tools.answers import Reply
from jsonschema import Draft202012Validator
from mcp.shared.exceptions import MCPError

from ..state import worlds
from ..tools import planted
from ..tools.agents import ERAS, at, settings

pytestmark = pytest.mark.anyio
NAMES = {
    *("open_session", "list_sessions", "get_state", "profile_model", "recommend_next", "analyze_sensitivity"),
    *("optimize_model", "benchmark_variant", "validate_variant", "decide_variant", "package_variant"),
    *("render_report", "search_knowledge", "wait_for_job", "cancel_job"),
}
READING = {"list_sessions", "get_state", "recommend_next", "search_knowledge"}
OF = {"session_id": planted.SESSION}
OPEN: dict[str, Any] = {
    "model_path": "/nowhere/net.onnx",
    "target_device": "cpu-generic",
    "evaluation": {"dataset_path": "/nowhere/test.npz", "metric": "top1"},
}


def evaluation(**changes: Any) -> dict[str, Any]:
    return {"evaluation": OPEN["evaluation"] | changes}


def preprocessing(**changes: Any) -> dict[str, Any]:
    return evaluation(preprocessing=changes)


@pytest.mark.parametrize("mode", ERAS)
async def test_both_eras_see_the_same_fifteen_tools(tmp_path: Path, mode: Literal["auto", "legacy"]):
    async with at(settings(tmp_path), mode=mode) as agent:
        assert set(agent.tools) == NAMES
        assert list(agent.tools) == [tool.__name__ for tool, _ in TOOLS]
        assert agent.client.instructions == INSTRUCTIONS
        for name, tool in agent.tools.items():
            hints = tool.annotations
            assert hints is not None
            assert hints.read_only_hint is (name in READING)
            assert hints.destructive_hint is (name == "cancel_job")
            assert hints.open_world_hint is False


async def test_waiting_may_answer_whatever_the_tools_of_long_work_answer(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        said = {name: set((tool.output_schema or {})["properties"]) for name, tool in agent.tools.items()}
        long = [name for name, tool in agent.tools.items() if "wait_s" in tool.input_schema["properties"]]
    assert "analyze_sensitivity" in long
    assert {name: said[name] - said["wait_for_job"] for name in long} == {name: set() for name in long}


async def test_waiting_for_a_sensitivity_analysis_answers_its_layers(tmp_path: Path):
    layer = LayerScore(name="conv", op="Conv", score=0.1)
    found = SensitivityAnalyzed(
        job_id="j5", parent_id=BASELINE, layers=[layer], of=9, samples=24, confirmation="as drawn"
    )
    planted.plant(tmp_path, worlds.started(5, "analyze_sensitivity"), found)
    async with at(settings(tmp_path)) as agent:
        answer = (await agent.call("wait_for_job", **OF, job_id="j5")).ok()
    assert [said["name"] for said in answer["layers"]] == ["conv"]


async def test_descriptions_are_short_and_on_one_line(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        assert all(
            t.description and len(t.description) < 600 and "\n" not in t.description for t in agent.tools.values()
        )


async def test_every_schema_is_a_schema_and_every_output_has_the_envelope(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        for name, tool in agent.tools.items():
            assert tool.output_schema
            for schema in (tool.input_schema, tool.output_schema):
                Draft202012Validator.check_schema(schema)
                assert '"title": "' not in json.dumps(schema)
            properties = tool.output_schema["properties"]
            assert set(Reply.model_fields) <= set(properties)
            state = tool.output_schema["$defs"]["StateBlock"]["properties"]
            assert list(state) == list(StateBlock.model_fields)
            assert ("session_id" in tool.input_schema.get("required", [])) == (
                name not in ("open_session", "list_sessions", "search_knowledge")
            )


async def test_prompts_read_as_they_are_asked_for(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        prompts = {prompt.name: prompt for prompt in (await agent.client.list_prompts()).prompts}
        assert set(prompts) == {"optimize-model", "decide-tradeoff", "recover-from-error", "resume-session"}
        for name, prompt in prompts.items():
            arguments = {a.name: f"<the {a.name}>" for a in prompt.arguments or []}
            messages = (await agent.client.get_prompt(name, arguments)).messages
            text = "".join(getattr(message.content, "text", "") for message in messages)
            assert text and "$" not in text
            assert all(value in text for value in arguments.values()), name
            assert any(tool in text for tool in NAMES)


async def test_resources_show_what_is_recorded(tmp_path: Path):
    planted.failing(tmp_path)
    root = f"edgeopt://sessions/{planted.SESSION}"

    async with at(settings(tmp_path)) as agent:

        async def read(uri: str) -> str:
            (content,) = (await agent.client.read_resource(uri)).contents
            return getattr(content, "text", "")

        templates = (await agent.client.list_resource_templates()).resource_templates
        offered = {t.uri_template.removeprefix("edgeopt://sessions/{session_id}/") for t in templates}
        assert {"state", "events", "report", "variants/{variant_id}"} <= offered
        state = (await agent.call("get_state", **OF)).ok()["state"]
        block = (await read(f"{root}/state")).splitlines()
        assert block == ["<model-opt-state>", *(f"{k}: {v}" for k, v in state.items()), "</model-opt-state>"]
        events = [json.loads(line) for line in (await read(f"{root}/events")).splitlines()]
        assert [e["kind"] for e in events] == planted.kinds(tmp_path)
        assert not any("spec" in e for e in events)
        assert "| Baseline |" in await read(f"{root}/report")
        assert json.loads(await read(f"{root}/variants/v1"))["validation"]["status"] == "FAIL"
        assert json.loads(await read(f"{root}/variants/baseline"))["baseline"]["latency_ms"]["n"]
        for absent in (f"{root}/variants/v9", f"edgeopt://sessions/s_{'1' * 32}/state", f"{root}/nonsense"):
            with pytest.raises(MCPError):
                await read(absent)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("list_sessions", {"limit": None}),
        ("render_report", OF | {"kind": None}),
        ("search_knowledge", {"query": "INT8", "collection": None, "limit": None}),
    ],
)
async def test_an_optional_argument_may_be_null(tmp_path: Path, tool: str, arguments: dict[str, Any]):
    planted.failing(tmp_path)
    async with at(settings(tmp_path)) as agent:
        (await agent.call(tool, **arguments)).ok()


@pytest.mark.parametrize(
    ("tool", "arguments", "place"),
    [
        ("list_sessions", {"nonsense": 1}, "nonsense"),
        ("list_sessions", {"limit": 0}, "limit"),
        ("list_sessions", {"limit": "many"}, "limit"),
        ("get_state", {}, "session_id"),
        ("get_state", {"session_id": 7}, "session_id"),
        ("get_state", {"session_id": "s" * 10_000}, "session_id"),
        ("get_state", {"session_id": None}, "session_id"),
        ("profile_model", OF | {"iterations": 99}, "iterations"),
        ("profile_model", OF | {"iterations": 150.5}, "iterations"),
        ("profile_model", OF | {"iterations": [200]}, "iterations"),
        ("profile_model", OF | {"threads": 0}, "threads"),
        ("profile_model", OF | {"wait_s": -1}, "wait_s"),
        ("benchmark_variant", OF | {"variant_id": "v1", "iterations": 10}, "iterations"),
        ("benchmark_variant", OF, "variant_id"),
        ("decide_variant", OF | {"variant_id": "v1", "outcome": "maybe", "reason": ""}, "outcome"),
        ("decide_variant", OF | {"variant_id": "v1", "outcome": "keep"}, "reason"),
        ("decide_variant", OF | {"variant_id": "v1", "outcome": "keep", "reason": "", "by_person": True}, "by_person"),
        ("optimize_model", OF, "step"),
        ("optimize_model", OF | {"step": "simplify"}, "step"),
        ("optimize_model", OF | {"step": {}}, "technique"),
        ("optimize_model", OF | {"step": {"technique": "magic"}}, "technique"),
        ("optimize_model", OF | {"step": {"technique": "simplify", "harder": True}}, "harder"),
        ("optimize_model", OF | {"step": {"technique": "int8_static", "per_channel": "very"}}, "per_channel"),
        ("optimize_model", OF | {"step": {"technique": "int8_static", "keep_float": [1]}}, "keep_float"),
        (
            "optimize_model",
            OF | {"step": {"technique": "int8_static", "calibration_samples": 0}},
            "calibration_samples",
        ),
        ("optimize_model", OF | {"step": {"technique": "distill", "epochs": 101}}, "epochs"),
        ("optimize_model", OF | {"step": {"technique": "prune_structured", "finetune_epochs": 101}}, "finetune_epochs"),
        (
            "optimize_model",
            OF | {"step": {"technique": "prune_unstructured", "finetune_epochs": 101}},
            "finetune_epochs",
        ),
        ("render_report", OF | {"kind": "poem"}, "kind"),
        ("search_knowledge", {"query": ""}, "query"),
        ("wait_for_job", OF | {"job_id": "j1", "wait_s": 1e9}, "wait_s"),
        ("package_variant", OF | {"output_dir": {"path": "/"}}, "output_dir"),
        ("open_session", {}, "model_path"),
        ("open_session", OPEN | {"target_device": "toaster"}, "target_device"),
        ("open_session", OPEN | {"accuracy_tolerance": -0.1}, "accuracy_tolerance"),
        ("open_session", OPEN | {"model_name": "a b"}, "model_name"),
        ("open_session", OPEN | {"model_name": "../x"}, "model_name"),
        ("open_session", OPEN | {"loosened_by": "a person"}, "loosened_by"),
        ("open_session", OPEN | {"consent": {"outcome": "accept"}}, "consent"),
        ("open_session", OPEN | {"evaluation": []}, "evaluation"),
        ("open_session", OPEN | evaluation(metric="no-such-metric"), "evaluation.metric"),
        ("open_session", OPEN | evaluation(labels=[1]), "evaluation.labels"),
        ("open_session", OPEN | preprocessing(scales=1), "evaluation.preprocessing.scales"),
        ("open_session", OPEN | preprocessing(scale=0), "evaluation.preprocessing.scale"),
        ("open_session", OPEN | preprocessing(mean=[]), "evaluation.preprocessing.mean"),
        ("open_session", OPEN | preprocessing(mean=["nan"]), "evaluation.preprocessing.mean"),
        ("open_session", OPEN | preprocessing(std=[0.0]), "evaluation.preprocessing.std"),
        ("open_session", OPEN | preprocessing(std=["inf"]), "evaluation.preprocessing.std"),
        ("open_session", OPEN | {"latency_target_ms": "inf"}, "latency_target_ms"),
        ("open_session", OPEN | preprocessing(layout="CHWN"), "evaluation.preprocessing.layout"),
        ("open_session", OPEN | preprocessing(resize=[1, 2, 3]), "evaluation.preprocessing.resize"),
        ("open_session", OPEN | preprocessing(resize=-5), "evaluation.preprocessing.resize"),
    ],
)
async def test_wrong_arguments_are_named_at_any_depth(tmp_path: Path, tool: str, arguments: dict[str, Any], place: str):
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call(tool, **arguments)).refused("INVALID_ARGUMENT")
    assert place in refusal["message"]
    assert refusal["missing"]


async def test_a_tool_that_is_not_there_is_not_called_a_fault_of_the_server(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        answer = await agent.call("optimise_model", **OF)
    refusal = answer.refused("INVALID_ARGUMENT")
    assert "optimise_model" in refusal["message"]
    assert "optimize_model" in refusal["message"]


async def test_what_is_not_there_is_said(tmp_path: Path):
    planted.failing(tmp_path)
    async with at(settings(tmp_path)) as agent:
        for session_id in ("", "nope", "s_" + "f" * 32, "s_" + "0" * 31, "../../etc"):
            (await agent.call("get_state", session_id=session_id)).refused("UNKNOWN_SESSION")
        (await agent.call("wait_for_job", **OF, job_id="j999")).refused("UNKNOWN_JOB")
        (await agent.call("cancel_job", **OF, job_id="../x")).refused("UNKNOWN_JOB")
        (await agent.call("benchmark_variant", **OF, variant_id="v999")).refused("UNKNOWN_VARIANT")
        (await agent.call("search_knowledge", query="quantization", collection="cooking")).refused("INVALID_ARGUMENT")
