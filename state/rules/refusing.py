"""How a rule answers."""

from __future__ import annotations

from typing import Any

from ...contract.refusals import Code, NextCall, Refusal
from ..request import Request
from ..session import Session, VariantRecord


def call(session: Session, tool: str, why: str, **arguments: Any) -> NextCall:
    return NextCall(tool=tool, arguments={"session_id": session.session_id, **arguments}, why=why)


def record_of(session: Session, request: Request) -> VariantRecord | None:
    return session.variants.get(request.variant_id or "")


def refuse(code: Code, message: str, *calls: NextCall, missing: list[str] | None = None) -> Refusal:
    """The table says whose guardrail it is."""
    return Refusal(code=code, guardrail="", message=message, missing=missing or [], next_calls=list(calls))
