"""The `<model-opt-state>` block and the completion criteria: derived from a session, never stored."""

from __future__ import annotations

from typing import Literal

from ..contract.record import Record
from .events import CallRefused, DecisionMade, JobStarted, PackageBuilt
from .session import BASELINE, Session, VariantRecord

Phase = Literal["PROFILE", "OPTIMIZE", "BENCHMARK", "VALIDATE", "PACKAGE"]
Number = float | Literal["unmeasured"]


class StateBlock(Record):
    """The fields of the block, in its order. `phase` is that of what comes next."""

    phase: Phase
    model_name: str
    source_format: str
    target_device: str
    baseline_latency_ms: Number
    baseline_accuracy: Number
    accuracy_tolerance: str
    optimizations_applied: str
    current_best_latency_ms: Number
    current_best_accuracy: Number
    original_model_path: str
    last_action: str
    next_action: str
    blockers: str

    def text(self) -> str:
        """The block as people and models read it."""
        lines = [f"{name}: {value}" for name, value in self.model_dump().items()]
        return "\n".join(["<model-opt-state>", *lines, "</model-opt-state>"])


class Criterion(Record):
    criterion: str
    met: bool


def tolerance_text(value: float, kind: str) -> str:
    """'2%' of the baseline, or '0.02 absolute'."""
    return f"{value * 100:.6g}%" if kind == "relative" else f"{value:.6g} absolute"


def _first(session: Session, wanted: str) -> str | None:
    """The first variant whose status is `wanted`."""
    return next((v for v, r in session.variants.items() if r.status == wanted), None)


def next_step(session: Session) -> tuple[Phase, str]:
    """The phase of what comes next, and what it is."""
    if session.baseline is None:
        return "PROFILE", "Measure the baseline: profile_model"
    if created := _first(session, "created"):
        return "BENCHMARK", f"Benchmark {created}: benchmark_variant"
    if benchmarked := _first(session, "benchmarked"):
        return "VALIDATE", f"Validate {benchmarked}: validate_variant"
    if session.waiting_for_person:
        variant = session.waiting_for_person[0]
        return "VALIDATE", f"A person decides on {variant}, or revert it: decide_variant"
    if passed := _first(session, "PASS"):
        return "VALIDATE", f"Keep or revert {passed}: decide_variant (packaging it keeps it)"
    best = session.best
    if best == BASELINE:
        return "OPTIMIZE", "Apply one technique: optimize_model (recommend_next says which)"
    if best not in session.packages:
        return "PACKAGE", f"Package {best}: package_variant, or try another technique"
    if session.decided_after_report:
        return "PACKAGE", "Show the trade-off: render_report(kind='tradeoff')"
    return "PACKAGE", "none: the session is complete"


def blockers(session: Session) -> str:
    waiting = [
        f"{v} is {session.variants[v].shown} (relative drop {r.relative_drop:+.2%}): a person must decide, or it is reverted"
        for v in session.waiting_for_person
        if (r := session.variants[v].validation)
    ]
    return "; ".join(waiting) or "none"


def last_action(session: Session) -> str:
    """The newest event that changed something, in words."""
    for recorded in reversed(session.history):
        event = recorded.event
        if isinstance(event, CallRefused):
            continue
        subject = getattr(event, "variant_id", None) or ""
        if isinstance(event, JobStarted):
            return f"{event.tool} is running as {event.job_id}"
        if isinstance(event, DecisionMade):
            return f"{subject} {event.outcome}: decided by {event.decided_by}"
        if isinstance(event, PackageBuilt):
            return f"Packaged {subject}"
        if event.kind == "VariantCreated":
            return f"Created {event.artifact.variant_id} by {event.artifact.technique}"
        if event.kind == "JobFailed":
            job = session.jobs[event.job_id]
            return f"{job.tool} failed: {event.code}"
        return f"{event.kind} {subject}".strip()
    return "none"


def _best_numbers(session: Session) -> tuple[Number, Number]:
    if session.best == BASELINE:
        return _baseline_numbers(session)
    record: VariantRecord = session.variants[session.best]
    latency = record.comparison.variant.latency_ms.mean if record.comparison else "unmeasured"
    accuracy = record.validation.optimized if record.validation else "unmeasured"
    return latency, accuracy


def _baseline_numbers(session: Session) -> tuple[Number, Number]:
    measured = session.baseline
    if measured is None:
        return "unmeasured", "unmeasured"
    return measured.latency_ms.mean, measured.accuracy.value if measured.accuracy else "unmeasured"


def state_block(session: Session) -> StateBlock:
    """The block of this session."""
    opened = session.opened
    phase, following = next_step(session)
    baseline_latency, baseline_accuracy = _baseline_numbers(session)
    best_latency, best_accuracy = _best_numbers(session)
    return StateBlock(
        phase=phase,
        model_name=opened.model_name,
        source_format=opened.source_format,
        target_device=opened.target_device,
        baseline_latency_ms=_rounded(baseline_latency),
        baseline_accuracy=_rounded(baseline_accuracy),
        accuracy_tolerance=tolerance_text(session.tolerance, opened.tolerance_kind),
        optimizations_applied=", ".join(a.technique for a in session.chain(session.best)) or "none",
        current_best_latency_ms=_rounded(best_latency),
        current_best_accuracy=_rounded(best_accuracy),
        original_model_path=session.original.path,
        last_action=last_action(session),
        next_action=following,
        blockers=blockers(session),
    )


def _rounded(value: Number) -> Number:
    return value if isinstance(value, str) else float(f"{value:.5g}")


def completion(session: Session, *, original_intact: bool) -> list[Criterion]:
    """When the work is done: each criterion, met or not."""
    records = session.variants.values()
    accepted = any(r.kept for r in records)
    return [
        Criterion(criterion="baseline measured", met=session.baseline is not None),
        Criterion(criterion="an optimization applied and benchmarked", met=any(r.comparison for r in records)),
        Criterion(criterion="accuracy validated within tolerance, or accepted by a person", met=accepted),
        Criterion(criterion="artifact packaged with metadata", met=bool(session.packages)),
        Criterion(
            criterion="trade-off summary rendered after the last decision",
            met=accepted and not session.decided_after_report,
        ),
        Criterion(criterion="original intact", met=original_intact),
    ]
