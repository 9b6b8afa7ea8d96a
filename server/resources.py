"""Resources: what a session has recorded, for clients that read rather than call."""

from __future__ import annotations

import json
from typing import Any, cast

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError

from ..state.block import state_block
from ..state.session import Session
from ..tools.answers import Refused
from ..tools.reporting import summary, tradeoff
from ..tools.road import Ctx, enter
from ..tools.workshop import Workshop


async def _session(session_id: str, ctx: Context) -> Session:
    """`Context[Workshop]` is spelt out in tools alone: the SDK finds no context parameter in a resource by it."""
    try:
        return await enter(cast(Ctx, ctx), session_id)
    except Refused as error:
        raise ResourceError(error.refusal.message) from error


async def read_state(session_id: str, ctx: Context) -> str:
    """The <model-opt-state> block."""
    return state_block(await _session(session_id, ctx)).text()


async def read_events(session_id: str, ctx: Context) -> str:
    """Every recorded event, one JSON object a line, without the jobs' specifications."""
    session = await _session(session_id, ctx)
    lines: list[str] = []
    for recorded in session.history:
        body: dict[str, Any] = recorded.event.model_dump(mode="json")
        body.pop("spec", None)
        lines.append(json.dumps({"seq": recorded.seq, "at": recorded.at, **body}))
    return "\n".join(lines)


async def read_report(session_id: str, ctx: Context) -> str:
    """The summary and the trade-off table."""
    session = await _session(session_id, ctx)
    if session.baseline is None:
        return "The baseline is not measured yet: call profile_model."
    return f"{summary(session)}\n\n{tradeoff(session)}"


async def read_variant(session_id: str, variant_id: str, ctx: Context) -> str:
    """One variant: how it was made, its comparison, its validation, its decision."""
    session = await _session(session_id, ctx)
    record = session.variants.get(variant_id)
    if record is None:
        raise ResourceError(f"There is no such variant. Known: {', '.join(session.variants) or 'none'}.")
    parts = {
        "artifact": record.artifact,
        "comparison": record.comparison,
        "validation": record.validation,
        "decision": record.decision,
    }
    return json.dumps({k: v.model_dump(mode="json") if v else None for k, v in parts.items()}, indent=1)


def register(server: MCPServer[Workshop]) -> None:
    root = "edgeopt://sessions/{session_id}"
    server.resource(f"{root}/state", mime_type="text/plain")(read_state)
    server.resource(f"{root}/events", mime_type="application/jsonl")(read_events)
    server.resource(f"{root}/report", mime_type="text/markdown")(read_report)
    server.resource(f"{root}/variants/{{variant_id}}", mime_type="application/json")(read_variant)
