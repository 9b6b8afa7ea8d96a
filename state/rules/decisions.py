"""Over the tolerance a person decides, once, and is not asked until they give in."""

from __future__ import annotations

from ...contract.measures import Validation
from ...contract.refusals import Refusal
from ..request import Facts, Request
from ..session import Session, VariantRecord
from .refusing import call, record_of, refuse

QUESTIONS_AT_MOST = 3


def decision_required(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    own = record_of(session, request)
    if (
        request.tool == "package_variant"
        and own
        and own.status == "reverted"
        and not own.passed
        and not own.turned_down
    ):
        return _ask_first(session, request.variant_id or "", own)
    for variant_id in session.waiting_for_person:
        concerns_it = request.tool == "decide_variant" and request.variant_id == variant_id
        if not concerns_it and (request.keeps or request.tool == "optimize_model"):
            return _ask_first(session, variant_id, session.variants[variant_id])
    return None


def _ask_first(session: Session, variant_id: str, record: VariantRecord) -> Refusal:
    validation = record.validation
    drop = (
        f"{validation.relative_drop:+.2%} relative drop, tolerance {validation.tolerance}{_ruin(validation)}"
        if validation
        else ""
    )
    return refuse(
        "DECISION_REQUIRED",
        f"{variant_id} is {validation.verdict if validation else 'unmeasured'} ({drop}). Only a person can keep it. Show the "
        "numbers to the user, then ask through decide_variant, or revert it.",
        call(session, "decide_variant", "gives it up", variant_id=variant_id, outcome="revert", reason="..."),
        call(session, "decide_variant", "asks a person", variant_id=variant_id, outcome="keep", reason="..."),
        missing=[f"a person's decision on {variant_id}"],
    )


def _ruin(validation: Validation) -> str:
    return f"; {validation.ruined[0]}" if validation.ruined else ""


def needs_person(record: VariantRecord | None) -> bool:
    """Whether keeping this variant is a person's decision that has not been made."""
    if record is None or record.validation is None or record.passed:
        return False
    return record.decision is None or not record.decision.by_person


def human_unavailable(session: Session, request: Request, facts: Facts) -> Refusal | None:
    record = record_of(session, request)
    if request.outcome != "keep" or record is None or not needs_person(record):
        return None
    if _hash_turned_down(session, record, facts):
        return None
    # The same file made again, here or in another session, is the same question.
    here = sum(r.closed for r in session.variants.values() if r.artifact.sha256 == record.artifact.sha256)
    closings = max(here, facts.left_open_before)
    if facts.asking == "terminal" or (facts.asking == "chat" and closings < QUESTIONS_AT_MOST):
        return None
    closed = f"the question on {request.variant_id} was closed unanswered {closings} times"
    because = closed if facts.asking == "chat" else facts.cannot_ask_because
    status = record.verdict or "unmeasured"
    return refuse(
        "HUMAN_UNAVAILABLE",
        f"{request.variant_id} is {status}: only a person can keep it, and {because}. Tell the user: "
        f"`edgeopt decide {session.session_id}`, run by a person in a terminal, asks them. You can revert it meanwhile.",
        call(session, "decide_variant", "gives it up", variant_id=request.variant_id, outcome="revert", reason="..."),
        missing=["a person's decision"],
    )


def _hash_turned_down(session: Session, record: VariantRecord, facts: Facts) -> bool:
    """A no is final for the file: in this session, and in every other of the same original."""
    return record.artifact.sha256 in session.turned_down_hashes or facts.turned_down_before


def human_declined(session: Session, request: Request, facts: Facts) -> Refusal | None:
    record = record_of(session, request)
    builds_on_it = request.tool == "optimize_model"
    if record is None or not (request.keeps or builds_on_it) or not _hash_turned_down(session, record, facts):
        return None
    return refuse(
        "HUMAN_DECLINED",
        f"A person turned {request.variant_id} down: it is neither kept, packaged nor built on. Start again from the best.",
        call(session, "recommend_next", "says what else to try"),
    )


def decision_already_made(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    record = record_of(session, request)
    if record is None or record.decision is None:
        return None
    decision = record.decision
    open_to_a_person = not record.passed and not decision.by_person and request.outcome == "keep"
    repackaged = request.tool == "package_variant" and record.kept
    if open_to_a_person or repackaged:
        return None
    return refuse(
        "DECISION_ALREADY_MADE",
        f"{request.variant_id} was {record.status} by {decision.decided_by}. A decision is made once.",
        call(session, "recommend_next", "says what comes next"),
    )
