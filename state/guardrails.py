"""The guardrails: one table in order of precedence. Each rule is a pure function of the session, the request and the
facts that were looked up beforehand; it answers with a refusal or with nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..contract.refusals import Code, Refusal
from .request import WORK, Facts, Request
from .rules import access, decisions, files, formats, limits, order
from .session import Session

Check = Callable[[Session, Request, Facts], Refusal | None]


@dataclass(frozen=True)
class Rule:
    code: Code
    guardrail: str
    tools: frozenset[str]
    check: Check


AFTER_BASELINE = (WORK - {"profile_model"}) | {"decide_variant"}
_ANY = WORK | {"decide_variant", "get_state", "recommend_next", "render_report", "wait_for_job", "cancel_job"}
_OPTIMIZE = frozenset({"optimize_model"})
_ANALYZE = frozenset({"analyze_sensitivity"})
_PACKAGE = frozenset({"package_variant"})
_DECIDE = frozenset({"decide_variant"})
# What user code may have a hand in: the metric's, the adapter's, the loader's of the original.
_BY_CODE = frozenset(
    {"profile_model", "analyze_sensitivity", "optimize_model", "benchmark_variant", "validate_variant"}
)

RULES: tuple[Rule, ...] = (
    Rule("NOT_YOUR_SESSION", "A session belongs to whoever opened it", _ANY, access.not_the_owner),
    Rule("INVALID_ARGUMENT", "The baseline is immutable", frozenset({"profile_model"}), order.baseline_is_immutable),
    Rule("UNKNOWN_VARIANT", "Variants are named by the server", AFTER_BASELINE, order.unknown_variant),
    Rule("PATH_NOT_ALLOWED", "Outputs go to new folders in allowed places", _PACKAGE, access.output_not_allowed),
    Rule("UNTRUSTED_CODE", "Code in a file runs only by the operator's leave", _BY_CODE, access.code_not_allowed),
    Rule("ORIGINAL_PROTECTED", "The original is never modified, renamed, moved or deleted", WORK | _DECIDE, files.original_protected),
    Rule("VARIANT_CHANGED", "A measured file does not change", AFTER_BASELINE, files.variant_changed),
    Rule("BASELINE_REQUIRED", "Baseline before optimization", AFTER_BASELINE, order.baseline_required),
    Rule("ONE_AT_A_TIME", "One change at a time", _OPTIMIZE, order.one_at_a_time),
    Rule("NOT_BENCHMARKED", "Nothing is kept or packaged unmeasured", _DECIDE | _PACKAGE, order.not_measured),
    Rule("DECISION_REQUIRED", "A loss beyond the tolerance stops everything", _OPTIMIZE | _PACKAGE | _DECIDE, decisions.decision_required),
    Rule("HUMAN_UNAVAILABLE", "Only a person accepts a loss", _DECIDE, decisions.human_unavailable),
    Rule("HUMAN_DECLINED", "A person's no is final", _OPTIMIZE | _PACKAGE | _DECIDE, decisions.human_declined),
    Rule("DECISION_ALREADY_MADE", "A decision is made once", _PACKAGE | _DECIDE, decisions.decision_already_made),
    Rule("SAME_DATASET", "The same samples, metric and preprocessing as the baseline", _BY_CODE, files.same_dataset),
    Rule("CALIBRATION_REQUIRED", "INT8 is calibrated on real data", _OPTIMIZE | _ANALYZE, files.calibration_required),
    Rule("TRAINING_REQUIRED", "Training takes labelled data of its own", _OPTIMIZE, files.training_required),
    Rule("TARGET_LABEL", "Host estimates and target measurements are never compared", frozenset({"benchmark_variant"}), limits.target_label),
    Rule("FORMAT_DEVICE_MISMATCH", "The target hardware determines the format", WORK, formats.format_device_mismatch),
    Rule("NO_HEADROOM", "A model at its accuracy floor is not pruned", _OPTIMIZE, limits.no_headroom),
    Rule("LOOK_BUDGET", "Looks at the evaluation set are counted", frozenset({"validate_variant"}), limits.look_budget),
    Rule("DISK_SPACE", "Work starts only where it fits", WORK, limits.disk_space),
    Rule("SESSION_BUSY", "One job at a time in a session", WORK | _DECIDE, order.session_busy),
    Rule("UNAVAILABLE", "What is not here is said, not pretended", WORK, limits.unavailable),
)  # fmt: skip


# What only work needs that is still to be done.
_OF_WORK = frozenset({"DISK_SPACE", "SESSION_BUSY", "UNAVAILABLE"})


def judge(session: Session, request: Request, facts: Facts, *, recorded: bool = False) -> Refusal | None:
    """The first refusal in order of precedence, or None where the call may go ahead. `recorded`: the call's result is
    recorded already, so that nothing would run."""
    for rule in RULES:
        if recorded and rule.code in _OF_WORK:
            continue
        if request.tool in rule.tools and (refusal := rule.check(session, request, facts)):
            return refusal.model_copy(update={"guardrail": rule.guardrail})
    return None
