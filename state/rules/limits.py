"""What is counted, what runs short, and what is not here."""

from __future__ import annotations

from ...contract.refusals import Refusal
from ..request import Facts, Request
from ..session import Session
from .refusing import call, record_of, refuse


def target_label(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if session.baseline is None or session.baseline.where == facts.where:
        return None
    return refuse(
        "TARGET_LABEL",
        f"The baseline is a {session.baseline.where.replace('_', ' ')}, and this server's measurements are "
        f"{facts.where.replace('_', ' ')}s (--host-is). The two are never compared: open a new session here.",
    )


def look_budget(session: Session, request: Request, facts: Facts) -> Refusal | None:
    record = record_of(session, request)
    costs_a_look = record is not None and record.validation is None
    if facts.looks_allowed is None or facts.looks_spent < facts.looks_allowed or not costs_a_look:
        return None
    return refuse(
        "LOOK_BUDGET",
        f"The policy allows {facts.looks_allowed} looks at the evaluation set, and all are spent. Only the operator can "
        "enlarge the budget (look_budget in the policy file).",
    )


def disk_space(_session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.disk_free_mb is None or facts.disk_free_mb >= facts.disk_needed_mb:
        return None
    return refuse(
        "DISK_SPACE",
        f"The workspace's disk has {facts.disk_free_mb:.0f} MB free; this needs about {facts.disk_needed_mb:.0f} MB. Free "
        "some space (`edgeopt clean`), then call again.",
    )


def unavailable(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.unavailable is None:
        return None
    return refuse(
        "UNAVAILABLE",
        facts.unavailable,
        call(session, "recommend_next", "says what works here"),
    )
