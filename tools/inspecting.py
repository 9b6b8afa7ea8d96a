"""A first look at a session's files: what a sandboxed worker says of them, and their digests."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from ..contract.evaluation import Evaluation
from ..contract.refusals import Refusal
from ..contract.text import untrusted
from ..engine.executor.base import Failed
from ..engine.jobs import Inspect, Inspected, JobSpec, Source
from ..engine.models.folders import members
from ..state.events import FileIdentity
from .answers import GUARDRAILS, JobBroke, Refused, refuse
from .inputs import Inputs, check_inputs
from .playbooks import playbook
from .road import REFUSALS_FROM_WORK, Ctx, in_thread, shop_of
from .workshop import Workshop

LOAD_SECONDS = 30


@dataclass(frozen=True)
class Looked:
    """The files of a session, and what a worker says of them."""

    inputs: Inputs
    seen: Inspected
    files: list[FileIdentity]


async def look(
    model_path: str,
    evaluation: Evaluation,
    calibration_path: str | None,
    training_path: str | None,
    loader: str | None,
    ctx: Ctx,
) -> Looked:
    """Reads the files, before anybody is asked about them: what they are decides what was answered before."""
    shop = shop_of(ctx)
    inputs = check_inputs(shop.settings, model_path, evaluation, calibration_path, training_path, loader)
    before = await in_thread(shop, _digest, shop, inputs.model)
    seen = await _inspect(shop, inputs, evaluation)
    files = await in_thread(shop, _identities, shop, inputs.model, seen.model_files)
    if files[0].sha256 != before:
        raise refuse("BAD_FILE", f"{untrusted(inputs.model.name)} was changed while it was read. Call again.")
    return Looked(inputs, seen, files)


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
        training_path=str(inputs.training) if inputs.training else None,
        roots=[str(root.resolve()) for root in shop.settings.readable],
        load_seconds=LOAD_SECONDS,
        user_code=inputs.user_code,
        adapter=inputs.adapter,
    )
    limit, hidden = shop.settings.job_memory_mb, shop.settings.secrets
    source = Source(loader=inputs.loader, allow_pickle=shop.settings.allow_pickle)
    spec = JobSpec(job_id=name, task=task, memory_mb=limit, timeout_s=600, hidden=hidden, source=source)
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
            raise JobBroke(
                f"{problem.code}: {problem.message}",
                playbook(problem.code, problem.message, outcome.log_tail),
                outcome.log_tail,
            )
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
        return shop.fingerprints.path(model)
    except OSError:
        return None


def _identities(shop: Workshop, model: Path, named: list[str]) -> list[FileIdentity]:
    """The model, then the other files that it is made of: those that a worker `named`, or all that lie in its folder."""
    if not model.is_dir():
        unique = dict.fromkeys([model, *(Path(path).resolve() for path in named)])
        return [_identity(shop, path) for path in unique]
    whole = FileIdentity(path=str(model), sha256=shop.fingerprints.path(model), bytes=0)
    return [whole, *(_identity(shop, path) for path in members(model))]


def _identity(shop: Workshop, path: Path) -> FileIdentity:
    return FileIdentity(path=str(path), sha256=shop.fingerprints.file(path), bytes=path.stat().st_size)
