"""Resources: what a session has recorded, for clients that read rather than call."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any, cast

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceError
from mcp.types import Resource

from ..reports.markdown import summary, tradeoff
from ..state.block import state_block
from ..state.session import BASELINE, Session
from ..state.store import HistoryEdited
from ..tools import library
from ..tools.answers import Refused
from ..tools.overview import own_sessions
from ..tools.recording import reconcile
from ..tools.road import Ctx, enter, in_thread
from ..tools.workshop import Workshop

ROOT = "edgeopt://sessions/"
MIME = {"state": "text/plain", "events": "application/jsonl", "report": "text/markdown"}
URI = re.compile(rf"{ROOT}(s_[0-9a-f]{{32}})/(state|events|report|report\.html|variants/([^/]+))")
# The newest sessions are listed by name; the templates reach all of them.
LISTED = 5


async def _session(session_id: str, ctx: Context) -> Session:
    """`Context[Workshop]` is spelt out in tools alone: the SDK finds no context parameter in a resource by it."""
    try:
        return await enter(cast(Ctx, ctx), session_id)
    except Refused as error:
        raise ResourceError(error.refusal.message) from error


async def read_state(session_id: str, ctx: Context) -> str:
    """The <model-opt-state> block."""
    return _state(await _session(session_id, ctx))


async def read_events(session_id: str, ctx: Context) -> str:
    """Every recorded event, one JSON object a line, without the jobs' specifications."""
    return _events(await _session(session_id, ctx))


async def read_report(session_id: str, ctx: Context) -> str:
    """The summary and the trade-off table."""
    return _report(await _session(session_id, ctx))


async def read_variant(session_id: str, variant_id: str, ctx: Context) -> str:
    """One variant: how it was made, its comparison, its validation, its decision."""
    session = await _session(session_id, ctx)
    text = _variant(session, variant_id)
    if text is None:
        raise ResourceError(f"There is no such variant. Known: {', '.join([BASELINE, *session.variants])}.")
    return text


def _state(session: Session) -> str:
    return state_block(session).text()


def _events(session: Session) -> str:
    lines: list[str] = []
    for recorded in session.history:
        body: dict[str, Any] = recorded.event.model_dump(mode="json")
        body.pop("spec", None)
        lines.append(json.dumps({"seq": recorded.seq, "at": recorded.at, **body}))
    return "\n".join(lines)


def _report(session: Session) -> str:
    if session.baseline is None:
        return "The baseline is not measured yet: call profile_model."
    return f"{summary(session)}\n\n{tradeoff(session)}"


async def read_report_page(session_id: str, ctx: Context) -> str:
    """The report with its pictures, as one HTML page."""
    from ..reports.page import page  # not when the server starts

    session = await _session(session_id, ctx)
    if session.baseline is None:
        raise ResourceError("The baseline is not measured yet: call profile_model.")
    return page(session)


def _variant(session: Session, variant_id: str) -> str | None:
    record = session.variants.get(variant_id)
    if variant_id == BASELINE:
        parts = {"artifact": session.all_variants()[0], "baseline": session.baseline}
    elif record is None:
        return None
    else:
        parts = {
            "artifact": record.artifact,
            "comparison": record.comparison,
            "validation": record.validation,
            "decision": record.decision,
        }
    return json.dumps({k: v.model_dump(mode="json") if v else None for k, v in parts.items()}, indent=1)


async def mark(shop: Workshop, uri: str, owner: str) -> str | None:
    """What changes when a session's resource does, and only then; None where there is none for this owner."""
    found = URI.fullmatch(uri)
    return await in_thread(shop, partial(_mark, shop, found, owner)) if found else None


def _mark(shop: Workshop, found: re.Match[str], owner: str) -> str | None:
    session_id, part, variant_id = found.groups()
    try:
        reconcile(shop, session_id, reading=True)
        session, _ = shop.load(session_id)
    except (Refused, HistoryEdited):
        return None
    if session.opened.owner != owner:
        return None
    if variant_id:
        return _variant(session, variant_id)
    if part in ("events", "report.html"):  # long, and told anew by every event
        return str(len(session.history))
    return _state(session) if part == "state" else _report(session)


def newest(shop: Workshop, owner: str) -> list[Resource]:
    """State and report of the newest sessions of this owner."""
    sessions, _ = own_sessions(shop, owner, LISTED)
    return [
        Resource(
            uri=f"{ROOT}{session.session_id}/{part}",
            name=f"{session.opened.model_name} on {session.opened.target_device}: {part}",
            mime_type=MIME[part],
        )
        for session in sessions
        for part in ("state", "report")
    ]


async def read_contents() -> str:
    """The titles and addresses of the knowledge base's pages."""
    return library.contents()


async def read_page(collection: str, page: str) -> str:
    """One page of the knowledge base, with its sources."""
    found = library.pages().get(f"{collection}/{page.removesuffix('.md')}.md")
    if found is None:
        known = [p.uri for p in library.pages().values() if p.collection == collection]
        raise ResourceError(
            f"There is no such page. {'Known' if known else 'All'}: {', '.join(known) or library.contents()}."
        )
    return found.text


def register(server: MCPServer[Workshop]) -> None:
    root = f"{ROOT}{{session_id}}"
    server.resource(f"{root}/state", mime_type=MIME["state"])(read_state)
    server.resource(f"{root}/events", mime_type=MIME["events"])(read_events)
    server.resource(f"{root}/report", mime_type=MIME["report"])(read_report)
    server.resource(f"{root}/report.html", mime_type="text/html")(read_report_page)
    server.resource(f"{root}/variants/{{variant_id}}", mime_type="application/json")(read_variant)
    server.resource("edgeopt://knowledge", mime_type="text/markdown")(read_contents)
    server.resource("edgeopt://knowledge/{collection}/{page}", mime_type="text/markdown")(read_page)
