"""A model deploys in a format of its target device, and an engine on a machine like the one that built it."""

from __future__ import annotations

from ...contract.devices import DEVICES
from ...contract.refusals import NextCall, Refusal
from ...contract.steps import MAKES
from ..request import Facts, Request
from ..session import BASELINE, Session
from .refusing import call, record_of, refuse


def format_device_mismatch(session: Session, request: Request, facts: Facts) -> Refusal | None:
    return _wrong_format(session, request, facts) or _wrong_machine(session, request, facts)


def _wrong_format(session: Session, request: Request, facts: Facts) -> Refusal | None:
    """ONNX deploys everywhere, so a step on the way to another format is never one that makes a wrong one."""
    name = session.opened.target_device
    device, format = DEVICES[name], _format(session, request)
    if format is None or device.takes(format):
        return None
    against = device.others.get(format, f"{format} is a format to convert from")
    subject = request.step.technique if request.step else f"{request.variant_id}, which is {format},"
    return refuse(
        "FORMAT_DEVICE_MISMATCH",
        f"{subject} is wrong for {name}: {against}. It takes {device.runs}, best first.",
        *_instead(session, request, facts),
        call(session, "recommend_next", "says what fits the device"),
        missing=[f"a format of {name}"],
    )


def _format(session: Session, request: Request) -> str | None:
    """The format that the call would make or deliver; None where it does neither."""
    if request.step is not None:
        return MAKES.get(request.step.technique)
    return session.format_of(request.variant_id or BASELINE) if request.tool == "package_variant" else None


def _instead(session: Session, request: Request, facts: Facts) -> list[NextCall]:
    record = record_of(session, request)
    if facts.instead and request.step is None and record is not None and not record.kept:
        keep = {"variant_id": request.variant_id, "outcome": "keep", "reason": "it is converted next"}
        return [call(session, "decide_variant", "keeps it, so that it can be converted", **keep)]
    return [
        call(
            session,
            "optimize_model",
            f"makes {MAKES.get(step.technique, 'onnx')}, which deploys there",
            step=step.model_dump(mode="json", exclude_none=True),
            parent=request.variant_id,
        )
        for step in facts.instead[:2]
    ]


def _wrong_machine(session: Session, request: Request, facts: Facts) -> Refusal | None:
    """An engine belongs to the architecture, GPU and TensorRT version that built it."""
    name = session.opened.target_device
    if facts.engine:
        return refuse(
            "FORMAT_DEVICE_MISMATCH",
            f"The engine of {request.variant_id or BASELINE} does not run here: {facts.engine}. Build it again where it is to "
            "run, from the ONNX model that it was made of.",
            call(session, "recommend_next", "says what works here"),
            missing=["an engine that was built here"],
        )
    builds = request.step is not None and MAKES.get(request.step.technique) == "tensorrt"
    needed = DEVICES[name].architecture
    if not builds or facts.unavailable or not needed or facts.architecture in ("", needed):
        return None
    return refuse(
        "FORMAT_DEVICE_MISMATCH",
        f"An engine that is built here would be for {facts.architecture}, and {name} is {needed}: engines run on what they "
        f"were built on alone. Run edgeopt on the device (`edgeopt serve --host-is {name}`) and take this step there.",
        *_instead(session, request, facts),
        call(session, "recommend_next", "says what works here"),
        missing=[f"a machine that is {needed}"],
    )
