"""What is counted, what runs short, and what is not here."""

from __future__ import annotations

from ...contract.evaluation import CORRECT_OR_WRONG, LOWER_IS_BETTER
from ...contract.refusals import Refusal
from ...contract.steps import PRUNING
from ..request import Facts, Request
from ..session import BASELINE, Session
from .refusing import call, record_of, refuse, reopen


def target_label(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if session.baseline is None or session.baseline.where == facts.where:
        return None
    return refuse(
        "TARGET_LABEL",
        f"The baseline is a {session.baseline.where.replace('_', ' ')}, and this server's measurements are "
        f"{facts.where.replace('_', ' ')}s (--host-is). The two are never compared: open a new session here.",
        reopen(session, "opens a session whose baseline is measured here"),
    )


def look_budget(session: Session, request: Request, facts: Facts) -> Refusal | None:
    record = record_of(session, request)
    costs_a_look = record is not None and record.validation is None
    if facts.looks_allowed is None or facts.looks_spent < facts.looks_allowed or not costs_a_look:
        return None
    return refuse(
        "LOOK_BUDGET",
        f"The policy allows {facts.looks_allowed} looks at the evaluation set, and all are spent. One more is a person's to "
        "allow, whom validate_variant asks where the client can and nobody has left the question open three times; or the "
        "operator enlarges the budget (look_budget in the policy file). What was not validated can be given up.",
        call(
            session,
            "decide_variant",
            "gives it up",
            variant_id=request.variant_id,
            outcome="revert",
            reason="no look is left",
        ),
    )


def no_headroom(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    if request.step is None or request.step.technique not in PRUNING:
        return None
    parent = request.variant_id or BASELINE
    left = _headroom(session, parent)
    if left is None or left > 0:
        return None
    return refuse(
        "NO_HEADROOM",
        f"{parent} is at its accuracy floor: of the tolerance nothing is left that pruning could spend, not one sample. "
        "Quantization and conversion change less; or prune a parent that has lost less.",
        call(session, "recommend_next", "says what costs less accuracy"),
    )


def _headroom(session: Session, parent: str) -> float | None:
    """What a model may still lose of the metric, less what one sample counts; None where it is not known."""
    first, baseline, allowed = session.first_accuracy, session.baseline, session.allowed_loss
    if first is None or allowed is None or baseline is None or baseline.accuracy is None:
        return None
    measured = baseline.accuracy
    record = session.variants.get(parent)
    if record is not None and record.validation is None:
        return None
    now = measured.value if record is None or record.validation is None else record.validation.optimized
    lost = now - first if measured.metric in LOWER_IS_BETTER else first - now
    one_sample = 1 / measured.n if measured.metric in CORRECT_OR_WRONG else 0.0
    return allowed - lost - one_sample


def disk_space(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.disk_free_mb is None or facts.disk_free_mb >= facts.disk_needed_mb:
        return None
    return refuse(
        "DISK_SPACE",
        f"The workspace's disk has {facts.disk_free_mb:.0f} MB free; this needs about {facts.disk_needed_mb:.0f} MB. Free "
        "some space (`edgeopt clean`), then call again.",
        call(session, "get_state", "shows what is recorded; nothing was lost"),
    )


def unavailable(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.unavailable is None:
        return None
    return refuse(
        "UNAVAILABLE",
        facts.unavailable,
        call(session, "recommend_next", "says what works here"),
    )
