"""One look more than the policy's budget: a person may allow it, for one variant, before it is validated."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mcp.server.mcpserver import AcceptedElicitation, CancelledElicitation, Elicit, ElicitationResult
from pydantic import BaseModel, Field

from ..contract.text import untrusted
from ..state.events import LookAnswered
from ..state.guardrails import judge
from ..state.ledger import Ledger
from ..state.request import Request
from ..state.rules.decisions import QUESTIONS_AT_MOST
from ..state.rules.refusing import call
from ..state.session import Session
from .answers import Refused, refuse
from .asking import why_not_asked
from .facts import look_up
from .ledger import read, remember, spent
from .road import Ctx, enter, in_thread, note_refusal, owner_of, resolve, shop_of
from .workshop import Workshop

TOOL = "validate_variant"


class OneMoreLook(BaseModel):
    """The form that a person fills in."""

    outcome: Literal["accept", "refuse"] = Field(description="Allow one more look, at this variant?")
    reason: str = Field(default="", max_length=500, description="Why (kept in the history)")


async def ask_for_look(session_id: str, variant_id: str, ctx: Ctx) -> OneMoreLook | Elicit[OneMoreLook] | None:
    """The question to a person where the budget of looks is all that keeps a variant from being validated; of anything else
    nobody is asked, and the guardrails answer.

    Raises:
        Refused: HUMAN_DECLINED; UNKNOWN_SESSION, NOT_YOUR_SESSION.
    """
    shop = shop_of(ctx)
    session = await enter(ctx, session_id)
    variant = resolve(session, variant_id)
    if not await in_thread(shop, _over_budget, shop, session, variant, owner_of(ctx)):
        return None
    ledger, _ = await in_thread(shop, read, shop, session)
    sha256 = session.variants[variant].artifact.sha256
    if ledger.look_refused(sha256):
        raise _declined(shop, session, variant)
    if why_not_asked(ctx) or ledger.look_unanswered(sha256) >= QUESTIONS_AT_MOST:
        return None
    return Elicit(_question(shop, session, variant, ledger), OneMoreLook)


def _over_budget(shop: Workshop, session: Session, variant: str, owner: str) -> bool:
    """Whether the budget stands against validating this variant, and nothing else does."""
    request = Request(TOOL, variant_id=variant)
    facts = look_up(shop, session, request, owner)
    refusal = judge(session, request, facts)
    if refusal is None or refusal.code != "LOOK_BUDGET":
        return False
    return judge(session, request, look_up(shop, session, request, owner, looks_allowed=None)) is None


def _question(shop: Workshop, session: Session, variant: str, ledger: Ledger) -> str:
    """The server's own numbers, and nothing that an agent wrote."""
    made = session.variants[variant].artifact
    original = untrusted(Path(session.original.path).name)
    looks, closed = spent(ledger, session), ledger.look_unanswered(made.sha256)
    unanswered = f" It was closed unanswered {closed} times." if closed else ""
    asked = len(ledger.look_answers) - closed
    earlier = f" More looks at this original's samples were asked for {asked} times before." if asked else ""
    return "\n".join(
        [
            f"May {variant} of {original} ({made.technique}, {made.precision}) be judged on the evaluation samples although "
            f"the budget is spent ({looks} looks taken, {shop.settings.policy.look_budget} allowed)?",
            "Each look makes it likelier that something passes by luck; so the next one is judged more strictly.",
            "accept: one more look, at this file alone, recorded as yours.",
            "refuse: final for this file; it is not judged, and the agent cannot ask about it again.",
            f"No answer: it is not judged; the question is put {QUESTIONS_AT_MOST} times at most.{unanswered}",
            f"File {untrusted(Path(made.path).name)}, sha256 {made.sha256[:16]}.{earlier}",
        ]
    )


def settle(shop: Workshop, session: Session, variant: str, answer: ElicitationResult[OneMoreLook], client: str) -> None:
    """Remembers what a person said, before the guardrails judge by it.

    Raises:
        Refused: HUMAN_DECLINED.
    """
    if isinstance(answer, AcceptedElicitation) and answer.data is None:
        return  # nobody was asked
    sha256 = session.variants[variant].artifact.sha256
    outcome = _outcome(answer)
    entry = LookAnswered(
        session_id=session.session_id,
        variant_sha256=sha256,
        data_digest=session.opened.data.digest,
        outcome=outcome,
        number=read(shop, session)[0].look_unanswered(sha256) + 1,
        answered_by=f"a person through {client}",
    )
    remember(shop, session, entry)
    if outcome == "refuse":
        raise _declined(shop, session, variant)


def _outcome(answer: ElicitationResult[OneMoreLook]) -> Literal["accept", "refuse", "unanswered"]:
    if isinstance(answer, CancelledElicitation):
        return "unanswered"
    return answer.data.outcome if isinstance(answer, AcceptedElicitation) else "refuse"


def _declined(shop: Workshop, session: Session, variant: str) -> Refused:
    said = refuse(
        "HUMAN_DECLINED",
        f"A person allowed no look at {variant} beyond the policy's budget: it is not validated. Give it up, and package what "
        "passed.",
        next_calls=[
            call(
                session, "decide_variant", "gives it up", variant_id=variant, outcome="revert", reason="no look is left"
            )
        ],
    )
    return note_refusal(shop, session, TOOL, said.refusal)
