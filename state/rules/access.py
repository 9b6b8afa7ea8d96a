"""Who may call, and which places and code a call may touch."""

from __future__ import annotations

from ...contract.refusals import NextCall, Refusal
from ..request import Facts, Request
from ..session import Session
from .refusing import call, refuse


def not_the_owner(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if session.opened.owner == facts.owner:
        return None
    return refuse(
        "NOT_YOUR_SESSION",
        "This session belongs to another user of the server. Open your own with open_session.",
        NextCall(tool="list_sessions", arguments={}, why="lists the sessions that are yours"),
    )


def output_not_allowed(session: Session, request: Request, facts: Facts) -> Refusal | None:
    reasons = {
        "outside": "lies neither in the workspace (but for the server's own files there) nor below an output root (--output-root)",
        "occupied": "exists and is not an empty folder",
    }
    if facts.output not in reasons:
        return None
    return refuse(
        "PATH_NOT_ALLOWED",
        f"The output folder {reasons[facts.output]}. Name a new folder there, or leave output_dir out.",
        call(session, "package_variant", "packages into the workspace", variant_id=request.variant_id),
    )


def code_not_allowed(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.user_code != "not_allowed":
        return None
    return refuse(
        "UNTRUSTED_CODE",
        f"This session works with {codes(session)}, and this server was not started with leave to run "
        "that. Ask the operator to start it with --allow-user-code FILE again, or open a session without user code.",
        call(session, "get_state", "shows what is recorded, to hand over to the operator"),
        missing=["the operator's leave"],
    )


def codes(session: Session) -> str:
    return " and ".join(str(code) for code in session.opened.user_codes)
