"""open_session: a model, a target, an evaluation set and a tolerance become a session, after a pre-flight."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Elicit, ElicitationResult, Resolve
from mcp.types import CallToolResult
from pydantic import Field

from ..contract.devices import Device
from ..contract.evaluation import Evaluation
from ..contract.text import untrusted
from ..state.block import state_block
from ..state.events import SessionOpened
from ..state.store import START
from .answers import OpenReply, result
from .asking import client_name
from .inspecting import Looked, look
from .leave import Leave, allowed_by, ask_leave
from .lineage import yardstick
from .log import preflight_log
from .loosening import Consent, consent
from .preflight import preflight
from .road import Ctx, in_thread, owner_of, shop_of
from .workshop import Workshop

Tolerance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


async def ask_about_descent(
    evaluation: Evaluation,
    ctx: Ctx,
    looked: Annotated[Looked, Resolve(look)],
    _consent: Annotated[Consent, Resolve(consent)],
) -> Leave | Elicit[Leave] | None:
    """The question to a person before a variant is opened as an original; of anything else nobody is asked. One question at
    a time: it comes after that about the bar."""
    seen, inputs = looked.seen, looked.inputs
    codes = [code for code in (inputs.adapter, inputs.user_code) if code is not None]
    prepared = evaluation.model_copy(update={"preprocessing": seen.preprocessing})
    asked = yardstick(prepared, seen.evaluation.digest, codes)
    return await ask_leave(ctx, looked.files[0], seen.weights, asked)


async def open_session(
    model_path: str,
    target_device: Device,
    evaluation: Evaluation,
    ctx: Ctx,
    looked: Annotated[Looked, Resolve(look)],
    consent: Annotated[Consent, Resolve(consent)],
    leave: Annotated[ElicitationResult[Leave], Resolve(ask_about_descent)],
    calibration_path: str | None = None,
    training_path: str | None = None,
    accuracy_tolerance: Tolerance = 0.02,
    tolerance_kind: Literal["relative", "absolute"] = "relative",
    evidence: Literal["proven", "point"] = "proven",
    latency_target_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None,
    loader: str | None = None,
) -> Annotated[CallToolResult, OpenReply]:
    """Open an optimization session on a trained model; start here. Checks the files and loads the model once. Next:
    profile_model. Keep session_id: every other tool needs it. calibration_path is needed for INT8, training_path (labelled)
    for pruning, qat_int8 and distill."""
    shop, inputs, seen, files = shop_of(ctx), looked.inputs, looked.seen, looked.files
    name = model_name or _safe_name(inputs.model)
    calibration, code, adapter = seen.calibration, inputs.user_code, inputs.adapter
    opened = SessionOpened(
        session_id=f"s_{secrets.token_hex(16)}",
        owner=owner_of(ctx),
        model_name=name,
        source_format=seen.model.format,
        target_device=target_device,
        files=files,
        weights=seen.weights,
        model=seen.model,
        evaluation=evaluation.model_copy(
            update={
                "dataset_path": str(inputs.dataset),
                "preprocessing": seen.preprocessing,
                "metric_code": f"{code.path}:{code.function}" if code else None,
                "adapter": f"{adapter.path}:{adapter.function}" if adapter else None,
            }
        ),
        evaluation_digest=await in_thread(shop, shop.fingerprints.path, inputs.dataset),
        data=seen.evaluation,
        calibration_path=str(inputs.calibration) if inputs.calibration else None,
        calibration_digest=await _digest(shop, inputs.calibration),
        calibration=calibration,
        training_path=str(inputs.training) if inputs.training else None,
        training_digest=await _digest(shop, inputs.training),
        training=seen.training,
        accuracy_tolerance=accuracy_tolerance,
        tolerance_kind=tolerance_kind,
        max_tolerance=shop.settings.policy.max_tolerance,
        evidence=evidence,
        latency_target_ms=latency_target_ms,
        preflight=[],
        loosened_by=consent.by,
        decisions=shop.settings.policy.decisions,
        user_code=code,
        adapter=adapter,
        loader=inputs.loader,
    )
    origin = await in_thread(shop, allowed_by, shop, files[0], seen.weights, leave, client_name(ctx))
    opened = opened.model_copy(update={"derived_from": origin})
    opened = opened.model_copy(update={"preflight": preflight(shop, opened, seen)})
    shop.record(opened.session_id, START, opened)
    session, _ = shop.load(opened.session_id)
    warnings = [untrusted(w, 300) for w in seen.warnings[:5]]
    reply = OpenReply(
        state=state_block(session),
        message="; ".join(warnings) or None,
        session_id=opened.session_id,
        preflight=opened.preflight,
        model=_short(seen.model),
        preprocessing=seen.preprocessing,
    )
    warned = "".join(f"\nWarning: {w}" for w in warnings)
    return result(reply, f"**session_id**: {opened.session_id}\n\n{preflight_log(opened)}{warned}")


async def _digest(shop: Workshop, data: Path | None) -> str | None:
    return await in_thread(shop, shop.fingerprints.path, data) if data else None


def _safe_name(model: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", model.stem)[:64] or "model"


def _short(model: Any) -> Any:
    """The model's facts without the tail of its operators, so that an answer stays small."""
    common = dict(sorted(model.operators.items(), key=lambda kv: -kv[1])[:12])
    return model.model_copy(update={"operators": common, "inputs": model.inputs[:8], "outputs": model.outputs[:8]})
