"""An agent at a real server, in memory: every answer is held against the contract before a test sees it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgeopt.server.app import build
from edgeopt.state.block import StateBlock
from edgeopt.tools.workshop import Settings
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult, Implementation, Tool

ERAS: tuple[Literal["auto", "legacy"], ...] = ("auto", "legacy")
STATE_FIELDS = list(StateBlock.model_fields)


@dataclass
class Person:
    """Somebody behind the client who answers as told: keep | revert | decline | cancel (or a form of one's own).
    `meanwhile` happens between the question and the answer."""

    answers: list[str | dict[str, Any]]
    meanwhile: Callable[[], object] | None = None
    asked: list[str] = field(default_factory=list)

    async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        self.asked.append(params.message)
        answer = self.answers.pop(0)
        if self.meanwhile:
            self.meanwhile()
        if answer == "decline":
            return ElicitResult(action="decline")
        if answer == "cancel":
            return ElicitResult(action="cancel")
        form: dict[str, Any] = {"outcome": answer, "reason": "checked on the bench"}
        form = answer if isinstance(answer, dict) else form
        return ElicitResult(action="accept", content=form)


@dataclass(frozen=True)
class Answer:
    tool: str
    data: dict[str, Any]
    text: str
    progress: list[tuple[float, float | None, str | None]]

    @property
    def status(self) -> str:
        return self.data["status"]

    def ok(self) -> dict[str, Any]:
        """The structured content of a success."""
        assert self.status == "ok", (
            f"{self.tool}: {self.status}: {self.data.get('refusal') or self.data.get('message')}"
        )
        return self.data

    def refused(self, *codes: str) -> dict[str, Any]:
        """The refusal, which has one of these codes."""
        assert self.status == "refused", f"{self.tool}: {self.status}: {self.text[:800]}"
        assert self.data["refusal"]["code"] in codes, self.data["refusal"]
        return self.data["refusal"]


@dataclass
class Agent:
    """Calls tools. Whatever comes back must keep the contract's promises about every answer."""

    client: Client
    tools: dict[str, Tool]

    async def call(self, tool: str, **arguments: Any) -> Answer:
        told: list[tuple[float, float | None, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append((progress, total, message))

        outcome = await self.client.call_tool(tool, arguments, progress_callback=note)
        assert isinstance(outcome.structured_content, dict), f"{tool}: no structured content: {outcome.content}"
        text = "\n".join(part.text for part in outcome.content if part.type == "text")
        answer = Answer(tool, outcome.structured_content, text, told)
        self._keeps_the_contract(answer, is_error=bool(outcome.is_error))
        return answer

    async def finish(self, tool: str, **arguments: Any) -> Answer:
        """Calls, and waits for the job where it takes longer."""
        answer = await self.call(tool, **arguments)
        while answer.status == "running":
            waiting = {"session_id": arguments["session_id"], "job_id": answer.data["job_id"], "wait_s": 50}
            answer = await self.call("wait_for_job", **waiting)
        return answer

    def _keeps_the_contract(self, answer: Answer, *, is_error: bool) -> None:
        data = answer.data
        if answer.tool in self.tools:
            Draft202012Validator(self.tools[answer.tool].output_schema).validate(data)  # pyright: ignore[reportArgumentType]
        assert is_error == (answer.status in ("refused", "failed"))
        assert (answer.status == "refused") == (data.get("refusal") is not None)
        assert "Traceback (most recent call last)" not in answer.text
        state = data["state"]
        if state is not None:
            assert list(state) == STATE_FIELDS
            assert answer.text.rstrip().endswith("</model-opt-state>")
        if answer.status == "refused":
            self._is_a_way_out(answer)
        if answer.status == "failed":
            assert data["message"] and data["playbook"]
            assert not data["log_tail"] or data["log_tail"].startswith("[untrusted")

    def _is_a_way_out(self, answer: Answer) -> None:
        """A refusal says the rule and the reason, the same in text, and its next calls can be made as they stand."""
        refusal = answer.data["refusal"]
        assert refusal["guardrail"] and refusal["message"]
        assert json.loads(answer.text.split("\n\n<model-opt-state>")[0])["refusal"] == refusal
        assert len(answer.text) < 8000
        # What to open, and with what, only the caller knows.
        assert (
            refusal["next_calls"]
            or answer.tool not in self.tools
            or answer.tool in ("open_session", "search_knowledge")
        )
        for call in refusal["next_calls"]:
            assert call["why"]
            self.fits(call["tool"], call["arguments"])

    def fits(self, tool: str, arguments: dict[str, Any]) -> None:
        """The arguments are what the tool's schema says: the call can be made as it stands."""
        schema: Any = self.tools[tool].input_schema
        Draft202012Validator(schema).validate(arguments)
        assert set(arguments) <= set(schema["properties"])


@asynccontextmanager
async def at(
    settings: Settings, person: Person | None = None, mode: Literal["auto", "legacy"] = "auto"
) -> AsyncIterator[Agent]:
    """An agent at a new server with these settings; without a person the client cannot ask anybody."""
    me = Implementation(name="test-client", version="7")
    async with Client(build(settings), elicitation_callback=person, mode=mode, client_info=me) as client:
        yield Agent(client, {tool.name: tool for tool in (await client.list_tools()).tools})


def settings(folder: Path, **more: Any) -> Settings:
    """A workspace in `folder`, in which models and data may lie too."""
    return Settings(workspace=folder / "workspace", allow_roots=(folder,), **more)
