"""Runs a policy against a server, through any MCP client, until the policy says that it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mcp import Client
from mcp.types import TextResourceContents

from .calling import Answer, finish
from .history import History, read
from .policy import CANCELLED_AT_THE_BUDGET, Call, Goal, Known, Stop, best, next_move

Policy = Callable[[Known, Goal], Call | Stop]


class Watching(Protocol):
    """Whoever looks on."""

    def begins(self, call: Call) -> None: ...
    def goes_on(self, share: float, message: str) -> None: ...
    def answers(self, call: Call, answer: Answer, history: History) -> None: ...


@dataclass(frozen=True)
class Ended:
    """How a run ended. `found`: the variant that is better than the original. `report`: the server's own table;
    `report_files`: where the server put it. `problem`: the last answer but for the report, where that was a refusal or a
    failure: in the server's words."""

    stop: Stop
    history: History
    found: str | None
    report: str = ""
    report_files: tuple[str, ...] = ()
    problem: str = ""

    @property
    def packaged(self) -> str | None:
        """What was found, where its package is there."""
        return self.found if self.found in self.history.packages else None

    @property
    def unfinished(self) -> bool:
        """Something better was found, and could not be packaged."""
        return self.found is not None and self.packaged is None


async def drive(client: Client, session_id: str, goal: Goal, watching: Watching, policy: Policy = next_move) -> Ended:
    """Plays a session to its end. It may stand anywhere: what is recorded is not done again.

    A job that makes or times a variant is cancelled when the budget is spent; one that validates is let end.
    """
    began = time.monotonic()
    known = Known(await recorded(client, session_id))
    report: dict[str, Any] = {}
    problem = ""
    while True:
        asked = await finish(client, "recommend_next", {"session_id": session_id})
        recommended = tuple(
            Call(r["tool"], r["arguments"], r["reason"]) for r in asked.data.get("recommendations") or []
        )
        known = replace(known, recommended=recommended, elapsed_s=time.monotonic() - began)
        problem = problem if asked.ok else asked.problem
        move = policy(known, goal)
        if isinstance(move, Stop):
            found = best(known.history, goal)
            files = tuple(report.get("files") or ())
            return Ended(
                move, known.history, found.variant_id if found else None, report.get("markdown") or "", files, problem
            )
        watching.begins(move)
        deadline = _deadline(move, known.history, goal, began)
        answer = await finish(client, move.tool, move.arguments, watching.goes_on, deadline)
        known = known.after(move, await recorded(client, session_id), answer.data.get("refusal"))
        watching.answers(move, answer, known.history)
        if move.tool != "render_report":
            problem = "" if answer.ok else answer.problem
        elif answer.ok:
            report = answer.data


async def recorded(client: Client, session_id: str) -> History:
    """What the server has recorded of a session up to now.

    Raises:
        MCPError: there is no such session for this client.
    """
    found = await client.read_resource(f"edgeopt://sessions/{session_id}/events", cache_mode="bypass")
    lines = [
        line for part in found.contents if isinstance(part, TextResourceContents) for line in part.text.splitlines()
    ]
    return read(lines)


def _deadline(call: Call, history: History, goal: Goal, began: float) -> float:
    """When the job of this call is cancelled; never for what is let end."""
    does = history.running.get(call.arguments["job_id"], "") if call.tool == "wait_for_job" else call.tool
    bounded = goal.budget_s is not None and does in CANCELLED_AT_THE_BUDGET
    return began + (goal.budget_s or 0.0) if bounded else float("inf")
