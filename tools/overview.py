"""list_sessions and get_state: what there is, and how far it has got."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.types import CallToolResult
from pydantic import Field

from ..contract.measures import BY_POINT, Variant
from ..contract.text import untrusted
from ..state.block import completion, state_block
from ..state.events import CallRefused, DecisionMade, JobFailed, JobStarted, VariantBenchmarked, VariantValidated
from ..state.session import BASELINE, Session
from ..state.store import HistoryEdited, Recorded
from .answers import HistoryLine, SessionLine, SessionsReply, StateReply, result
from .facts import original_intact
from .log import table
from .road import Ctx, enter, owner_of, shop_of
from .types import SessionId
from .workshop import Workshop

RECENT = 10
LISTED_VARIANTS = 4
LISTED_NAMES = 2


async def list_sessions(
    ctx: Ctx, limit: Annotated[int, Field(ge=1, le=20)] = 20
) -> Annotated[CallToolResult, SessionsReply]:
    """List your sessions, newest first, to resume one."""
    shop = shop_of(ctx)
    sessions, damaged = own_sessions(shop, owner_of(ctx), limit)
    lines = [session_line(session) for session in sessions]
    rows = [[s.session_id, s.model_name, s.phase, s.next_action] for s in lines]
    log = table(["Session", "Model", "Phase", "Next"], rows) if rows else "No sessions yet. Call open_session."
    return result(SessionsReply(sessions=lines, message="; ".join(damaged) or None), "\n".join([log, *damaged]))


def own_sessions(shop: Workshop, owner: str, limit: int) -> tuple[list[Session], list[str]]:
    """The sessions of this owner, newest first, and what is wrong with histories that cannot be read."""
    sessions: list[Session] = []
    damaged: list[str] = []
    for session_id in shop.store.session_ids(limit * 10):
        try:
            session, _ = shop.load(session_id)
        except HistoryEdited as error:
            damaged.append(str(error))
            continue
        if session.opened.owner == owner and len(sessions) < limit:
            sessions.append(session)
    return sessions, damaged


def session_line(session: Session) -> SessionLine:
    """A session in one line."""
    block = state_block(session)
    return SessionLine(
        session_id=session.session_id,
        model_name=block.model_name,
        target_device=block.target_device,
        phase=block.phase,
        opened_at=session.history[0].at,
        next_action=block.next_action,
    )


async def get_state(session_id: SessionId, ctx: Ctx) -> Annotated[CallToolResult, StateReply]:
    """Read a session: state block, variants, completion criteria, recent history. Call it when you have lost the thread."""
    shop = shop_of(ctx)
    session = await enter(ctx, session_id)
    criteria = completion(session, original_intact=original_intact(shop, session))
    variants = session.all_variants()
    recent = variants[1:][-LISTED_VARIANTS:]
    shown = [v for v in variants if v in recent or v.variant_id in (BASELINE, session.best)]
    shown = [v.brief(LISTED_NAMES) for v in shown]
    left_out = len(variants) - len(shown)
    notes = [
        f"The speed of {v} is that of{record.repeats[1:]}." for v, record in session.variants.items() if record.repeats
    ][-LISTED_VARIANTS:]
    if left_out:
        notes.append(f"{left_out} earlier variants are left out: edgeopt://sessions/{session_id}/events has all.")
    if session.baseline is not None:
        notes.insert(0, f"All times: {session.baseline.label}.")
    message = " ".join(notes) or None
    history = [history_line(r) for r in session.history[-RECENT:]]
    reply = StateReply(
        state=state_block(session), message=message, variants=shown, completion=criteria, history=history
    )
    rows = [[v.variant_id, v.parent_id or "-", v.technique, v.precision, str(v.size_bytes), _status(v)] for v in shown]
    log = "\n".join(
        [
            table(["Variant", "Parent", "Technique", "Precision", "Bytes", "Status"], rows),
            *([message] if message else []),
            "",
            *(f"- [{'x' if c.met else ' '}] {c.criterion}" for c in criteria),
        ]
    )
    return result(reply, log)


def _status(variant: Variant) -> str:
    """What has become of it; of one that is judged by the point estimate, that it is."""
    if variant.verdict is None or BY_POINT not in variant.verdict:
        return variant.status
    return variant.verdict if variant.verdict.startswith(variant.status) else f"{variant.status}, {variant.verdict}"


def history_line(recorded: Recorded) -> HistoryLine:
    """One event in a few words."""
    event = recorded.event
    detail: Any = getattr(event, "variant_id", None) or getattr(event, "job_id", "")
    match event:
        case CallRefused():
            detail = f"{event.tool} refused: {event.code}"
        case JobStarted():
            detail = f"{event.tool} as {event.job_id}"
        case JobFailed():
            detail = f"{event.job_id}: {event.code}"
        case DecisionMade():
            detail = f"{event.variant_id} {event.outcome} by {event.decided_by}"
        case VariantBenchmarked():
            speedup, label = event.comparison.speedup, event.comparison.variant.label
            detail = f"{event.variant_id}: speedup {speedup.value:.3f}, {speedup.verdict} ({label})"
        case VariantValidated():
            detail = f"{event.variant_id}: {event.validation.verdict}, drop {event.validation.relative_drop:+.2%}"
        case _:
            pass
    return HistoryLine(seq=recorded.seq, at=recorded.at, event=event.kind, detail=untrusted(str(detail), 160))
