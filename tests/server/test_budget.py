"""What edgeopt costs a model's context, in tokens of o200k: the listing of the tools, and every answer of a session.

`rs_bpe` carries the vocabulary in its wheel. On the listing it counted the same as `gpt-tokenizer`, which `make clients`
uses for a second opinion.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from edgeopt.contract.measures import TensorInfo

from ..tools import planted
from ..tools.agents import Answer, at, settings
from ..tools.finished import Finished

o200k = pytest.importorskip("rs_bpe", reason="pip install -e '.[dev]'").bpe.openai.o200k_base()
pytestmark = pytest.mark.anyio
LISTING, ANSWER = 5_000, 2_000
OF = {"session_id": planted.SESSION}


def tokens(value: Any) -> int:
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return o200k.count(text)


def fits(name: str, answer: Answer) -> None:
    """Clients show a model the structured content, or the text: either must fit."""
    assert tokens(answer.data) <= ANSWER, name
    assert tokens(answer.text) <= ANSWER, name


def test_the_counter_counts_as_gpt_tokenizer_does():
    assert tokens("hello world") == 2
    assert tokens("0123456789abcdef" * 8) == 40
    assert tokens({"session_id": "s_0f3a", "step": {"technique": "int8_static"}}) == 20
    assert tokens("Modèle à 2 % près: INCONCLUSIVE → 模型") == 14


async def test_the_listing_leaves_room(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        said = {
            name: tokens({"name": name, "description": tool.description, "inputSchema": tool.input_schema})
            for name, tool in agent.tools.items()
        }
        instructions = agent.client.instructions or ""
    assert sum(said.values()) <= LISTING, said
    assert tokens(instructions) <= 300


async def test_every_answer_of_a_session_is_small(finished: Finished):
    assert len(finished.answers) > 10
    for name, answer in finished.answers.items():
        fits(name, answer)


async def test_a_session_of_forty_variants_answers_as_briefly(tmp_path: Path):
    long_ago = [event for n in range(1, 40) for event in planted.variant(tmp_path, n, "PASS")]
    planted.plant(tmp_path, *long_ago, *planted.variant(tmp_path, 40, "FAIL"))
    async with at(settings(tmp_path)) as agent:
        for tool in ("get_state", "recommend_next", "render_report", "list_sessions"):
            fits(tool, await agent.call(tool, **({} if tool == "list_sessions" else OF)))
        fits("summary", await agent.call("render_report", **OF, kind="summary"))
        fits("a refusal", await agent.call("optimize_model", **OF, step={"technique": "simplify"}))
        wrong = {f"argument_{n}" * 20: n for n in range(40)}
        fits("wrong arguments", await agent.call("get_state", **OF, **wrong))


async def test_many_tensors_and_many_names_of_layers_are_told_briefly(tmp_path: Path):
    tensors = [
        TensorInfo(name=f"past_key_values.{n}.key", dtype="float32", shape=[None, 12, None, 64]) for n in range(100)
    ]
    named = {"keep_float": [f"/model/decoder/layers.{n}/self_attn/q_proj/MatMul" for n in range(150)]}
    model = planted.worlds.opened().model.model_copy(update={"inputs": tensors, "outputs": tensors})
    made = [event for n in range(1, 6) for event in planted.variant(tmp_path, n, "PASS", parameters=named)]
    planted.plant(tmp_path, *made, model=model)
    async with at(settings(tmp_path)) as agent:
        fits("get_state", await agent.call("get_state", **OF))
        for job in ("j1", "j50"):
            answer = await agent.call("wait_for_job", **OF, job_id=job)
            answer.ok()
            fits(job, answer)
        assert answer.data["variant"]["parameters"]["keep_float"][-1] == "and 142 more"
