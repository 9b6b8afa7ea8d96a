"""A person's leave to open a variant as an original: asked for before the session exists, and failing closed."""

from __future__ import annotations

from typing import Literal

from mcp.server.mcpserver import AcceptedElicitation, CancelledElicitation, Elicit, ElicitationResult
from pydantic import BaseModel, Field

from ..contract.text import untrusted
from ..state.events import FileIdentity, LeaveRefused, Origin, QuestionLeft
from ..state.rules.decisions import QUESTIONS_AT_MOST
from .answers import Refused, refuse
from .asking import why_not_asked
from .ledger import read, remember
from .lineage import Descent, Yardstick, check_same_yardstick, descent
from .road import Ctx, in_thread, shop_of
from .workshop import Workshop

_INSTEAD = "Open the original; to go on from the variant, keep it in its own session and name it as `parent`."


class Leave(BaseModel):
    """The form that a person fills in."""

    outcome: Literal["accept", "refuse"] = Field(description="Open this variant as if it were an original?")
    reason: str = Field(default="", max_length=500, description="Why (kept in the history)")


Answer = ElicitationResult[Leave]


async def ask_leave(ctx: Ctx, model: FileIdentity, weights: str, asked: Yardstick) -> Leave | Elicit[Leave] | None:
    """The question on this file, where it is a variant that was made here; None where nobody need be asked.

    Raises:
        Refused: DERIVED_MODEL, HUMAN_DECLINED.
    """
    shop = shop_of(ctx)
    found = await in_thread(shop, descent, shop, model, weights)
    if found is None:
        return None
    check_same_yardstick(found, asked)
    closed = await in_thread(shop, _check_answered_before, shop, found)
    because = why_not_asked(ctx)
    if closed >= QUESTIONS_AT_MOST:
        because = f"the question on this file was closed unanswered {closed} times"
    if because:
        raise refuse(
            "DERIVED_MODEL",
            f"This file is {found.described()}, or holds its weights. Only a person lets it be opened as an original, and "
            f"{because}. A person can do it through a client that asks (with MCP's elicitation). {_INSTEAD}",
            missing=["a person's leave"],
        )
    return Elicit(_question(found, model, closed), Leave)


def _question(found: Descent, model: FileIdentity, closed: int) -> str:
    """The server's own numbers, and nothing that an agent wrote."""
    first = untrusted(found.origin.file.path.rpartition("/")[2])
    metric = found.session.opened.evaluation.metric
    unanswered = f" This was closed unanswered {closed} times." if closed else ""
    return (
        f"An agent wants to open {untrusted(model.path.rpartition('/')[2])} as an original. It is {found.described()}, or "
        f"holds its weights. If you allow it, the new session's tolerance refers to {first} ({metric} "
        f"{found.origin.accuracy:.4f}), not to what this file still has, and looks at the samples go on being counted there. "
        f"Allow it? A refusal is final for this file.{unanswered}"
    )


def _check_answered_before(shop: Workshop, found: Descent) -> int:
    """How often a question on this variant was closed unanswered.

    Raises:
        Refused: HUMAN_DECLINED where a person turned it down, as a variant or as an original.
    """
    ledger, _ = read(shop, found.session)
    sha256 = found.record.artifact.sha256
    if ledger.turned_down(sha256) or ledger.leave_refused(sha256):
        raise _declined(found)
    return ledger.left_open(sha256)


def _declined(found: Descent) -> Refused:
    return refuse(
        "HUMAN_DECLINED", f"A person turned down {found.described()}. It is not opened as an original. {_INSTEAD}"
    )


def allowed_by(shop: Workshop, model: FileIdentity, weights: str, leave: Answer, client: str) -> Origin | None:
    """What the tolerance of a session on a variant refers to, by a person's leave; None where the model is an original.

    Raises:
        Refused: DERIVED_MODEL, HUMAN_DECLINED.
    """
    found = descent(shop, model, weights)
    if found is None:
        return None
    if isinstance(leave, AcceptedElicitation) and leave.data is None:
        raise refuse("DERIVED_MODEL", f"This file has just become {found.described()}. Call again: a person is asked.")
    number = _check_answered_before(shop, found) + 1
    sha256 = found.record.artifact.sha256
    if isinstance(leave, CancelledElicitation):
        silence = QuestionLeft(session_id=found.session.session_id, variant_sha256=sha256, number=number, client=client)
        remember(shop, found.session, silence)
        raise refuse(
            "DERIVED_MODEL",
            f"This file is {found.described()}, or holds its weights. Only a person lets it be opened as an original: the "
            f"question was closed unanswered {number} times, and can be put {QUESTIONS_AT_MOST} times in all. {_INSTEAD}",
            missing=["a person's leave"],
        )
    if not isinstance(leave, AcceptedElicitation) or leave.data.outcome != "accept":
        remember(shop, found.session, LeaveRefused(variant_sha256=sha256, refused_by=f"a person through {client}"))
        raise _declined(found)
    return found.origin.model_copy(update={"allowed_by": f"a person, through {client}"})
