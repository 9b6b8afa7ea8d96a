"""What the end of a job adds to a session's history. Any server may find a job over; the store takes one end of each."""

from __future__ import annotations

from pathlib import Path

from ..contract.measures import Artifact, Ceiling, FileDigest, LayerScore, Validation
from ..contract.text import untrusted
from ..engine import jobs
from ..engine.executor.base import Done, Failed, NotStarted
from ..state.events import (
    BaselineMeasured,
    DecisionMade,
    Event,
    FileIdentity,
    JobFailed,
    JobStarted,
    PackageBuilt,
    SensitivityAnalyzed,
    VariantBenchmarked,
    VariantCreated,
    VariantValidated,
)
from ..state.session import Session
from ..state.store import Conflict
from .alternatives import alternatives
from .delivery import DeliveryFailed, deliver
from .ledger import with_history
from .lineage import register
from .workshop import Workshop

SKETCH_AT_MOST = 512
CEILINGS_AT_MOST = 5
COMPANIONS_AT_MOST = 4
LAYERS_AT_MOST = 20


def reconcile(shop: Workshop, session_id: str, *, reading: bool = False) -> Session:
    """Records the end of every job of this session that is over, and restarts what nobody is working on.

    Raises:
        NotStarted: a job could not be restarted. Not while `reading`: what is recorded can be read all the same, and
            the next call that waits for the job tries again.
    """
    while True:
        session, tip = shop.load(session_id)
        over = None
        for job in session.running:
            folder = shop.job_folder(session_id, job.job_id)
            view = shop.executor.poll(folder)
            if view.state == "over":
                over = job
                break
            if view.state in ("absent", "waiting"):
                try:
                    shop.executor.submit(folder, jobs.JobSpec.model_validate(job.spec))
                except NotStarted:
                    if not reading:
                        raise
        if over is None:
            return session
        try:
            shop.record(session_id, tip, *_events(shop, session, over))
        except Conflict:
            continue


def _events(shop: Workshop, session: Session, job: JobStarted) -> list[Event]:
    outcome = shop.executor.collect(shop.job_folder(session.session_id, job.job_id))
    if isinstance(outcome, Failed):
        problem = outcome.problem
        return [
            JobFailed(
                job_id=job.job_id,
                code=problem.code,
                message=problem.message[:2000],
                missing=problem.missing[:20],
                log_tail=outcome.log_tail,
            )
        ]
    try:
        return _ends(shop, session, job, outcome)
    except DeliveryFailed as error:
        return [JobFailed(job_id=job.job_id, code=error.code, message=str(error))]
    except OSError as error:
        message = f"The job's result could not be taken over ({error}). Call again; if it stays so, check the disk."
        return [JobFailed(job_id=job.job_id, code="RESULT_UNREADABLE", message=message)]


