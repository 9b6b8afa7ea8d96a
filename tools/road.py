"""The one road of every call: load the session, look up the facts, let the guardrails judge, do the work as a durable
job, record what came of it, answer."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import anyio
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context
from mcp.types import CallToolResult

from ..contract.refusals import NextCall, Refusal
from ..engine.jobs import JobSpec, Optimize, Pinned, PinnedFile, Source, Task
from ..state.block import state_block
from ..state.events import (
    BaselineMeasured,
    Event,
    JobFailed,
    JobStarted,
    PackageBuilt,
    SensitivityAnalyzed,
    VariantBenchmarked,
    VariantCreated,
    VariantValidated,
)
from ..state.guardrails import judge
from ..state.request import Facts, Request
from ..state.session import Session
from ..state.store import Conflict
from .answers import (
    GUARDRAILS,
    BenchmarkReply,
    PackageReply,
    ProfileReply,
    Refused,
    Reply,
    SensitivityReply,
    ValidationReply,
    VariantReply,
    result,
)
from .evidence import Case, of_benchmark, of_failure, of_validation
from .facts import look_up
from .log import failure_log, job_log
from .playbooks import here, lines
from .recording import reconcile
from .workshop import Workshop, local_owner

Ctx = Context[Workshop, Any]
T = TypeVar("T")

# A worker's problem with one of these codes is the caller's to mend: it is answered as a refusal.
REFUSALS_FROM_WORK = frozenset(
    {
        "INVALID_ARGUMENT",
        "BAD_FILE",
        "PATH_NOT_ALLOWED",
        "UNTRUSTED_CODE",
        "ORIGINAL_PROTECTED",
        "VARIANT_CHANGED",
        "BASELINE_IMPLAUSIBLE",
        "SAME_DATASET",
        "CALIBRATION_REQUIRED",
        "CALIBRATION_UNFIT",
        "TRAINING_REQUIRED",
        "TRAINING_UNFIT",
        "UNAVAILABLE",
        "DISK_SPACE",
    }
)


# What the knowledge base has on a refusal that only other data can mend.
_EXPLAINED = {
    "CALIBRATION_REQUIRED": "calibration set is too small",
    "CALIBRATION_UNFIT": "calibration set is too small or unfit",
    "TRAINING_REQUIRED": "training set for QAT and pruning",
    "TRAINING_UNFIT": "training set for QAT and pruning",
    "BASELINE_IMPLAUSIBLE": "preprocessing baseline implausible",
}


def shop_of(ctx: Ctx) -> Workshop:
    return ctx.request_context.lifespan_context


@dataclass(frozen=True)
class Plan:
    """What a tool wants done: `task` is made only after the guardrails have let the request pass."""

    request: Request
    task: Callable[[Session, str], Task]
    arguments: Callable[[Session], dict[str, Any]] = lambda _: {}
    recorded: Callable[[Session], bool] = lambda _: False


def identity(tool: str, arguments: dict[str, Any]) -> str:
    """What makes two calls the same call."""
    canonical = json.dumps([tool, arguments], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


async def enter(ctx: Ctx, session_id: str) -> Session:
    """The session, up to date, for whoever may read it. What else a tool asks is judged when it starts its work.

    Raises:
        Refused: UNKNOWN_SESSION, NOT_YOUR_SESSION.
    """
    shop = shop_of(ctx)
    session = await in_thread(shop, partial(reconcile, shop, session_id, reading=True))
    if refusal := judge(session, Request("get_state"), Facts(owner=owner_of(ctx))):
        raise Refused(refusal)
    return session


def owner_of(_: Ctx) -> str:
    """Who is calling."""
    return caller()


def caller() -> str:
    """Who is calling: the holder of a bearer token, or this user of this machine."""
    token = get_access_token()
    return f"token:{token.subject or token.client_id}" if token else local_owner()


async def in_thread(shop: Workshop, function: Callable[..., T], *arguments: Any) -> T:
    """Runs blocking work off the event loop, on a limiter that the transport's own threads do not share."""
    return await anyio.to_thread.run_sync(function, *arguments, limiter=shop.threads)


def guarded(shop: Workshop, session: Session, request: Request, facts: Facts, *, recorded: bool = False) -> None:
    """Lets the guardrails judge; a refusal goes into the history and is raised. `recorded`: nothing would run."""
    if refusal := judge(session, request, facts, recorded=recorded):
        raise note_refusal(shop, session, request.tool, refusal)


def note_refusal(shop: Workshop, session: Session, tool: str, refusal: Refusal) -> Refused:
    """Records a refusal and gives the exception to raise for it."""
    refused = Refused(refusal, state_block(session))
    if refusal.code != "NOT_YOUR_SESSION":
        shop.record_refusal(session, tool, refused)
        refused.state = state_block(shop.load(session.session_id)[0])
    else:
        refused.state = None
    return refused


