"""open_session: a model, a target, an evaluation set and a tolerance become a session, after a pre-flight."""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
from mcp.server.mcpserver import AcceptedElicitation, Elicit, ElicitationResult, Resolve
from mcp.types import CallToolResult
from pydantic import BaseModel, Field

from ..contract.devices import DEVICES, Device
from ..contract.evaluation import DETECTION, Evaluation, UserCode
from ..contract.refusals import Refusal
from ..contract.text import untrusted
from ..engine.executor.base import Failed
from ..engine.jobs import Inspect, Inspected, JobSpec
from ..engine.models import formats
from ..engine.sandbox import capabilities
from ..state.block import state_block, tolerance_text
from ..state.events import FileIdentity, PreflightItem, SessionOpened
from ..state.store import START
from .answers import GUARDRAILS, JobBroke, OpenReply, Refused, refuse, result
from .asking import client_name, why_not_asked
from .leave import Leave, allowed_by, ask_leave
from .lineage import yardstick
from .log import preflight_log
from .paths import readable, real_path, shown
from .playbooks import playbook
from .road import REFUSALS_FROM_WORK, Ctx, in_thread, owner_of, shop_of
from .workshop import Settings, Workshop

LOAD_SECONDS = 30
Tolerance = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Loosening(BaseModel):
    """The form that a person fills in."""

    outcome: Literal["accept", "refuse"] = Field(description="Open the session with this looser bar?")
    reason: str = Field(default="", max_length=500, description="Why (kept in the history)")


@dataclass(frozen=True)
class Inputs:
    """The files of a session, as real paths that may be read."""

    model: Path
    dataset: Path
    calibration: Path | None
    user_code: UserCode | None = None
    adapter: UserCode | None = None


def check_inputs(settings: Settings, model_path: str, evaluation: Evaluation, calibration_path: str | None) -> Inputs:
    """The cheap checks, before anybody is asked and before anything is read.

    Raises:
        Refused: PATH_NOT_ALLOWED, BAD_FILE, UNTRUSTED_CODE, UNAVAILABLE.
    """
    model = readable(settings, model_path, "model")
    dataset = readable(settings, evaluation.dataset_path, "evaluation set")
    calibration = readable(settings, calibration_path, "calibration set") if calibration_path else None
    adapter = _allowed_code(settings, "adapter", evaluation.adapter) if evaluation.adapter else None
    code = _allowed_code(settings, "metric_code", evaluation.metric_code) if evaluation.metric_code else None
    _check_format(settings, model)
    _check_decoding(evaluation)
    if (evaluation.metric == "custom") != (code is not None):
        raise refuse(
            "INVALID_ARGUMENT", "metric='custom' and metric_code='file.py:function' go together; give both or neither."
        )
    return Inputs(model, dataset, calibration, code, adapter)


def _check_decoding(evaluation: Evaluation) -> None:
    """A detector's outputs are described once; nothing else is decoded.

    Raises:
        Refused: INVALID_ARGUMENT.
    """
    described = [name for name in ("decoding", "adapter") if getattr(evaluation, name)]
    if evaluation.metric in DETECTION and len(described) != 1:
        raise refuse(
            "INVALID_ARGUMENT",
            f"The metric {evaluation.metric} compares boxes: how do the model's outputs describe them? Give evaluation."
            "decoding (kind 'boxes': outputs of boxes and scores; 'rows': one tensor of them, as YOLOs; 'grid': a box a cell) "
            "or, with the operator's leave, evaluation.adapter; one of the two.",
            missing=[] if described else ["evaluation.decoding"],
        )
    if evaluation.metric not in DETECTION and evaluation.decoding:
        raise refuse("INVALID_ARGUMENT", f"evaluation.decoding is for map and map50, not for {evaluation.metric}.")


