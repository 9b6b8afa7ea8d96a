"""decide_variant: the agent keeps or reverts what passed; only a person keeps what did not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp.server.mcpserver import AcceptedElicitation, CancelledElicitation, Elicit, ElicitationResult, Resolve
from mcp.types import CallToolResult
from pydantic import BaseModel, Field

from ..contract.measures import Artifact
from ..contract.text import untrusted
from ..state.block import state_block
from ..state.events import DecisionMade, DecisionRequested, PersonAnswered, QuestionClosed, QuestionLeft
from ..state.guardrails import judge
from ..state.request import Facts, Request
from ..state.rules.decisions import needs_person
from ..state.session import Session
from ..state.store import Conflict, Tip
from .answers import Decision, DecisionReply, refuse, result
from .asking import client_name, why_not_asked
from .facts import look_up
from .ledger import left_open
from .ledger import remember as remember_in_ledger
from .question import question
from .recording import reconcile
from .road import Ctx, guarded, identity, in_thread, note_refusal, owner_of, resolve, shop_of
from .types import SessionId, VariantId
from .workshop import Workshop

Outcome = Literal["keep", "revert"]


class Answer(BaseModel):
    """The form that a person fills in."""

    outcome: Outcome = Field(description="Keep the variant in spite of the loss, or give it up?")
    reason: str = Field(default="", max_length=500, description="Why (kept in the history)")


def judged(
    shop: Workshop, session_id: str, variant_id: str, outcome: Outcome, owner: str, **known: Any
) -> tuple[Session, Tip]:
    """The session, after the guardrails have let this decision pass, and where the decision must attach: what was
    recorded since is a Conflict. `known` are facts about who can be asked.

    Raises:
        Refused.
    """
    reconcile(shop, session_id)
    session, tip = shop.load(session_id)
    request = Request(
        "decide_variant",
        variant_id=resolve(session, variant_id),
        outcome=outcome,
        identity=identity("decide_variant", {"variant_id": variant_id}),
    )
    guarded(shop, session, request, look_up(shop, session, request, owner, **known))
    return session, tip


def _who_asks(ctx: Ctx) -> dict[str, str]:
    because = why_not_asked(ctx)
    return {"asking": "nobody", "cannot_ask_because": because} if because else {"asking": "chat"}


async def ask_person(session_id: str, variant_id: str, outcome: Outcome, ctx: Ctx) -> Answer | Elicit[Answer]:
    """The question to a person where keeping needs one. Runs again in every round: it must not change by being asked."""
    shop = shop_of(ctx)
    owner, who = owner_of(ctx), _who_asks(ctx)
    session, _ = await in_thread(shop, lambda: judged(shop, session_id, variant_id, outcome, owner, **who))
    variant = resolve(session, variant_id)
    if outcome == "revert" or not needs_person(session.variants.get(variant)):
        return Answer(outcome=outcome)
    _note_question(shop, session, variant, client_name(ctx))
    closed = await in_thread(shop, left_open, shop, session, variant)
    return Elicit(question(session, variant, closed), Answer)


def _note_question(shop: Workshop, session: Session, variant_id: str, client: str) -> None:
    """Records that a person is being asked, once for each time that the question is put."""
    while True:
        session, tip = shop.load(session.session_id)
        record = session.variants[variant_id]
        number = record.closed + 1
        if record.asked >= number:
            return
        event = DecisionRequested(
            variant_id=variant_id, variant_sha256=record.artifact.sha256, number=number, client=client
        )
        try:
            shop.record(session.session_id, tip, event)
        except Conflict:
            continue
        return


async def decide_variant(
    session_id: SessionId,
    variant_id: VariantId,
    outcome: Outcome,
    reason: Annotated[str, Field(max_length=500)],
    ctx: Ctx,
    answer: Annotated[ElicitationResult[Answer], Resolve(ask_person)],
) -> Annotated[CallToolResult, DecisionReply]:
    """Keep or revert a benchmarked, validated variant. A PASS is yours to decide. Keeping a FAIL or INCONCLUSIVE asks a
    person through the client; you cannot answer for them."""
    shop = shop_of(ctx)
    return await in_thread(
        shop, _settle, shop, session_id, variant_id, outcome, reason, answer, owner_of(ctx), client_name(ctx)
    )


def _settle(
    shop: Workshop,
    session_id: str,
    variant_id: str,
    outcome: Outcome,
    reason: str,
    answer: ElicitationResult[Answer],
    owner: str,
    client: str,
) -> CallToolResult:
    while True:
        session, tip = judged(shop, session_id, variant_id, outcome, owner, asking="chat")
        variant = resolve(session, variant_id)
        record = session.variants[variant]
        by_person = outcome == "keep" and needs_person(record)
        if by_person and isinstance(answer, CancelledElicitation):
            event = QuestionClosed(variant_id=variant, variant_sha256=record.artifact.sha256, client=client)
            _remember_silence(shop, session, event)
        else:
            event = _decision(record.artifact, outcome, reason, answer, by_person, client)
        # Before the session's own record: a no that was spoken holds, even if the server dies between the two.
        if isinstance(event, DecisionMade) and event.by_person:
            remember(shop, session, event)
        try:
            session = shop.record(session_id, tip, event)
        except Conflict:
            continue
        if isinstance(event, QuestionClosed):
            raise _closed(shop, session, variant)
        if by_person and event.outcome == "revert":
            raise _declined(shop, session, variant)
        return decided(session, event)


def _remember_silence(shop: Workshop, session: Session, event: QuestionClosed) -> None:
    """Counts a question that was closed unanswered, in the ledger of the original: the file is the same in every session."""
    left = QuestionLeft(
        session_id=session.session_id,
        variant_sha256=event.variant_sha256,
        number=1 + sum(r.closed for r in session.variants.values() if r.artifact.sha256 == event.variant_sha256),
        client=event.client,
    )
    remember_in_ledger(shop, session, left)


def remember(shop: Workshop, session: Session, decision: DecisionMade) -> None:
    """Puts a person's decision into the ledger of the original."""
    answer = PersonAnswered(
        session_id=session.session_id,
        variant_sha256=decision.variant_sha256,
        outcome=decision.outcome,
        decided_by=decision.decided_by,
    )
    remember_in_ledger(shop, session, answer)