async def work(ctx: Ctx, session_id: str, plan: Plan, wait_s: float | None, **known: Any) -> CallToolResult:
    """Long work: starts the job, or joins the same one that is running; waits; answers.

    `known` are facts that the tool has looked up itself.
    """
    shop = shop_of(ctx)
    job_id = await in_thread(shop, _start, shop, session_id, plan, owner_of(ctx), known)
    if job_id is None:
        return _recorded_answer(shop, shop.load(session_id)[0], plan.request)
    return await wait(ctx, session_id, job_id, wait_s)


def _start(shop: Workshop, session_id: str, plan: Plan, owner: str, known: dict[str, Any]) -> str | None:
    """The id of the job that does this request; None where its result is recorded already."""
    while True:
        reconcile(shop, session_id)
        session, tip = shop.load(session_id)  # judged as of `tip`: whatever is recorded later is a Conflict
        if session.opened.owner != owner:
            guarded(shop, session, plan.request, Facts(owner=owner))
        for job in session.running:
            if job.request == plan.request.identity:
                return job.job_id
        recorded = plan.recorded(session)
        facts = look_up(shop, session, plan.request, owner, **known)
        guarded(shop, session, plan.request, facts, recorded=recorded)
        if recorded:
            return None
        job_id = f"j{len(session.jobs) + 1}-{secrets.token_hex(3)}"
        task = plan.task(session, job_id)
        spec = JobSpec(
            job_id=job_id,
            task=task,
            pinned=_pinned(session, task),
            source=_source(shop, session),
            hidden=shop.settings.secrets,
            toolchains=str(shop.settings.toolchains) if shop.settings.toolchains else None,
            roots=[str(root.resolve()) for root in shop.settings.readable],
            memory_mb=shop.settings.job_memory_mb,
            timeout_s=shop.settings.job_minutes * 60,
        )
        started = JobStarted(
            job_id=job_id,
            tool=plan.request.tool,
            request=plan.request.identity,
            arguments=plan.request.arguments | plan.arguments(session),
            spec=spec.model_dump(mode="json"),
            variant_id=_concerned(session, plan.request),
        )
        try:
            shop.record(session_id, tip, started)
        except Conflict:
            continue
        shop.executor.submit(shop.job_folder(session_id, job_id), spec)
        return job_id


def _pinned(session: Session, task: Task) -> list[Pinned]:
    """The recorded files that a task names: whoever exchanges one while the worker reads gains nothing by it."""

    def pin(code: Any, files: Iterable[tuple[str, str]]) -> Pinned:
        return Pinned(code=code, files=[PinnedFile(path=path, sha256=sha256) for path, sha256 in files])

    known = [pin("ORIGINAL_PROTECTED", [(f.path, f.sha256) for f in session.opened.files])]
    known += [pin("VARIANT_CHANGED", record.artifact.files) for record in session.variants.values()]
    if outcomes := session.first_outcomes:
        known.append(pin("BAD_FILE", [(outcomes.path, outcomes.sha256)]))
    if isinstance(task, Optimize) and task.student_path and task.student_sha256:
        known.append(pin("BAD_FILE", [(task.student_path, task.student_sha256)]))
    named = {value for _, value in task if isinstance(value, str)}
    return [pinned for pinned in known if pinned.files[0].path in named]


def _source(shop: Workshop, session: Session) -> Source | None:
    """How a worker makes a model of an original of PyTorch's that is none as it is."""
    if session.opened.source_format != "pytorch":
        return None
    return Source(loader=session.opened.loader, allow_pickle=shop.settings.allow_pickle, interface=session.interface)


def _concerned(session: Session, request: Request) -> str | None:
    return session.next_variant_id() if request.tool == "optimize_model" else request.variant_id


async def wait(ctx: Ctx, session_id: str, job_id: str, wait_s: float | None) -> CallToolResult:
    """Waits for a job up to `wait_s` seconds, passing its progress on; answers with its end, or `running`."""
    shop = shop_of(ctx)
    limit = shop.settings.max_wait_s if wait_s is None else min(wait_s, 600)
    deadline = time.monotonic() + limit
    folder = shop.job_folder(session_id, job_id)
    told, pause = -1.0, 0.02
    while True:
        session = await in_thread(shop, reconcile, shop, session_id)
        if job_id in session.ended:
            return ended(shop, session, job_id)
        progress = shop.executor.poll(folder).progress
        done, message = (progress.done, progress.message) if progress else (0.0, "starting")
        if done > told:
            await ctx.report_progress(done, 1.0, message)
            told = done
        left = deadline - time.monotonic()
        if left <= 0:
            return _running(session, job_id, done, message, shop.settings.max_wait_s)
        await anyio.sleep(min(pause, left))
        pause = min(pause * 1.3, 0.25)


