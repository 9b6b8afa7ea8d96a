# pyright: reportMissingImports=false
"""The scenarios as Inspect AI tasks: `inspect eval evals/inspect_tasks.py --model PROVIDER/MODEL`.

The model gets the tools over MCP and the scenario's prompt, nothing else, and is scored like the scripted agents: on the store and the
files, and on the numbers of its last message. `--model mockllm/model` plays the scripted agents through Inspect's loop: each call
of theirs is a tool call of the mock model.

This file imports nothing of edgeopt, so Inspect may live in an environment of its own, with an MCP SDK of its own. EDGEOPT_PYTHON then
names the Python that has edgeopt.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessageTool, ModelOutput, execute_tools
from inspect_ai.scorer import Score, Scorer, Target, accuracy, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.tool import mcp_connection, mcp_server_stdio

PYTHON = os.environ.get("EDGEOPT_PYTHON", sys.executable)
APART = [PYTHON, "-P", "-m", "edgeopt.evals.apart"]
MOCK = "mockllm"
# Messages after which a model that goes in circles is stopped.
MOST_MESSAGES = 200


def _asked(*arguments: str, text: str = "") -> Any:
    """What edgeopt's own environment answers."""
    done = subprocess.run([*APART, *arguments], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(APART)} {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}"
        )
    return json.loads(done.stdout)


@task
def guardrails(only: str = "") -> Task:
    """The scenarios that a model can be told, or those of `only` (names, comma-separated: -T only=noise,stack)."""
    names = [name for name in only.split(",") if name]
    wanted = [s for s in _asked("list") if not s["scripted_only"] and (not names or s["name"] in names)]
    samples = [Sample(id=s["name"], input=s["title"], target=s["breach"]) for s in wanted]
    return Task(dataset=samples, solver=plays(), scorer=[held(), packaged(), supported()], message_limit=MOST_MESSAGES)


@solver
def plays() -> Solver:
    """Prepares the scenario's world, and lets the model play in it over MCP."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        root = str(Path(tempfile.mkdtemp(prefix="edgeopt-inspect-")) / "place")
        world = _asked("prepare", str(state.sample_id), root)
        state.metadata["root"] = root
        state.messages[-1].content = world["prompt"]
        env = {name: value for name, value in os.environ.items() if name not in world["not_handed_on"]}
        tools = mcp_server_stdio(name="edgeopt", command=world["command"], args=world["args"], env=env)
        async with mcp_connection(tools):
            state.tools = list(await tools.tools())
            if state.model.api == MOCK:
                return await _scripted(state, root)
            return await generate(state, tool_calls="loop")

    return solve


async def _scripted(state: TaskState, root: str) -> TaskState:
    """The scripted agent in the place of the model: its calls are made and answered as a model's are."""
    command = [*APART, "mirror", str(state.sample_id), root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdin and agent.stdout
        while "said" not in (move := json.loads(agent.stdout.readline())):
            state.output = ModelOutput.for_tool_call(MOCK, move["tool"], move["arguments"])
            state.messages.append(state.output.message)
            answered = await execute_tools(state.messages, state.tools)
            state.messages += answered.messages
            agent.stdin.write(json.dumps(_shown(answered.messages[-1])) + "\n")
            agent.stdin.flush()
    state.output = ModelOutput.from_content(MOCK, move["said"])
    state.messages.append(state.output.message)
    return state


def _shown(message: Any) -> dict[str, Any]:
    """What a model is shown of a tool's answer: its text, or that of the error that it was."""
    assert isinstance(message, ChatMessageTool), message
    error = message.error
    return {"text": message.text or (error.message if error else ""), "error": error is not None}


def _scored(state: TaskState) -> Any:
    mode = "scripted" if state.model.api == MOCK else "model"
    return _asked("score", str(state.sample_id), state.metadata["root"], mode, text=state.output.completion)


@scorer(metrics=[accuracy()])
def held() -> Scorer:
    """Whether the guardrails held: 1, or 0 with the breaches."""

    async def score(state: TaskState, target: Target) -> Score:
        breaches = _scored(state)["breaches"]
        return Score(
            value=0 if breaches else 1, explanation="; ".join(breaches) or f"held; a breach would be: {target.text}"
        )

    return score


@scorer(metrics=[accuracy()])
def packaged() -> Scorer:
    """Whether a session came to a verified package; a guardrail may well be why not."""

    async def score(state: TaskState, target: Target) -> Score:
        return Score(value=int(_scored(state)["completed"]))

    return score


@scorer(metrics=[mean()])
def supported() -> Scorer:
    """The share of the numbers in the last message that are measured; 1 where it has none."""

    async def score(state: TaskState, target: Target) -> Score:
        claims = _scored(state)["claims"]
        good = sum(c["mark"] == "measured" for c in claims)
        marks = "; ".join(f"{c['claim']}: {c['mark']}" for c in claims)
        return Score(value=good / len(claims) if claims else 1.0, explanation=marks or "no numbers")

    return score
