"""The next call of a refusal whose rule names none of its own: made of the call that was refused."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from ..contract.refusals import NextCall, Refusal
from .answers import SHOWN_AT_MOST
from .fixed_evaluations import fixed_for
from .loosening import how_loose
from .paths import real_path
from .workshop import SESSION_ID, Settings

_MENDED = {
    "BAD_FILE": "once the file is what the message asks for",
    "PATH_NOT_ALLOWED": "once the file lies below an allowed root",
    "UNTRUSTED_CODE": "once the operator has given leave",
    "UNAVAILABLE": "once what is missing is here",
    "DISK_SPACE": "once there is space",
}


def with_way_out(
    refusal: Refusal, settings: Settings, tool: str, arguments: dict[str, Any], wrong: ValidationError | None
) -> Refusal:
    """The refusal with a next call, where one can be named. `wrong`: what does not fit the tool's schema."""
    short = [call for call in refusal.next_calls if len(json.dumps(call.arguments)) <= SHOWN_AT_MOST]
    if short or refusal.next_calls:
        refusal = refusal.model_copy(update={"next_calls": short})
    if short:
        return refusal
    call = _way_out(refusal, settings, tool, arguments, wrong)
    return refusal.model_copy(update={"next_calls": [call]}) if call else refusal


def _way_out(
    refusal: Refusal, settings: Settings, tool: str, arguments: dict[str, Any], wrong: ValidationError | None
) -> NextCall | None:
    if refusal.code in ("UNKNOWN_SESSION", "NOT_YOUR_SESSION"):
        return NextCall(tool="list_sessions", arguments={}, why="lists your sessions")
    session_id = arguments.get("session_id")
    of = {"session_id": session_id} if isinstance(session_id, str) and SESSION_ID.fullmatch(session_id) else None
    if wrong is not None:
        mended = without_what_is_wrong(arguments, wrong)
        if mended is not None:
            return _again(tool, mended, "the same without what is wrong")
        if any(
            error["loc"][:1] == ("session_id",) for error in wrong.errors(include_input=False, include_context=False)
        ):
            return NextCall(tool="list_sessions", arguments={}, why="lists your sessions")
        return NextCall(tool="recommend_next", arguments=of, why="gives a call whose arguments fit") if of else None
    if refusal.code == "SAME_DATASET" and tool == "open_session":
        return _as_fixed(settings, arguments)
    if of and tool == "get_state":
        return NextCall(tool="list_sessions", arguments={}, why="lists the sessions that can be read")
    if of:
        return NextCall(tool="get_state", arguments=of, why="shows what is recorded")
    if refusal.code in ("DECISION_REQUIRED", "HUMAN_UNAVAILABLE", "HUMAN_DECLINED"):
        return _within_the_bar(settings, tool, arguments)
    mended = _MENDED.get(refusal.code)
    return _again(tool, arguments, f"again, {mended}") if mended else None


def _within_the_bar(settings: Settings, tool: str, arguments: dict[str, Any]) -> NextCall | None:
    """open_session with the loosest bar that nobody need be asked about; None where the bar was not the matter."""
    policy, kind = settings.policy, arguments.get("tolerance_kind", "relative")
    evidence = arguments.get("evidence", "proven")
    try:
        tolerance = float(arguments.get("accuracy_tolerance", 0.02))  # "0.5" is a number to the schema's reader too
    except (TypeError, ValueError):
        return None
    if not how_loose(settings, tolerance, kind, evidence):
        return None
    bar: dict[str, Any] = {"evidence": "proven" if policy.evidence == "proven" else evidence}
    if kind == "relative":
        bar["accuracy_tolerance"] = min(tolerance, policy.max_tolerance)
    return _again(tool, arguments | bar, "the same within the policy's bar")


def _as_fixed(settings: Settings, arguments: dict[str, Any]) -> NextCall | None:
    """open_session with the evaluation that the policy fixes for the model."""
    fixed = fixed_for(settings, real_path(str(arguments.get("model_path")), "model"))
    if fixed is None:
        return None
    evaluation = fixed.model_dump(mode="json", exclude_unset=True)
    return _again("open_session", arguments | {"evaluation": evaluation}, "the same with the policy's evaluation")


def _again(tool: str, arguments: dict[str, Any], why: str) -> NextCall | None:
    arguments = _said(arguments)
    text = json.dumps(arguments, ensure_ascii=False)
    if len(text) > SHOWN_AT_MOST or not text.isprintable():
        return None
    return NextCall(tool=tool, arguments=arguments, why=why)


def _said(value: Any) -> Any:
    """What was given: the listed schemas know no null, which says the same as leaving an argument out."""
    if isinstance(value, dict):
        return {key: _said(part) for key, part in value.items() if part is not None}
    return [_said(part) for part in value] if isinstance(value, list) else value


def without(tool: str, arguments: dict[str, Any], known: list[str], required: list[str]) -> list[NextCall]:
    """The call with the known arguments alone, where those that it needs are among them."""
    mended = {name: value for name, value in arguments.items() if name in known}
    call = _again(tool, mended, "the same without what is unknown") if set(required) <= set(mended) else None
    return [call] if call else []


def without_what_is_wrong(arguments: dict[str, Any], wrong: ValidationError) -> dict[str, Any] | None:
    """The call without unknown arguments, at any depth, and without those that have a default and do not fit; None where
    something must be given that only the caller knows."""
    mended = deepcopy(arguments)
    for error in wrong.errors(include_url=False, include_context=False, include_input=False):
        place = error["loc"]
        unknown = error["type"] == "extra_forbidden"
        has_default = len(place) == 1 and error["type"] != "missing" and place[0] in _WITH_DEFAULTS
        if not (unknown or has_default) or not _drop(mended, list(place)):
            return None
    return mended


# Scalars that mean something usual where they are left out.
_WITH_DEFAULTS = frozenset({"iterations", "threads", "batch_size", "sustained_seconds", "wait_s", "limit", "kind"})


def _drop(value: Any, place: list[Any]) -> bool:
    """Removes what lies at a place of pydantic's, in which the tags of unions stand between the keys."""
    *way, last = place
    for key in way:
        if isinstance(value, dict) and key in value:
            value = value[key]
    return isinstance(value, dict) and value.pop(last, value) is not value