def _allowed_code(settings: Settings, name: str, given: str) -> UserCode:
    """`file.py:function` as the operator allowed it: by the content that the file had when the server was started.

    Raises:
        Refused: UNTRUSTED_CODE, INVALID_ARGUMENT.
    """
    path, _, function = given.rpartition(":")
    file = real_path(path or given, name)
    if file not in settings.user_code:
        raise refuse(
            "UNTRUSTED_CODE",
            f"{name} names the file {shown(file)}, which the operator has not allowed to run (--allow-user-code FILE).",
        )
    if not path or not function.isidentifier():
        raise refuse("INVALID_ARGUMENT", f"{name} names a function as file.py:function; {untrusted(given)} does not.")
    code = UserCode(path=str(file), function=function, sha256=settings.user_code[file])
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != code.sha256:
        raise refuse(
            "UNTRUSTED_CODE",
            f"{name} names {shown(file)}, which has changed since the server was started, and the operator allowed what it "
            "was then. Put it back, or ask the operator to read it and start the server again.",
        )
    return code


def _no_other_code(name: str) -> Refused:
    return refuse("UNAVAILABLE", f"{name}: of user code only metrics and adapters run in this version.")


def _check_format(settings: Settings, model: Path) -> None:
    sniffed = formats.sniff(model)
    if sniffed.pickle and not settings.allow_pickle:
        raise refuse(
            "UNTRUSTED_CODE",
            f"{model.name} is a pickle: opening it runs whatever code is in it. Export it to ONNX yourself, or have the "
            "operator start the server with --allow-pickle.",
        )
    if sniffed.format not in ("onnx", "unknown"):
        raise refuse(
            "UNAVAILABLE",
            f"{model.name} is a {sniffed.what}; this version opens ONNX alone. Export the model to ONNX first.",
        )


def loosening(settings: Settings, tolerance: float, kind: str, evidence: str) -> list[str]:
    """How the asked bar is looser than the policy's; nothing where it is not."""
    policy = settings.policy
    loose: list[str] = []
    if kind == "relative" and tolerance > policy.max_tolerance:
        loose.append(f"a tolerance of {tolerance:.4g} relative instead of at most {policy.max_tolerance:.4g}")
    if evidence == "point" and policy.evidence == "proven":
        loose.append("the point estimate instead of proof (evidence='point')")
    return loose


async def ask_about_loosening(
    model_path: str,
    evaluation: Evaluation,
    calibration_path: str | None,
    accuracy_tolerance: float,
    tolerance_kind: str,
    evidence: str,
    loader: str | None,
    ctx: Ctx,
) -> Loosening | Elicit[Loosening]:
    """The question to a person before a session with a looser bar exists; nobody is asked for the policy's own."""
    settings = shop_of(ctx).settings
    if loader:
        _allowed_code(settings, "loader", loader)
        raise _no_other_code("loader")
    inputs = check_inputs(settings, model_path, evaluation, calibration_path)
    loose = loosening(settings, accuracy_tolerance, tolerance_kind, evidence)
    if not loose:
        return Loosening(outcome="accept")
    if because := why_not_asked(ctx):
        raise refuse(
            "HUMAN_UNAVAILABLE",
            f"This session asks for {' and for '.join(loose)}. Only a person loosens the bar, and {because}. Open it with "
            f"{_within(settings)}, or tell the operator of --policy FILE.",
            missing=["a person's consent"],
        )
    return Elicit(
        f"An agent wants to optimize {untrusted(inputs.model.name)} with a looser bar than the policy's (at most "
        f"{settings.policy.max_tolerance:.2%} relative drop, {settings.policy.evidence}): {'; '.join(loose)}. Allow it for "
        "this session?",
        Loosening,
    )


@dataclass(frozen=True)
class Looked:
    """The files of a session, what a worker says of them, and who agreed to a looser bar."""

    inputs: Inputs
    seen: Inspected
    files: list[FileIdentity]
    loosened_by: str | None


async def look(
    model_path: str,
    evaluation: Evaluation,
    calibration_path: str | None,
    accuracy_tolerance: float,
    tolerance_kind: str,
    evidence: str,
    ctx: Ctx,
    consent: Annotated[ElicitationResult[Loosening], Resolve(ask_about_loosening)],
) -> Looked:
    """Reads the files, once nobody has anything against the bar."""
    shop = shop_of(ctx)
    looser = loosening(shop.settings, accuracy_tolerance, tolerance_kind, evidence)
    loosened_by = _consent(ctx, consent) if looser else None
    inputs = check_inputs(shop.settings, model_path, evaluation, calibration_path)
    before = await in_thread(shop, _digest, shop, inputs.model)
    seen = await _inspect(shop, inputs, evaluation)
    files = await in_thread(shop, _identities, shop, [str(inputs.model), *seen.model_files])
    if files[0].sha256 != before:
        raise refuse("BAD_FILE", f"{untrusted(inputs.model.name)} was changed while it was read. Call again.")
    return Looked(inputs, seen, files, loosened_by)


