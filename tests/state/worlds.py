"""Sessions made of real events with invented numbers: what the pure rules are explored on."""

from __future__ import annotations

from typing import Literal

from edgeopt.contract.evaluation import Evaluation
from edgeopt.contract.measures import (
    Accuracy,
    Artifact,
    Comparison,
    DataInfo,
    Latency,
    Look,
    Measurement,
    ModelInfo,
    Noise,
    Package,
    Speedup,
    Validation,
)
from edgeopt.state.events import (
    BaselineMeasured,
    DecisionMade,
    Event,
    FileIdentity,
    JobStarted,
    PackageBuilt,
    SessionOpened,
    VariantBenchmarked,
    VariantCreated,
    VariantValidated,
)
from edgeopt.state.session import Session, fold
from edgeopt.state.store import Recorded

ORIGINAL = FileIdentity(path="/models/net.onnx", sha256="0" * 64, bytes=1000)
STAMP = {"where": "host_estimate", "label": "Host Estimate (not target hardware)", "device": "a machine"}
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


def opened(**changes: object) -> SessionOpened:
    session = SessionOpened(
        session_id="s_" + "0" * 32,
        owner="uid:0",
        model_name="net",
        source_format="onnx",
        target_device="cpu-generic",
        files=[ORIGINAL],
        weights="6" * 64,
        model=ModelInfo(format="onnx", framework="onnx", inputs=[], outputs=[], parameters=1, operators={"Conv": 1}),
        evaluation=Evaluation(dataset_path="/data/test.npz", metric="top1"),
        evaluation_digest="1" * 64,
        data=DataInfo(samples=2000, classes=10, digest="2" * 64, kind="npz"),
        calibration_path="/data/calibration.npz",
        calibration_digest="3" * 64,
        calibration=None,
        accuracy_tolerance=0.02,
        tolerance_kind="relative",
        max_tolerance=0.02,
        evidence="proven",
        latency_target_ms=None,
        preflight=[],
    )
    return session.model_copy(update=changes)


def measurement(mean: float = 2.0) -> Measurement:
    return Measurement.model_validate(
        {
            **STAMP,
            "measurement_id": "m-1",
            "runtime": "onnxruntime",
            "threads": 1,
            "batch_size": 1,
            "latency_ms": Latency(mean=mean, p50=mean, p95=mean, p99=mean, std=0, n=200, p99_is_bound=False),
            "throughput_per_s": 1000 / mean,
            "peak_memory_mb": 50,
            "file_size_bytes": 1000,
            "accuracy": Accuracy(metric="top1", value=0.9, n=2000, ci95=(0.88, 0.92)),
        }
    )


def comparison(speedup: float = 2.0) -> Comparison:
    interval = (speedup * 0.99, speedup * 1.01)
    verdict = "faster" if interval[0] > 1 else "undecided"
    return Comparison(
        baseline=measurement(2.0),
        variant=measurement(2.0 / speedup),
        speedup=Speedup(value=speedup, ci95=interval, verdict=verdict),
        compression=3.5,
        memory_ratio=1.1,
        noise=Noise(half_width=0.01, processes=10, disturbed=False),
    )


def validation(status: Verdict, look: int = 1) -> Validation:
    drop = {"PASS": 0.0, "FAIL": 0.09, "INCONCLUSIVE": 0.015}[status]
    return Validation(
        metric="top1",
        baseline=0.9,
        optimized=0.9 * (1 - drop),
        delta=0.9 * drop,
        relative_drop=drop,
        ci95_relative_drop=(drop - 0.01, drop + 0.01),
        tolerance="2%",
        evidence="proven",
        method="paired score test",
        samples=2000,
        status=status,
        look=Look(number=look, alpha=0.03),
        decision_required=status != "PASS",
        alternatives=[],
        flips=[],
    )


def artifact(number: int, parent: str = "baseline", sha256: str | None = None) -> Artifact:
    return Artifact(
        variant_id=f"v{number}",
        parent_id=parent,
        technique="int8_static",
        parameters={"per_channel": True},
        path=f"/workspace/v{number}.onnx",
        format="onnx",
        precision="int8",
        size_bytes=300,
        sha256=sha256 or f"{number:064x}",
    )


def started(number: int, tool: str, variant_id: str | None = None) -> JobStarted:
    return JobStarted(
        job_id=f"j{number}", tool=tool, request=f"r{number}", arguments={}, spec={}, variant_id=variant_id
    )


def profiled(number: int = 1) -> list[Event]:
    outcomes = FileIdentity(path="/workspace/outcomes.npz", sha256="4" * 64, bytes=10)
    measured = BaselineMeasured(
        job_id=f"j{number}", baseline=measurement(), outcomes=outcomes, bottleneck="Conv", request=f"r{number}"
    )
    return [started(number, "profile_model"), measured]


def created(job: int, number: int, parent: str = "baseline", sha256: str | None = None) -> list[Event]:
    made = VariantCreated(job_id=f"j{job}", artifact=artifact(number, parent, sha256), changed=True)
    return [started(job, "optimize_model", f"v{number}"), made]


def benchmarked(job: int, variant_id: str, speedup: float = 2.0) -> list[Event]:
    measured = VariantBenchmarked(job_id=f"j{job}", variant_id=variant_id, comparison=comparison(speedup))
    return [started(job, "benchmark_variant", variant_id), measured]


def validated(job: int, variant_id: str, status: Verdict) -> list[Event]:
    judged = VariantValidated(
        job_id=f"j{job}", variant_id=variant_id, variant_sha256="5" * 64, validation=validation(status, job)
    )
    return [started(job, "validate_variant", variant_id), judged]


def decided(session: Session, variant_id: str, outcome: Literal["keep", "revert"], by_person: bool) -> DecisionMade:
    return DecisionMade(
        variant_id=variant_id,
        variant_sha256=session.variants[variant_id].artifact.sha256,
        outcome=outcome,
        by_person=by_person,
        decided_by="person, through a test" if by_person else "agent",
        reason="",
    )


def packaged(job: int, variant_id: str) -> list[Event]:
    package = Package(path="/workspace/p", files=[], verified=True, verification="ran")
    return [
        started(job, "package_variant", variant_id),
        PackageBuilt(job_id=f"j{job}", variant_id=variant_id, package=package),
    ]


def grown(session: Session, *events: Event) -> Session:
    """The session with more events."""
    first = session.history[-1].seq + 1
    recorded = [Recorded(first + n, "2026-01-01T00:00:00.000+00:00", event) for n, event in enumerate(events)]
    return fold(recorded, session)


def begun(*events: Event, **changes: object) -> Session:
    """A new session with these events."""
    return grown(fold([Recorded(1, "2026-01-01T00:00:00.000+00:00", opened(**changes))]), *events)
