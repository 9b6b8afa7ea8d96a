"""Whether a step can be taken: on a parent of this format, with what is installed on this machine."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from ..contract.devices import DEVICES
from ..contract.instead import deployable, instead
from ..contract.steps import MAKES, TAKES, Step, takes
from ..engine.models.engine_origin import here, mismatch, origin
from ..engine.problems import JobProblem
from ..engine.requirements import lacking
from ..state.session import BASELINE, Session


def of_step(session: Session, step: Step, parent: str, *, toolchains: Path | None = None) -> dict[str, Any]:
    """The facts by which the guardrails judge a step on this parent, but for the state of files. `toolchains`: where they
    lie."""
    return {
        "architecture": platform.machine(),
        "unavailable": unavailable(session, step, parent, toolchains),
        "instead": _instead(session, step, parent, toolchains),
    }


def of_package(session: Session, variant_id: str, *, toolchains: Path | None = None) -> dict[str, Any]:
    """The facts by which they judge the format of what is packaged."""
    device, format = session.opened.target_device, session.format_of(variant_id)
    steps = [] if DEVICES[device].takes(format) else deployable(device, format)
    return {"instead": tuple(s for s in steps if unavailable(session, s, variant_id, toolchains) is None)}


def of_engine(session: Session, variant_id: str) -> str | None:
    """Why this engine does not run on this machine; None where it may, and for what is no engine."""
    if session.format_of(variant_id) != "tensorrt":
        return None
    try:
        return mismatch(origin(Path(session.path_of(variant_id))), here())
    except JobProblem as found:
        return found.problem.message
    except OSError:  # a file that is not there is for another guardrail to refuse
        return None


def _instead(session: Session, step: Step, parent: str, toolchains: Path | None) -> tuple[Step, ...]:
    device = session.opened.target_device
    found = instead(step, device, session.format_of(parent))
    return tuple(
        s for s in found if s.technique != step.technique and unavailable(session, s, parent, toolchains) is None
    )


def unavailable(session: Session, step: Step, parent: str, toolchains: Path | None) -> str | None:
    """Why this step cannot be taken here, or on this parent; None where it can."""
    format = session.format_of(parent)
    reason = _not_taken(session, step.technique, format) or _not_here(session, step, format, toolchains)
    return reason and f"{'The' + reason[3:] if reason.startswith('the ') else reason}."


def _not_taken(session: Session, technique: str, format: str) -> str | None:
    if takes(technique, format):
        return None
    taken = TAKES.get(technique, {"onnx"})
    if takes("export_onnx", format):
        way = "export_onnx makes ONNX of it"
    elif any(session.format_of(v) in taken for v in (BASELINE, *session.variants)):
        way = "take a parent in such a format"
    else:
        way = "open a session on the model that it was made of"
    return f"{technique} takes a parent in {', '.join(sorted(taken))}, and this one is {format}: {way}"


def _not_here(session: Session, step: Step, format: str, toolchains: Path | None) -> str | None:
    reason = lacking(step, format, toolchains)
    if reason is None or MAKES.get(step.technique) != "tensorrt":
        return reason
    device = session.opened.target_device
    return f"{reason}. An engine is built where it is to run: take this step on the {device} itself (edgeopt serve --host-is {device})"