async def ask_about_descent(
    evaluation: Evaluation, ctx: Ctx, looked: Annotated[Looked, Resolve(look)]
) -> Leave | Elicit[Leave] | None:
    """The question to a person before a variant is opened as an original; of anything else nobody is asked."""
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
    leave: Annotated[ElicitationResult[Leave], Resolve(ask_about_descent)],
    calibration_path: str | None = None,
    accuracy_tolerance: Tolerance = 0.02,
    tolerance_kind: Literal["relative", "absolute"] = "relative",
    evidence: Literal["proven", "point"] = "proven",
    latency_target_ms: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] | None = None,
    loader: str | None = None,
) -> Annotated[CallToolResult, OpenReply]:
    """Open an optimization session on a trained model; start here. Checks the files and loads the model once. Next:
    profile_model. Keep session_id: every other tool needs it. calibration_path is needed for INT8."""
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
        calibration_digest=await in_thread(shop, shop.fingerprints.path, inputs.calibration)
        if inputs.calibration
        else None,
        calibration=calibration,
        accuracy_tolerance=accuracy_tolerance,
        tolerance_kind=tolerance_kind,
        max_tolerance=shop.settings.policy.max_tolerance,
        evidence=evidence,
        latency_target_ms=latency_target_ms,
        preflight=[],
        loosened_by=looked.loosened_by,
        decisions=shop.settings.policy.decisions,
        user_code=code,
        adapter=adapter,
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
    )
    warned = "".join(f"\nWarning: {w}" for w in warnings)
    return result(reply, f"**session_id**: {opened.session_id}\n\n{preflight_log(opened)}{warned}")


def _within(settings: Settings) -> str:
    """The loosest arguments that nobody needs to be asked about."""
    return f"accuracy_tolerance={settings.policy.max_tolerance:.6g} at most and evidence={settings.policy.evidence!r}"


def _consent(ctx: Ctx, consent: ElicitationResult[Loosening]) -> str:
    if isinstance(consent, AcceptedElicitation) and consent.data.outcome == "accept":
        return f"a person, accepted through {client_name(ctx)}"
    raise refuse(
        "HUMAN_DECLINED",
        f"The person did not agree to a looser bar. Open the session with {_within(shop_of(ctx).settings)}.",
    )


async def _inspect(shop: Workshop, inputs: Inputs, evaluation: Evaluation) -> Inspected:
    """What a worker says of the files.

    Raises:
        Refused: BAD_FILE and its like.
        JobBroke: the worker ran out of memory or time, or crashed.
    """
    name = f"i-{secrets.token_hex(8)}"
    folder = shop.settings.workspace / "inspections" / name
    task = Inspect(
        model_path=str(inputs.model),
        evaluation=evaluation.model_copy(update={"dataset_path": str(inputs.dataset)}),
        calibration_path=str(inputs.calibration) if inputs.calibration else None,
        roots=[str(root.resolve()) for root in shop.settings.readable],
        load_seconds=LOAD_SECONDS,
        user_code=inputs.user_code,
        adapter=inputs.adapter,
    )
    limit, hidden = shop.settings.job_memory_mb, shop.settings.secrets
    spec = JobSpec(job_id=name, task=task, memory_mb=limit, timeout_s=600, hidden=hidden)
    try:
        while (view := shop.executor.poll(folder)).state != "over":
            if view.state != "running":  # not begun, or its supervisor was killed
                await in_thread(shop, shop.executor.submit, folder, spec)
            await anyio.sleep(0.02)
        outcome = await in_thread(shop, shop.executor.collect, folder)
    except OSError as error:
        raise refuse(
            "DISK_SPACE", f"The files could not be inspected ({error}). Free some space, then call again."
        ) from error
    finally:
        shop.executor.cancel(folder)
        await in_thread(shop, shutil.rmtree, folder, True)
    if isinstance(outcome, Failed):
        problem = outcome.problem
        if outcome.end is None or outcome.end.code is not None:  # the supervisor's words, not the worker's on the files
            raise JobBroke(f"{problem.code}: {problem.message}", playbook(problem.code), outcome.log_tail)
        code: Any = problem.code if problem.code in REFUSALS_FROM_WORK else "BAD_FILE"
        raise Refused(
            Refusal(code=code, guardrail=GUARDRAILS[code], message=problem.message[:1500], missing=problem.missing[:10])
        )
    if not isinstance(outcome.result, Inspected):
        raise TypeError(f"an inspection answered {outcome.result.kind}")
    return outcome.result


