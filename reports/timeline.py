"""What happened in a session, in order, and who did it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..contract.measures import Artifact
from ..state.events import (
    BaselineMeasured,
    CallRefused,
    DecisionMade,
    DecisionRequested,
    Event,
    JobFailed,
    JobStarted,
    PackageBuilt,
    QuestionClosed,
    SensitivityAnalyzed,
    SessionOpened,
    VariantBenchmarked,
    VariantCreated,
    VariantValidated,
    ends,
)
from ..state.session import Session
from ..state.store import Recorded
from .markdown import change
from .words import MB

Tone = Literal["plain", "good", "bad", "open"]


@dataclass(frozen=True)
class Entry:
    """`at`: ISO time. `seconds`: how long the job took that ended so. `who`: as it is recorded."""

    at: str
    what: str
    detail: str
    who: str = "agent"
    seconds: float | None = None
    tone: Tone = "plain"


def timeline(session: Session) -> list[Entry]:
    """One entry for each job that ended or runs, each refusal, question and decision; oldest first."""
    begun: dict[str, Recorded] = {}
    entries: list[Entry] = []
    for recorded in session.history:
        event = recorded.event
        if isinstance(event, JobStarted):
            begun[event.job_id] = recorded
            if event.job_id not in session.ended:
                entries.append(Entry(recorded.at, event.tool, "is under way"))
        elif told := _told(event):
            what, detail, who, tone = told
            start = begun.get(ends(event) or "")
            tool = start.event.tool if start and isinstance(start.event, JobStarted) else ""
            seconds = _between(start.at, recorded.at) if start else None
            entries.append(Entry(recorded.at, what or f"{tool} failed", detail, who, seconds, tone))
    return entries


def _told(event: Event) -> tuple[str, str, str, Tone] | None:
    """What it is, in detail, who did it; nothing of what people need not see."""
    match event:
        case SessionOpened():
            tolerance = f"{event.accuracy_tolerance:.2%} {event.tolerance_kind}, {event.evidence}"
            loosened = f"; loosened by {event.loosened_by}" if event.loosened_by else ""
            return "Session opened", f"for {event.target_device}; tolerance {tolerance}{loosened}", "agent", "plain"
        case BaselineMeasured():
            b = event.baseline
            accuracy = f", {b.accuracy.metric} {b.accuracy.value:.4f} on {b.accuracy.n} samples" if b.accuracy else ""
            return "Baseline measured", f"{b.latency_ms.mean:.3f} ms{accuracy}; {b.label}", "agent", "plain"
        case SensitivityAnalyzed():
            return (
                "Layers ranked",
                f"{event.of} layers of {event.parent_id} on {event.samples} samples",
                "agent",
                "plain",
            )
        case VariantCreated():
            return f"{event.artifact.variant_id} made", _made(event.artifact), "agent", "plain"
        case VariantBenchmarked():
            c = event.comparison
            low, high = c.speedup.ci95
            detail = f"{c.speedup.value:.2f}x ({low:.2f} to {high:.2f}), {c.speedup.verdict}; {c.variant.label}"
            return f"{event.variant_id} timed", detail, "agent", "good" if c.speedup.verdict == "faster" else "plain"
        case VariantValidated():
            v = event.validation
            low, high = v.ci95_relative_drop
            tone: Tone = {"PASS": "good", "FAIL": "bad", "INCONCLUSIVE": "open"}[v.status]  # pyright: ignore[reportAssignmentType]
            drop = f"relative drop {change(v.relative_drop)} ({low:+.2%} to {high:+.2%}), {v.tolerance} allowed"
            return f"{event.variant_id}: {v.verdict}", f"{drop}; {v.method}", "agent", tone
        case DecisionRequested():
            return (
                f"{event.variant_id}: a person is asked",
                f"question {event.number}",
                f"through {event.client}",
                "open",
            )
        case QuestionClosed():
            return f"{event.variant_id}: closed unanswered", "nothing is decided", f"through {event.client}", "open"
        case DecisionMade():
            done, tone = ("kept", "good") if event.outcome == "keep" else ("reverted", "plain")
            return f"{event.variant_id} {done}", event.reason or "no reason given", event.decided_by, tone
        case PackageBuilt():
            tone = "good" if event.package.verified else "bad"
            return f"{event.variant_id} packaged", event.package.verification, "agent", tone
        case CallRefused():
            return f"{event.tool} refused", f"{event.code}: {event.message}", "the server", "bad"
        case JobFailed():
            return "", f"{event.code}: {event.message}", "the server", "bad"
        case _:
            return None


def _made(made: Artifact) -> str:
    options = ", ".join(f"{name} {value}" for name, value in made.parameters.items() if value is not None)
    return f"{made.technique}{f' ({options})' if options else ''} of {made.parent_id}, {made.size_bytes / MB:.2f} MB"


def _between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
