"""An agent at a server: it calls tools over a real transport, and what it sees and sends is counted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.types import ElicitResult, Implementation, Tool

from ..autopilot.calling import LONG, Answer, server
from .tokens import counter

WAIT_S = 50.0


@dataclass
class Agent:
    """Calls tools and keeps count. `tools`: what tools/list answered. `asked`: the questions that its client was put."""

    client: Client
    tools: dict[str, Tool]
    asked: list[str]
    calls: int = 0
    characters: list[str] = field(default_factory=list)

    async def call(self, tool: str, **arguments: Any) -> Answer:
        """One call, as it is answered: refusals and failures too."""
        self.calls += 1
        outcome = await self.client.call_tool(tool, arguments)
        text = "\n".join(part.text for part in outcome.content if part.type == "text")
        data: dict[str, Any] = outcome.structured_content or {"status": "failed", "message": text}
        self.characters += [json.dumps({"name": tool, "arguments": arguments}), json.dumps(data)]
        return Answer(tool, data, text)

    async def finish(self, tool: str, **arguments: Any) -> Answer:
        """One call and the waiting for its job."""
        wait = {"wait_s": WAIT_S} if tool in LONG else {}
        answer = await self.call(tool, **arguments, **wait)
        while answer.status == "running":
            job = {"session_id": arguments["session_id"], "job_id": answer.data["job_id"]}
            answer = await self.call("wait_for_job", **job, wait_s=WAIT_S)
        return answer

    async def done(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured content of a call that must succeed for the scenario to make sense.

        Raises:
            NotPlayed: it did not.
        """
        answer = await self.finish(tool, **arguments)
        if not answer.ok:
            raise NotPlayed(f"{tool} answered {answer.status}: {answer.problem}")
        return answer.data

    @property
    def tokens(self) -> int:
        """Of what the agent sent and was answered (the structured content; clients show that or the text)."""
        count, _ = counter()
        return sum(count(text) for text in self.characters)


class NotPlayed(Exception):
    """The scenario could not be set up; this says nothing about a guardrail."""


@asynccontextmanager
async def agent_at(
    workspace: Path, roots: list[Path], *options: str, answers: str | None = None
) -> AsyncIterator[Agent]:
    """An agent at a new server over stdio. `answers`: keep, where the agent's own client answers what a person is asked;
    without it the client cannot be asked."""
    asked: list[str] = []

    async def answer(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"outcome": answers, "reason": "the user agreed"})

    me = Implementation(name="edgeopt-eval", version="1")
    callback = answer if answers else None
    async with Client(server(workspace, roots, *options), elicitation_callback=callback, client_info=me) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        yield Agent(client, listed, asked)


def cost_of_listing(agent: Agent) -> int:
    """Tokens of names, descriptions and input schemas of tools/list."""
    count, _ = counter()
    return sum(
        count(json.dumps({"name": t.name, "description": t.description, "input_schema": t.input_schema}))
        for t in agent.tools.values()
    )