def _digest(shop: Workshop, model: Path) -> str | None:
    """None where it cannot be read: the worker says why in more words."""
    try:
        return shop.fingerprints.file(model)
    except OSError:
        return None


def _identities(shop: Workshop, paths: list[str]) -> list[FileIdentity]:
    unique = dict.fromkeys(str(Path(p).resolve()) for p in paths)
    return [FileIdentity(path=p, sha256=shop.fingerprints.file(Path(p)), bytes=Path(p).stat().st_size) for p in unique]


def _safe_name(model: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", model.stem)[:64] or "model"


def _short(model: Any) -> Any:
    """The model's facts without the tail of its operators, so that an answer stays small."""
    common = dict(sorted(model.operators.items(), key=lambda kv: -kv[1])[:12])
    return model.model_copy(update={"operators": common, "inputs": model.inputs[:8], "outputs": model.outputs[:8]})


def _descent(opened: SessionOpened) -> str:
    origin = opened.derived_from
    if origin is None:
        return "no variant that was made here"
    name, accuracy = untrusted(Path(origin.file.path).name), origin.accuracy
    return f"a variant of {name}, by leave of {origin.allowed_by}: the tolerance refers to {name}'s {accuracy:.4f}"


def preflight(shop: Workshop, opened: SessionOpened, seen: Inspected) -> list[PreflightItem]:
    """The seeds' checklist, and whether the sandbox holds."""
    data, load = opened.data, seen.model.load_seconds
    size = sum(f.bytes for f in opened.files)
    free = shop.disk_free_mb()
    loaded = (
        f"loads in {load:.2f} s" if load is not None else f"takes over {LOAD_SECONDS} s to load: profile_model will"
    )
    target = opened.latency_target_ms
    calibration = opened.calibration
    abi = capabilities()["landlock"]
    origin = opened.derived_from
    by_user = "; ".join(str(code) for code in opened.user_codes)

    def item(text: str, ok: bool, detail: str, required: bool = True) -> PreflightItem:
        return PreflightItem(item=text, ok=ok, required=required, detail=detail)

    return [
        item("Source model file exists and is loadable", True, f"{opened.files[0].path} ({size / 2**20:.2f} MB), {loaded}"),
        item("Model is an original", origin is None, _descent(opened), False),
        item("Model framework identified", True, f"{seen.model.framework}, {seen.model.format}, opset {seen.model.opset}"),
        item("Target device identified", True, f"{opened.target_device}: {DEVICES[opened.target_device].runs}; {shop.stamp(opened.target_device).label}"),
        item("Test dataset available", True, f"{data.samples} samples, {data.classes or 'no'} classes"),
        item("Accuracy metric defined", True, f"{opened.evaluation.metric}{f', by user code: {by_user}' if by_user else ''}"),
        item("Accuracy tolerance defined", True, f"{tolerance_text(opened.accuracy_tolerance, opened.tolerance_kind)}, {opened.evidence}"),
        item("Latency target defined", target is not None, f"{target} ms" if target else "none given", False),
        item("Calibration dataset available", calibration is not None, f"{calibration.samples} samples" if calibration else "none: INT8 with calibration will be refused", False),
        item("Disk space sufficient", free > 64 + 4 * size / 2**20, f"{free:.0f} MB free in the workspace"),
        item("Workers are sandboxed", bool(abi), f"Landlock ABI {abi}" if abi else "no Landlock in this kernel: only fingerprints protect the original", False),
    ]  # fmt: skip
