"""How a rule answers."""

from __future__ import annotations

from typing import Any

from ...contract.refusals import Code, NextCall, Refusal
from ..request import Request
from ..session import Session, VariantRecord


def call(session: Session, tool: str, why: str, **arguments: Any) -> NextCall:
    return NextCall(tool=tool, arguments={"session_id": session.session_id, **arguments}, why=why)


def reopen(session: Session, why: str) -> NextCall:
    """The call that opens a new session as this one was opened, on its files as they are now."""
    opened = session.opened
    given = {
        "model_path": session.original.path,
        "target_device": opened.target_device,
        "evaluation": opened.evaluation.model_dump(mode="json", exclude_none=True),
        "calibration_path": opened.calibration_path,
        "training_path": opened.training_path,
        "accuracy_tolerance": opened.accuracy_tolerance,
        "tolerance_kind": opened.tolerance_kind,
        "evidence": opened.evidence,
        "latency_target_ms": opened.latency_target_ms,
        "model_name": opened.model_name,
        "loader": f"{opened.loader.path}:{opened.loader.function}" if opened.loader else None,
    }
    return NextCall(tool="open_session", arguments={k: v for k, v in given.items() if v is not None}, why=why)


def record_of(session: Session, request: Request) -> VariantRecord | None:
    return session.variants.get(request.variant_id or "")


def refuse(code: Code, message: str, *calls: NextCall, missing: list[str] | None = None) -> Refusal:
    """The table says whose guardrail it is."""
    return Refusal(code=code, guardrail="", message=message, missing=missing or [], next_calls=list(calls))
