"""BENCHMARK and VALIDATE: a variant against the baseline, in the same run and on the same samples."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import ElicitationResult, Resolve
from mcp.types import CallToolResult
from pydantic import Field

from ..contract.measures import Look, Precision
from ..contract.steps import claims_exact, precision_asked
from ..engine.jobs import Benchmark, Task, Validate, comparison_seconds
from ..state.ledger import ALPHA
from ..state.request import Request
from ..state.session import BASELINE, Session
from .answers import BenchmarkReply, ValidationReply, refuse
from .asking import client_name
from .ledger import take_look
from .looking import OneMoreLook, ask_for_look, settle
from .road import Ctx, Plan, enter, identity, in_thread, resolve, shop_of, work
from .types import Iterations, SessionId, VariantId, WaitS

# Judging the baseline against itself says how far it repeats; there is nothing to pass.
NO_LOOK = Look(number=0, alpha=ALPHA)
# Six parts of a quarter of this are 0.4 s each: below that a part holds too little to say how much the parts differ.
LEAST_SUSTAINED_S = 10


async def benchmark_variant(
    session_id: SessionId,
    variant_id: VariantId,
    ctx: Ctx,
    iterations: Iterations = 200,
    sustained_seconds: Annotated[float, Field(ge=0, le=3600)] = 0,
    wait_s: WaitS = None,
) -> Annotated[CallToolResult, BenchmarkReply]:
    """Measure a variant's speed, size and memory against the baseline: both in alternation in one run, under the
    baseline's conditions. variant_id="baseline" compares the baseline with itself (the machine's noise).
    sustained_seconds (10 or more): then also a constant load of the variant, its last minute against its first."""
    shop = shop_of(ctx)
    session = await enter(ctx, session_id)
    _check_sustained(sustained_seconds, shop.settings.job_minutes)
    variant = resolve(session, variant_id)
    arguments: dict[str, Any] = {
        "variant_id": variant,
        "iterations": iterations,
        "sustained_seconds": sustained_seconds,
    }

    def task(session: Session, job_id: str) -> Task:
        baseline, opened = session.baseline, session.opened
        threads = baseline.threads if baseline else 1
        return Benchmark(
            baseline_path=session.original.path,
            variant_path=session.path_of(variant),
            interface=session.interface,
            evaluation=opened.evaluation,
            iterations=iterations,
            threads=threads,
            batch_size=baseline.batch_size if baseline else 1,
            stamp=shop.stamp(opened.target_device),
            measurement_ids=(f"m-{job_id}-baseline", f"m-{job_id}-{variant}"),
            seconds=comparison_seconds(threads),
            sustained_seconds=sustained_seconds,
            asked=asked_precision(session, variant),
        )

    request = Request(
        "benchmark_variant",
        variant_id=variant,
        identity=identity("benchmark_variant", arguments),
        arguments=arguments,
    )
    return await work(ctx, session_id, Plan(request, task), wait_s)


def _check_sustained(seconds: float, job_minutes: float) -> None:
    if 0 < seconds < LEAST_SUSTAINED_S:
        raise refuse(
            "INVALID_ARGUMENT",
            f"sustained_seconds={seconds:g} is too short to compare its end with its beginning: give {LEAST_SUSTAINED_S} or"
            " more (240 compares whole minutes; a passively cooled board needs about 600 to get hot), or 0 for none.",
        )
    if seconds >= 60 * job_minutes:
        raise refuse(
            "INVALID_ARGUMENT",
            f"sustained_seconds={seconds:g} does not fit a job, which may take {job_minutes:g} min here. Give less, or have"
            " the operator allow more (edgeopt serve --job-minutes N).",
        )


async def validate_variant(
    session_id: SessionId,
    variant_id: VariantId,
    ctx: Ctx,
    answer: Annotated[ElicitationResult[OneMoreLook], Resolve(ask_for_look)],
    wait_s: WaitS = None,
) -> Annotated[CallToolResult, ValidationReply]:
    """Measure a variant's accuracy on the whole evaluation set, sample by sample against the baseline. PASS, FAIL or
    INCONCLUSIVE; anything but PASS stops everything until a person decides or the variant is reverted."""
    shop = shop_of(ctx)
    session = await enter(ctx, session_id)
    variant = resolve(session, variant_id)
    await in_thread(shop, settle, shop, session, variant, answer, client_name(ctx))
    arguments: dict[str, Any] = {"variant_id": variant}

    def task(session: Session, _job_id: str) -> Task:
        opened, outcomes, origin = session.opened, session.first_outcomes, session.opened.derived_from
        if outcomes is None or session.first_accuracy is None:
            raise LookupError("a baseline without outcomes")  # the guardrails have let nothing pass without
        look = take_look(shop, session, session.variants[variant].artifact.sha256) if variant != BASELINE else NO_LOOK
        return Validate(
            baseline_path=session.original.path,
            baseline_outcomes=outcomes.path,
            baseline_outcomes_sha256=outcomes.sha256,
            baseline_accuracy=session.first_accuracy,
            variant_path=session.path_of(variant),
            interface=session.interface,
            evaluation=opened.evaluation,
            data_digest=opened.data.digest,
            tolerance=session.tolerance,
            tolerance_kind=opened.tolerance_kind,
            evidence=opened.evidence,
            # Parity with a model that has lost already says nothing of what is left of the first one.
            exact=origin is None and all(claims_exact(a.technique, a.parameters) for a in session.chain(variant)),
            look_number=look.number,
            alpha=look.alpha,
            user_code=opened.user_code,
            adapter=opened.adapter,
        )

    request = Request(
        "validate_variant",
        variant_id=variant,
        identity=identity("validate_variant", arguments),
        arguments=arguments,
    )

    def already(session: Session) -> bool:
        return variant in session.variants and session.variants[variant].validation is not None

    def concerned(session: Session) -> dict[str, Any]:
        made = session.variants.get(variant)
        return {"sha256": made.artifact.sha256 if made else session.original.sha256}

    return await work(ctx, session_id, Plan(request, task, concerned, already), wait_s)


def asked_precision(session: Session, variant: str) -> Precision | None:
    """What the variant's steps were to give it, the last that gives one; None where none does."""
    steps = reversed(session.chain(variant))
    asked: list[Precision | None] = [precision_asked(made.technique, made.parameters) for made in steps]
    return next((precision for precision in asked if precision is not None), None)
