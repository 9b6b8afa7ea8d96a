"""What comes before what."""

from __future__ import annotations

from ...contract.refusals import NextCall, Refusal
from ..request import Facts, Request
from ..session import BASELINE, Session
from .refusing import call, record_of, refuse, reopen


def unknown_variant(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    if request.variant_id in (None, BASELINE) or request.variant_id in session.variants:
        return None
    known = ", ".join([BASELINE, *session.variants])
    return refuse(
        "UNKNOWN_VARIANT",
        f"There is no variant {request.variant_id!r} in this session. Known: {known}.",
        call(session, "get_state", "lists the variants"),
    )


def baseline_is_immutable(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    if session.baseline is None or session.baseline_request == request.identity:
        return None
    return refuse(
        "INVALID_ARGUMENT",
        "The baseline is measured already and is immutable. Call profile_model with the arguments it was measured "
        "with to read it again; for other conditions open another session.",
        call(session, "get_state", "shows the baseline"),
        reopen(session, "opens another session, for other conditions"),
    )


def baseline_required(session: Session, _request: Request, _facts: Facts) -> Refusal | None:
    if session.baseline:
        return None
    return refuse(
        "BASELINE_REQUIRED",
        "Nothing is optimized, measured, judged or packaged before the original's size, latency, accuracy and peak "
        "memory are measured.",
        call(session, "profile_model", "measures the baseline"),
        missing=["baseline latency", "baseline accuracy", "baseline peak memory"],
    )


def one_at_a_time(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    for variant_id, record in session.variants.items():
        if record.unmeasured:
            tool = "validate_variant" if record.comparison else "benchmark_variant"
            return refuse(
                "ONE_AT_A_TIME",
                f"{variant_id} is not fully measured yet. Benchmark and validate it (or revert it) before the next step.",
                call(session, tool, "measures it", variant_id=variant_id),
                missing=[f"{tool.split('_', maxsplit=1)[0]} of {variant_id}"],
            )
    parent = record_of(session, request)
    if parent is None or parent.kept or parent.turned_down or parent.awaits_person:
        return None
    return refuse(
        "ONE_AT_A_TIME",
        f"{request.variant_id} is {parent.shown}: a step starts from the baseline or from a kept variant.",
        call(session, "decide_variant", "keeps it", variant_id=request.variant_id, outcome="keep", reason="..."),
        *_from_the_best(session, request),
    )


def _from_the_best(session: Session, request: Request) -> list[NextCall]:
    if request.step is None:
        return []
    step = request.step.model_dump(mode="json", exclude_unset=True)
    return [call(session, "optimize_model", "starts from the best", parent="best", step=step)]


def not_measured(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    if not request.keeps and not (request.tool == "decide_variant" and request.variant_id == BASELINE):
        return None
    if request.variant_id == BASELINE:
        return refuse(
            "NOT_VALIDATED",
            "The baseline is not a variant: it is neither kept nor packaged. No variant has been kept yet."
            if session.best == BASELINE
            else "The baseline is not a variant: it is neither kept nor packaged.",
            call(session, "recommend_next", "says what to try"),
            missing=["a validated variant"],
        )
    record = record_of(session, request)
    if record is None or (record.turned_down or record.kept):
        return None
    if record.comparison is None:
        return refuse(
            "NOT_BENCHMARKED",
            f"{request.variant_id} has not been benchmarked against the baseline.",
            call(session, "benchmark_variant", "measures its speed", variant_id=request.variant_id),
            missing=["benchmark"],
        )
    if record.validation is None:
        return refuse(
            "NOT_VALIDATED",
            f"The accuracy of {request.variant_id} has not been validated on the evaluation set.",
            call(session, "validate_variant", "measures its accuracy", variant_id=request.variant_id),
            missing=["validation"],
        )
    return None


def session_busy(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    others = [job for job in session.running if job.request != request.identity]
    if not others:
        return None
    job = others[0]
    return refuse(
        "SESSION_BUSY",
        f"{job.tool} is running as {job.job_id}. Wait for it, or cancel it.",
        call(session, "wait_for_job", "waits for it", job_id=job.job_id),
        call(session, "cancel_job", "ends it", job_id=job.job_id),
    )
