"""Calling a tool as an agent does, and waiting for its job."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters

# How long one call waits for its job, seconds: between two calls a deadline is looked at.
WAIT_S = 20.0
# The tools of long work, which say how long they wait.
LONG = frozenset(
    {
        "profile_model",
        "analyze_sensitivity",
        "optimize_model",
        "benchmark_variant",
        "validate_variant",
        "package_variant",
        "wait_for_job",
    }
)
# What leave and which port somebody gives to a server of their own: one that is started here is told on its command line alone.
# Limits, the policy, the device and the key hold for it, too.
NOT_HANDED_ON = frozenset(
    {
        *("EDGEOPT_ALLOW_ROOTS", "EDGEOPT_OUTPUT_ROOTS", "EDGEOPT_USER_CODE", "EDGEOPT_ALLOW_PICKLE"),
        *("EDGEOPT_TRANSPORT", "EDGEOPT_PORT", "EDGEOPT_TOKEN_FILE"),
    }
)
# A share of the work that is done (0 to 1), and what is being done.
OnProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Answer:
    """What a tool answered, after its job if it had one."""

    tool: str
    data: dict[str, Any]
    text: str

    @property
    def status(self) -> str:
        return self.data["status"]

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def log(self) -> str:
        """The text for people, without the state block."""
        return self.text.partition("<model-opt-state>")[0].strip()

    @property
    def problem(self) -> str:
        """What a refusal or a failure says, in the server's own words."""
        refusal = self.data.get("refusal")
        if refusal:
            return f"{refusal['code']}: {refusal['message']}"
        return self.data.get("message") or self.status


async def finish(
    client: Client,
    tool: str,
    arguments: dict[str, Any],
    on_progress: OnProgress | None = None,
    deadline: float = float("inf"),
) -> Answer:
    """Calls a tool and waits until its job has ended. A job that still runs at the deadline (of time.monotonic) is cancelled."""
    answer = await _call(client, tool, arguments, on_progress, deadline)
    while answer.status == "running":
        job = {"session_id": arguments["session_id"], "job_id": answer.data["job_id"]}
        if time.monotonic() >= deadline:
            await _call(client, "cancel_job", job)
            deadline = float("inf")
        answer = await _call(client, "wait_for_job", job, on_progress, deadline)
    return Answer(tool, answer.data, answer.text)


async def _call(
    client: Client,
    tool: str,
    arguments: dict[str, Any],
    on_progress: OnProgress | None = None,
    deadline: float = float("inf"),
) -> Answer:
    async def told(progress: float, total: float | None, message: str | None) -> None:
        if on_progress:
            on_progress(progress, message or "")

    if tool in LONG:
        left = max(0.0, deadline - time.monotonic())
        arguments = {**arguments, "wait_s": min(WAIT_S, left)}
    outcome = await client.call_tool(tool, arguments, progress_callback=told)
    text = "\n".join(part.text for part in outcome.content if part.type == "text")
    data: dict[str, Any] = outcome.structured_content or {"status": "failed", "message": text}
    return Answer(tool, data, text)


def server(workspace: Path | None, roots: Sequence[Path], *more: str) -> StdioServerParameters:
    """How a server is started as a child that reads below these folders alone; `more`: further options of `edgeopt serve`.
    The workspace, where it is left out, is what it is for every command. Of the environment it gets no leave."""
    home = ["--workspace", str(workspace)] if workspace else []
    allowed = [part for root in roots for part in ("--allow-root", str(root))]
    return StdioServerParameters(
        command=sys.executable,
        args=["-P", "-m", "edgeopt", "serve", *home, *allowed, *more],
        env={name: value for name, value in os.environ.items() if name not in NOT_HANDED_ON},
    )