def _running(session: Session, job_id: str, done: float, message: str, usual_s: float) -> CallToolResult:
    reply = Reply(
        status="running",
        state=state_block(session),
        job_id=job_id,
        progress=round(done, 4),
        message=message,
        suggested_wait_s=max(1.0, usual_s),  # nobody should ask without a pause
    )
    return result(reply, f"{job_id} is running ({done:.0%}): {message}. Call wait_for_job.")


def ended(shop: Workshop, session: Session, job_id: str) -> CallToolResult:
    """The answer of a job that is over, as the tool that started it gives it.

    Raises:
        Refused: the work found that the caller's input is at fault.
    """
    event, job = session.ended[job_id], session.jobs[job_id]
    if not isinstance(event, JobFailed):
        return _answer(shop, session, job, event)
    if event.code in REFUSALS_FROM_WORK:
        raise note_refusal(shop, session, job.tool, _as_refusal(session, event))
    reply = Reply(
        status="failed",
        state=state_block(session),
        job_id=job_id,
        message=f"{event.code}: {event.message}",
        playbook=_advised(shop, of_failure(event.code, event.message, event.log_tail, session, job)),
        log_tail=event.log_tail,
    )
    return result(reply, failure_log(job, event, reply.playbook or []))


def _answer(shop: Workshop, session: Session, job: JobStarted, event: Event) -> CallToolResult:
    """The success of a job; what is no good news carries what to do about it."""
    case = _trouble(session, event)
    reply, log = _reply(session, job, event), job_log(session, event)
    if case is None:
        return result(reply, log)
    advised = _advised(shop, case)
    numbered = [f"{n}. {line}" for n, line in enumerate(advised, 1)]
    return result(
        reply.model_copy(update={"playbook": advised}), "\n".join([log.rstrip(), "", "**What to do**:", *numbered])
    )


def _trouble(session: Session, event: Event) -> Case | None:
    match event:
        case VariantValidated():
            return of_validation(session, event.variant_id, event.validation)
        case VariantBenchmarked():
            return of_benchmark(session, event.variant_id, event.comparison)
        case _:
            return None


def _advised(shop: Workshop, case: Case) -> list[str]:
    return lines(case, partial(here, toolchains=shop.settings.toolchains))


def _as_refusal(session: Session, event: JobFailed) -> Refusal:
    why = "shows what is recorded; nothing was lost"
    calls = [NextCall(tool="get_state", arguments={"session_id": session.session_id}, why=why)]
    if query := _EXPLAINED.get(event.code):
        calls.append(
            NextCall(tool="search_knowledge", arguments={"query": query}, why="says what is fit, and what to do")
        )
    return Refusal.model_validate(
        {
            "code": event.code,
            "guardrail": GUARDRAILS[event.code],
            "message": event.message,
            "missing": event.missing,
            "next_calls": calls,
        }
    )


def _reply(session: Session, job: JobStarted, event: Event) -> Reply:
    """The success of a job, as the reply of the tool that started it."""
    envelope: dict[str, Any] = {"state": state_block(session), "job_id": job.job_id}
    match event:
        case BaselineMeasured():
            return ProfileReply(**envelope, baseline=event.baseline, ceilings=event.ceilings)
        case SensitivityAnalyzed():
            return SensitivityReply(**envelope, layers=event.layers, message=event.confirmation)
        case VariantCreated():
            made = next(v for v in session.all_variants() if v.variant_id == event.artifact.variant_id)
            return VariantReply(**envelope, variant=made.brief())
        case VariantBenchmarked():
            return BenchmarkReply(**envelope, comparison=event.comparison)
        case VariantValidated():
            return ValidationReply(**envelope, validation=event.validation)
        case PackageBuilt():
            return PackageReply(**envelope, package=event.package)
    raise TypeError(f"{event.kind} does not end a job")


def _recorded_answer(shop: Workshop, session: Session, request: Request) -> CallToolResult:
    """The answer that an earlier job of the same request gave."""
    for job_id, job in reversed(session.jobs.items()):
        event = session.ended.get(job_id)
        same = job.tool == request.tool and job.variant_id == request.variant_id
        if same and event is not None and not isinstance(event, JobFailed):
            return _answer(shop, session, job, event)
    raise LookupError(f"{request.tool} has no recorded result")


def resolve(session: Session, variant_id: str) -> str:
    """'best' as the id that it stands for now."""
    return session.best if variant_id == "best" else variant_id
