"""A session: the fold of its events. Nothing else sets its fields; all that clients see of it is derived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from ..contract.measures import Artifact, Ceiling, Comparison, Interface, Measurement, Package, Validation, Variant
from .events import (
    BaselineMeasured,
    CallRefused,
    DecisionMade,
    DecisionRequested,
    Event,
    FileIdentity,
    JobFailed,
    JobStarted,
    LeaveRefused,
    LookAnswered,
    LookTaken,
    LooseningLeft,
    LooseningRefused,
    PackageBuilt,
    PersonAnswered,
    QuestionClosed,
    QuestionLeft,
    ReportRendered,
    SensitivityAnalyzed,
    SessionOpened,
    VariantBenchmarked,
    VariantCreated,
    VariantJudged,
    VariantMade,
    VariantValidated,
    ends,
)
from .store import Recorded

BASELINE = "baseline"
Status = Literal["created", "benchmarked", "PASS", "FAIL", "INCONCLUSIVE", "kept", "reverted"]


@dataclass(frozen=True)
class VariantRecord:
    """What has happened to one variant. `closed`: how often its question was closed unanswered."""

    artifact: Artifact
    changed: bool = True
    comparison: Comparison | None = None
    benchmarks: int = 0
    validation: Validation | None = None
    decision: DecisionMade | None = None
    asked: int = 0
    closed: int = 0

    @property
    def status(self) -> Status:
        if self.decision:
            return "kept" if self.decision.outcome == "keep" else "reverted"
        if self.validation:
            return self.validation.status
        return "benchmarked" if self.comparison else "created"

    @property
    def shown(self) -> str:
        """The status in words: a verdict by the point estimate says so."""
        return self.validation.verdict if self.validation and not self.decision else self.status

    @property
    def verdict(self) -> str | None:
        """That of its validation, in words; None before there is one."""
        return self.validation.verdict if self.validation else None

    @property
    def repeats(self) -> str:
        """Says that the benchmark was run again until it was as it is; nothing where it was run once."""
        return f", the last of {self.benchmarks} runs" if self.benchmarks > 1 else ""

    @property
    def kept(self) -> bool:
        return self.status == "kept"

    @property
    def passed(self) -> bool:
        return self.validation is not None and self.validation.status == "PASS"

    @property
    def unmeasured(self) -> bool:
        return self.decision is None and (self.comparison is None or self.validation is None)

    @property
    def awaits_person(self) -> bool:
        """FAIL or INCONCLUSIVE, and nobody has decided."""
        return self.validation is not None and not self.passed and self.decision is None

    @property
    def turned_down(self) -> bool:
        """A person said no."""
        return self.decision is not None and self.decision.by_person and self.decision.outcome == "revert"


@dataclass(frozen=True)
class Session:
    """All that is known of one optimization."""

    opened: SessionOpened
    baseline: Measurement | None = None
    baseline_request: str | None = None
    outcomes: FileIdentity | None = None
    bottleneck: str = ""
    ceilings: list[Ceiling] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)
    baseline_runs: int = 0
    variants: dict[str, VariantRecord] = field(default_factory=dict)
    jobs: dict[str, JobStarted] = field(default_factory=dict)
    ended: dict[str, Event] = field(default_factory=dict)
    packages: dict[str, Package] = field(default_factory=dict)
    sensitivity: dict[str, SensitivityAnalyzed] = field(default_factory=dict)
    decided_after_report: bool = True
    history: tuple[Recorded, ...] = ()

    @property
    def session_id(self) -> str:
        return self.opened.session_id

    @property
    def interface(self) -> Interface:
        """What the original is fed and answers."""
        return Interface(inputs=self.opened.model.inputs, outputs=self.opened.model.outputs)

    @property
    def original(self) -> FileIdentity:
        return self.opened.files[0]

    @property
    def first_accuracy(self) -> float | None:
        """What the tolerance refers to: the baseline's, or where the model is itself a variant that of the first original."""
        if origin := self.opened.derived_from:
            return origin.accuracy
        return self.baseline.accuracy.value if self.baseline and self.baseline.accuracy else None

    @property
    def tolerance(self) -> float:
        """The tolerance that counts, in the session's kind: an absolute one is cut to the policy's share of the accuracy that
        it refers to, once that is known. Before the session was opened nobody could be asked whether it is loose."""
        opened, accuracy = self.opened, self.first_accuracy
        if opened.tolerance_kind == "relative" or accuracy is None:
            return opened.accuracy_tolerance
        return min(opened.accuracy_tolerance, opened.max_tolerance * abs(accuracy))

    @property
    def allowed_loss(self) -> float | None:
        """The tolerance in units of the metric; None before the accuracy that it refers to is known."""
        if self.first_accuracy is None:
            return None
        return self.tolerance * (abs(self.first_accuracy) if self.opened.tolerance_kind == "relative" else 1.0)

    @property
    def first_outcomes(self) -> FileIdentity | None:
        """The per-sample outcomes that variants are judged against: those of the accuracy above."""
        origin = self.opened.derived_from
        return origin.outcomes if origin and self.baseline else self.outcomes

    @property
    def running(self) -> list[JobStarted]:
        """Jobs without a recorded end, oldest first."""
        return [job for job_id, job in self.jobs.items() if job_id not in self.ended]

    @property
    def waiting_for_person(self) -> list[str]:
        return [v for v, record in self.variants.items() if record.awaits_person]

    @property
    def turned_down_hashes(self) -> set[str]:
        return {r.artifact.sha256 for r in self.variants.values() if r.turned_down}

    @property
    def best(self) -> str:
        """The kept variant with the highest measured speedup, else the baseline. Smaller may be the point of one
        that is not faster, so a kept variant comes before the baseline."""
        kept = {v: r.comparison.speedup.value for v, r in self.variants.items() if r.kept and r.comparison}
        return max(kept, key=lambda v: kept[v]) if kept else BASELINE

    def chain(self, variant_id: str) -> list[Artifact]:
        """The steps from the baseline to this variant, in order; none for the baseline."""
        steps: list[Artifact] = []
        current: str | None = variant_id
        while current is not None and current in self.variants:
            artifact = self.variants[current].artifact
            steps.append(artifact)
            current = artifact.parent_id
        return steps[::-1]

    def path_of(self, variant_id: str) -> str:
        return self.original.path if variant_id == BASELINE else self.variants[variant_id].artifact.path

    def format_of(self, variant_id: str) -> str:
        return self.opened.source_format if variant_id == BASELINE else self.variants[variant_id].artifact.format

    def next_variant_id(self) -> str:
        """Numbers are given when a job starts, so a failed step leaves a gap."""
        return f"v{1 + sum(job.tool == 'optimize_model' for job in self.jobs.values())}"

    def all_variants(self) -> list[Variant]:
        """The baseline and every variant, as clients see them."""
        opened = self.opened
        original = Variant(
            variant_id=BASELINE,
            parent_id=None,
            technique="none",
            parameters={},
            path=self.original.path,
            format=opened.source_format,
            precision="original",
            size_bytes=sum(f.bytes for f in opened.files),
            sha256=self.original.sha256,
            status="original",
        )
        made = [
            Variant(
                **r.artifact.model_dump(), status=r.status, verdict=r.verdict
            )  # the status is derived, the rest as recorded
            for r in self.variants.values()
        ]
        return [original, *made]