def _decision(
    artifact: Artifact,
    outcome: Outcome,
    reason: str,
    answer: ElicitationResult[Answer],
    by_person: bool,
    client: str,
) -> DecisionMade:
    """Who decided what: a person's answer where one was needed, else the agent's own."""
    if not by_person:
        return DecisionMade.by_agent(artifact, outcome, untrusted(reason, 500))
    form = answer.data if isinstance(answer, AcceptedElicitation) else Answer(outcome="revert", reason="declined")
    verb = "accepted" if form.outcome == "keep" else "turned down"
    return DecisionMade(
        variant_id=artifact.variant_id,
        variant_sha256=artifact.sha256,
        outcome=form.outcome,
        by_person=True,
        decided_by=f"person, {verb} through {client}",
        reason=untrusted(form.reason, 500),
    )


def decided(session: Session, event: DecisionMade) -> CallToolResult:
    """The answer to a decision."""
    decision = Decision(outcome=event.outcome, decided_by=event.decided_by, reason=event.reason)
    log = f"**Decision**: {event.outcome} {event.variant_id}, by {event.decided_by}. {event.reason}"
    return result(DecisionReply(state=state_block(session), decision=decision), log)


def _closed(shop: Workshop, session: Session, variant_id: str) -> Exception:
    request = Request("optimize_model", variant_id="baseline")
    refusal = judge(session, request, Facts(owner=session.opened.owner))
    if refusal is None or refusal.code != "DECISION_REQUIRED":
        message = f"The person closed the question on {variant_id} without an answer. It stays reverted."
        return note_refusal(shop, session, "decide_variant", refuse("DECISION_REQUIRED", message).refusal)
    message = f"The person closed the question without an answer. {refusal.message}"
    return note_refusal(shop, session, "decide_variant", refusal.model_copy(update={"message": message}))


def _declined(shop: Workshop, session: Session, variant_id: str) -> Exception:
    request = Request("decide_variant", variant_id=variant_id, outcome="keep")
    refusal = judge(session, request, Facts(owner=session.opened.owner, asking="chat"))
    if refusal is None:
        raise LookupError("a person's no was not recorded")
    return note_refusal(shop, session, "decide_variant", refusal)
