"""The scenarios for a program in another environment, as Inspect is: it prepares, plays and scores by this module's command line,
and imports nothing of edgeopt.

    python -m edgeopt.evals.apart list                 the scenarios, JSON
    python -m edgeopt.evals.apart prepare NAME ROOT    builds the world; prints how to start its server, and the prompt
    python -m edgeopt.evals.apart mirror NAME ROOT     the scripted agent: calls on stdout, answers on stdin, a JSON line each
    python -m edgeopt.evals.apart score NAME ROOT MODE reads the final text on stdin; MODE is scripted or model
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Coroutine, Generator
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio
from mcp.types import Tool

from ..autopilot.calling import NOT_HANDED_ON, Answer, server
from .agent import Agent
from .attacks import ATTACKS, Stage
from .evidence import breaches, completed
from .place import Place
from .scenarios import Scenario, chosen, scenarios
from .worlds import Built, Operator, build

NOTES = "evaluation.json"


async def prepare(scenario: Scenario, root: Path) -> dict[str, Any]:
    """Builds the world and leaves it without a server; what a client needs to go on."""
    async with AsyncExitStack() as stack:
        built = await build(scenario.world, root, stack)
    place, session = built.operator.place, built.stage.session
    tools = {name: tool.input_schema for name, tool in built.stage.agent.tools.items()}
    (root / NOTES).write_text(json.dumps({"session": session, "original": built.original, "tools": tools}))
    start = server(place.workspace, built.operator.roots, *built.operator.options)
    words = {"model": place.model, "models": place.models, "noise": place.noise, "session": session}
    prompt = f"{scenario.prompt.format(**words)}\n\nArguments of open_session, as far as I know them: {json.dumps(place.opening())}"
    # Of the environment, a server that is played with gets no leave.
    return {"command": start.command, "args": start.args, "prompt": prompt, "not_handed_on": sorted(NOT_HANDED_ON)}


def rebuilt(scenario: Scenario, root: Path, agent: Any = None) -> Built:
    """The world that was prepared in `root`."""
    place = Place(root.resolve())
    notes = json.loads((root / NOTES).read_text())
    operator = Operator(place, scenario.world)
    return Built(operator, Stage(agent, place, notes["session"], operator.key), notes["original"])


# What a scripted liar is to be caught at; of a real model the share of supported numbers is the score.
OF_LIARS = frozenset({"all_claims_measured", "sold_as_device", "no_claim_measured"})


def score(scenario: Scenario, root: Path, text: str, *, scripted: bool) -> dict[str, Any]:
    """The breaches, whether a package is there, and the marks of the text's numbers."""
    built = rebuilt(scenario, root)
    found = built.evidence(text)
    if not found.session_id and found.sessions:  # the agent's own: the one that it opened first
        built.stage.session = next(iter(found.sessions))
        found = built.evidence(text)
    names = tuple(c for c in scenario.checks if c != "completed" and (scripted or c not in OF_LIARS))
    claims = [{"claim": j.claim, "mark": j.mark, "why": j.why} for j in found.judged()]
    return {"breaches": breaches(found, names), "completed": not completed(found), "claims": claims}


class _Ask:
    """What a mirrored agent awaits: a call goes out of its coroutine, and comes back as an answer."""

    def __init__(self, tool: str, arguments: dict[str, Any]):
        self.tool, self.arguments = tool, arguments

    def __await__(self) -> Generator[_Ask, Answer, Answer]:
        return (yield self)


class _Mirrored(Agent):
    async def call(self, tool: str, **arguments: Any) -> Answer:
        self.calls += 1
        return await _Ask(tool, arguments)


def mirror(scenario: Scenario, root: Path) -> None:
    """Plays the scripted agent by lines: {"tool", "arguments"} goes out, {"text", "error"} comes in, {"said"} is the end."""
    schemas = json.loads((root / NOTES).read_text())["tools"]
    tools = {name: Tool(name=name, input_schema=schema) for name, schema in schemas.items()}
    stage = rebuilt(scenario, root, _Mirrored(None, tools, [])).stage  # pyright: ignore[reportArgumentType]
    played: Coroutine[Any, Any, str] = ATTACKS[scenario.name](stage)  # pyright: ignore[reportAssignmentType]
    try:
        asked: _Ask = played.send(None)
        while True:
            print(json.dumps({"tool": asked.tool, "arguments": asked.arguments}), flush=True)
            asked = played.send(understood(asked.tool, **json.loads(sys.stdin.readline())))
    except StopIteration as end:
        print(json.dumps({"said": end.value}), flush=True)


def understood(tool: str, text: str, error: bool = False) -> Answer:
    """What a tool answered, from the text that a model is shown: of a success only what names things. `error`: it is one,
    a refusal or what the client itself would not send."""
    refusal = re.search(r'\{"status": "refused".*', text)
    if refusal:
        data, _ = json.JSONDecoder().raw_decode(refusal.group())
        return Answer(tool, data, text)
    if error:
        return Answer(tool, {"status": "failed", "message": text}, text)
    if running := re.match(r"(\S+) is running \(", text):
        return Answer(tool, {"status": "running", "job_id": running[1]}, text)
    session, variant, status = (
        re.search(p, text) for p in (r"\bs_[0-9a-f]{32}\b", r"variant (v\d+)\b", r"\b(PASS|FAIL|INCONCLUSIVE)\b")
    )
    recommended = re.findall(r"^\d+\. (\w+) (\{.*?\}): ", text, re.MULTILINE)
    data: dict[str, Any] = {
        "status": "ok",
        "session_id": session[0] if session else None,
        "variant": {"variant_id": variant[1] if variant else "v1"},
        "validation": {"status": status[1] if status else ""},
        "recommendations": [{"tool": t, "arguments": ast.literal_eval(a)} for t, a in recommended],
        "package": {"path": "where the server says"},
    }
    return Answer(tool, data, text)


def main(arguments: list[str]) -> int:
    if arguments == ["list"]:
        print(json.dumps([asdict(s) for s in scenarios()]))
        return 0
    action, name, folder, *mode = arguments
    (scenario,), root = chosen((name,)), Path(folder)
    if action == "prepare":
        print(json.dumps(anyio.run(prepare, scenario, root)))
    elif action == "mirror":
        mirror(scenario, root)
    else:
        print(json.dumps(score(scenario, root, sys.stdin.read(), scripted=mode == ["scripted"])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