def _changed(session: Session, variant_id: str, **changes: object) -> Session:
    record = replace(session.variants[variant_id], **changes)  # pyright: ignore[reportArgumentType]
    return replace(session, variants=session.variants | {variant_id: record})


def _apply(session: Session, event: Event) -> Session:
    match event:
        case (
            SessionOpened()
            | JobFailed()
            | CallRefused()
            | LookTaken()
            | VariantJudged()
            | PersonAnswered()
            | QuestionLeft()
            | LeaveRefused()
            | LooseningRefused()
            | LooseningLeft()
            | LookAnswered()
            | VariantMade()
        ):
            return session  # the last nine belong to other streams than a session's
        case JobStarted():
            return replace(session, jobs=session.jobs | {event.job_id: event})
        case BaselineMeasured():
            return replace(
                session,
                baseline=event.baseline,
                baseline_request=event.request,
                outcomes=event.outcomes,
                bottleneck=event.bottleneck,
                ceilings=event.ceilings,
                samples=event.samples,
            )
        case SensitivityAnalyzed():
            return replace(session, sensitivity=session.sensitivity | {event.parent_id: event})
        case VariantCreated():
            record = VariantRecord(event.artifact, event.changed)
            return replace(session, variants=session.variants | {event.artifact.variant_id: record})
        case VariantBenchmarked(variant_id="baseline"):
            return replace(session, baseline_runs=session.baseline_runs + 1)
        case VariantBenchmarked():
            runs = session.variants[event.variant_id].benchmarks + 1
            return _changed(session, event.variant_id, comparison=event.comparison, benchmarks=runs)
        case VariantValidated(variant_id="baseline"):
            return session
        case VariantValidated():
            return _changed(session, event.variant_id, validation=event.validation)
        case DecisionRequested():
            return _changed(session, event.variant_id, asked=event.number)
        case QuestionClosed():
            closed = session.variants[event.variant_id].closed + 1
            return _changed(session, event.variant_id, closed=closed)
        case DecisionMade():
            session = _changed(session, event.variant_id, decision=event)
            return replace(session, decided_after_report=True)
        case PackageBuilt():
            return replace(session, packages=session.packages | {event.variant_id: event.package})
        case ReportRendered(report="tradeoff"):
            return replace(session, decided_after_report=False)
        case ReportRendered():
            return session


def fold(events: Iterable[Recorded], session: Session | None = None) -> Session:
    """The session that `events` add up to, continuing from `session` where one is given."""
    for recorded in events:
        event = recorded.event
        if session is None:
            if not isinstance(event, SessionOpened):
                raise ValueError("a session begins with SessionOpened")
            session = Session(event)
        session = _apply(session, event)
        job = ends(event)
        session = replace(
            session,
            ended=session.ended | {job: event} if job else session.ended,
            history=(*session.history, recorded),
        )
    if session is None:
        raise ValueError("no events")
    return session
