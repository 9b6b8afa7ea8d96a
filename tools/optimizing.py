"""OPTIMIZE: optimize_model applies one technique; analyze_sensitivity ranks layers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.types import CallToolResult

from ..contract.steps import Distill, Step, needs_calibration, needs_training, precision_asked
from ..engine.jobs import Analyze, Optimize, Task
from ..state.request import Request
from ..state.session import Session
from .answers import SensitivityReply, VariantReply
from .paths import readable
from .road import Ctx, Plan, enter, identity, resolve, shop_of, work
from .types import SessionId, VariantId, WaitS

LONGEST_TECHNIQUES = 100


async def optimize_model(
    session_id: SessionId,
    step: Step,
    ctx: Ctx,
    parent: VariantId = "best",
    wait_s: WaitS = None,
) -> Annotated[CallToolResult, VariantReply]:
    """Apply ONE technique to the baseline or to a kept variant; makes a new file, never touches the original. Then
    benchmark_variant and validate_variant it before the next step."""
    shop, session = shop_of(ctx), await enter(ctx, session_id)
    base = resolve(session, parent)
    named = step.student_path if isinstance(step, Distill) else None
    student = readable(shop.settings, named, "student") if named else None
    arguments = {"step": step.model_dump(mode="json"), "parent": base}

    def task(session: Session, _job_id: str) -> Task:
        opened = session.opened
        calibrated = needs_calibration(step.technique, step.model_dump())
        trained = needs_training(step.technique, step.model_dump())
        return Optimize(
            parent_path=session.path_of(base),
            step=step,
            device=opened.target_device,
            interface=session.interface,
            threads=session.baseline.threads if session.baseline else 1,
            file_stem=file_stem(session, base, step),
            evaluation=opened.evaluation,
            calibration_path=opened.calibration_path if calibrated else None,
            calibration_digest=opened.calibration.digest if calibrated and opened.calibration else None,
            training_path=opened.training_path if trained else None,
            training_digest=opened.training.digest if trained and opened.training else None,
            baseline_path=session.original.path if trained else None,
            tolerance=session.tolerance,
            tolerance_kind=opened.tolerance_kind,
            student_path=str(student) if student else None,
            student_sha256=shop.fingerprints.path(student) if student else None,
        )

    request = Request(
        "optimize_model",
        variant_id=base,
        step=step,
        identity=identity("optimize_model", arguments),
        arguments=arguments,
    )
    return await work(ctx, session_id, Plan(request, task), wait_s)


def file_stem(session: Session, parent: str, step: Step) -> str:
    """`{model}_{optimization}_{precision}`: the original's name, every technique applied, the precision."""
    chain = session.chain(parent)
    model = re.sub(r"[^A-Za-z0-9._-]", "_", Path(session.original.path).stem)[:64]
    inherited = chain[-1].precision if chain else "fp32"
    techniques = "-".join([*(a.technique for a in chain), step.technique])
    if len(techniques) > LONGEST_TECHNIQUES:  # file names end at 255 bytes; the package's metadata lists every step
        techniques = f"{len(chain)}-steps-{step.technique}"
    return f"{model}_{techniques}_{precision_asked(step.technique, step.model_dump()) or inherited}"


async def analyze_sensitivity(
    session_id: SessionId,
    ctx: Ctx,
    parent: VariantId = "best",
    method: Literal["auto"] = "auto",
    wait_s: WaitS = None,
) -> Annotated[CallToolResult, SensitivityReply]:
    """Rank the layers of a float ONNX model by what quantizing each alone costs, on calibration data: the names to give
    int8_static as keep_float. Opens no evaluation data, costs no look."""
    session = await enter(ctx, session_id)
    base = resolve(session, parent)
    arguments: dict[str, Any] = {"parent": base, "method": method}
    request = Request(
        "analyze_sensitivity",
        variant_id=base,
        identity=identity("analyze_sensitivity", arguments),
        arguments=arguments,
    )

    def task(session: Session, _job_id: str) -> Task:
        opened = session.opened
        return Analyze(
            parent_path=session.path_of(base),
            interface=session.interface,
            evaluation=opened.evaluation,
            calibration_path=opened.calibration_path or "",
            user_code=opened.user_code,
            adapter=opened.adapter,
        )

    plan = Plan(request, task, recorded=lambda session: base in session.sensitivity)
    return await work(ctx, session_id, plan, wait_s)