def _ends(shop: Workshop, session: Session, job: JobStarted, done: Done) -> list[Event]:
    spec = jobs.JobSpec.model_validate(job.spec)
    task, answer, files = spec.task, done.result, done.files
    match task, answer:
        case jobs.Profile(), jobs.Profiled():
            path = files / Path(answer.outcomes).name
            # A worker says what it measured; where and under which id is the server's to say.
            baseline = answer.baseline.model_copy(
                update={**task.stamp.model_dump(), "measurement_id": task.measurement_id}
            )
            if baseline.accuracy is not None:
                accuracy = baseline.accuracy.model_copy(update=_by_user_code(session))
                baseline = baseline.model_copy(update={"accuracy": accuracy})
            outcomes = FileIdentity(path=str(path), sha256=shop.fingerprints.file(path), bytes=path.stat().st_size)
            return [
                BaselineMeasured(
                    job_id=job.job_id,
                    baseline=baseline,
                    outcomes=outcomes,
                    bottleneck=untrusted(answer.bottleneck, 300),
                    request=job.request,
                    samples=answer.samples[:SKETCH_AT_MOST],
                    ceilings=[_clean(ceiling) for ceiling in answer.ceilings[:CEILINGS_AT_MOST]],
                )
            ]
        case jobs.Analyze(), jobs.Analyzed():
            return [
                SensitivityAnalyzed(
                    job_id=job.job_id,
                    parent_id=job.variant_id or "",
                    layers=[_named(layer) for layer in answer.layers[:LAYERS_AT_MOST]],
                    of=answer.of,
                    samples=answer.samples,
                    confirmation=untrusted(answer.confirmation, 400),
                )
            ]
        case jobs.Optimize(), jobs.Optimized():
            path = files / Path(answer.file.name).name
            companions = [_companion(shop, files, file) for file in answer.companions[:COMPANIONS_AT_MOST]]
            register(shop, session, job.variant_id or "", shop.fingerprints.file(path), answer.weights)
            artifact = Artifact(
                variant_id=job.variant_id or "",
                parent_id=job.arguments["parent"],
                technique=task.step.technique,
                parameters=task.step.model_dump(exclude={"technique"}) | answer.parameters,
                path=str(path),
                format=answer.format,
                precision=answer.precision,
                size_bytes=path.stat().st_size + sum(companion.bytes for companion in companions),
                sha256=shop.fingerprints.file(path),
                companions=companions,
                notes=[untrusted(note, 400) for note in answer.notes[:10]],
            )
            return [VariantCreated(job_id=job.job_id, artifact=artifact, changed=answer.changed)]
        case jobs.Benchmark(), jobs.Benchmarked():
            stamp, (first, second) = task.stamp.model_dump(), task.measurement_ids
            comparison = answer.comparison.model_copy(
                update={
                    "baseline": answer.comparison.baseline.model_copy(update={**stamp, "measurement_id": first}),
                    "variant": answer.comparison.variant.model_copy(update={**stamp, "measurement_id": second}),
                    "why_not_faster": untrusted(answer.comparison.why_not_faster or "", 1200) or None,
                }
            )
            return [VariantBenchmarked(job_id=job.job_id, variant_id=job.variant_id or "", comparison=comparison)]
        case jobs.Validate(), jobs.Validated():
            variant_id = job.variant_id or ""
            judged = answer.validation.model_copy(
                update=_by_user_code(session) | _by_origin(session, answer.validation)
            )
            if variant_id in session.variants:
                judged = with_history(shop, session, session.variants[variant_id].artifact.sha256, judged)
                options = alternatives(session.variants[variant_id].artifact, judged)
                judged = judged.model_copy(update={"alternatives": options})
            return [
                VariantValidated(
                    job_id=job.job_id,
                    variant_id=variant_id,
                    variant_sha256=job.arguments["sha256"],
                    validation=judged,
                )
            ]
        case jobs.BuildPackage(), jobs.Packaged():
            return _packaged(shop, session, job, task, answer, files)
    message = f"The worker answered {answer.kind!r} to a {task.kind!r} job. Please report this."
    return [JobFailed(job_id=job.job_id, code="BAD_ANSWER", message=message)]


def _companion(shop: Workshop, files: Path, said: FileDigest) -> FileDigest:
    """A file that a variant keeps beside its own, as this server finds it."""
    path = files / Path(said.name).name
    return FileDigest(name=path.name, sha256=shop.fingerprints.file(path), bytes=path.stat().st_size)


def _named(layer: LayerScore) -> LayerScore:
    """Layers are named by the model's author."""
    return layer.model_copy(update={"name": untrusted(layer.name, 120), "op": untrusted(layer.op, 40)})


def _clean(ceiling: Ceiling) -> Ceiling:
    """Operators are named by the model's author."""
    return ceiling.model_copy(
        update={
            "technique": untrusted(ceiling.technique, 40),
            "operators": [untrusted(operator, 40) for operator in ceiling.operators[:5]],
            "warning": untrusted(ceiling.warning or "", 200) or None,
        }
    )


def _by_origin(session: Session, judged: Validation) -> dict[str, str]:
    """What a verdict refers to where the session's model is itself a variant."""
    origin = session.opened.derived_from
    if origin is None:
        return {}
    first = untrusted(Path(origin.file.path).name)
    return {
        "method": f"{judged.method}; against {first}, the first original, of which this session's model is a variant"
    }


def _by_user_code(session: Session) -> dict[str, str | None]:
    """Whose code had a hand in a value: the server's to say, since that code ran in the worker."""
    had_a_hand = session.opened.user_codes
    return {"user_code": "; ".join(map(str, had_a_hand)) or None}


def _packaged(
    shop: Workshop, session: Session, job: JobStarted, task: jobs.BuildPackage, answer: jobs.Packaged, files: Path
) -> list[Event]:
    if not answer.verified:
        message = f"The package did not verify: {untrusted(answer.verification, 1000)}. Nothing was delivered."
        return [JobFailed(job_id=job.job_id, code="PACKAGE_NOT_VERIFIED", message=message)]
    variant_id = job.variant_id or ""
    record = session.variants[variant_id]
    place, key = Path(job.arguments["output"]), shop.settings.signing_key
    package = deliver(files / "package", place, answer, record.artifact, task.metadata, key)
    kept: list[Event] = []
    if record.decision is None:
        kept = [DecisionMade.by_agent(record.artifact, "keep", "packaged", how="agent, by packaging a PASS")]
    return [*kept, PackageBuilt(job_id=job.job_id, variant_id=variant_id, package=package)]
