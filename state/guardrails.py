"""The guardrails: one table in order of precedence. Each rule is a pure function of the session, the request and the
facts that were looked up beforehand; it answers with a refusal or with nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..contract.measures import Validation
from ..contract.refusals import Code, NextCall, Refusal
from ..contract.steps import Step, needs_calibration
from .session import BASELINE, Session, VariantRecord

FileState = Literal["intact", "changed", "gone"]

WORK = frozenset(
    {
        "profile_model",
        "analyze_sensitivity",
        "optimize_model",
        "benchmark_variant",
        "validate_variant",
        "package_variant",
    }
)
AFTER_BASELINE = (WORK - {"profile_model"}) | {"decide_variant"}
QUESTIONS_AT_MOST = 3


@dataclass(frozen=True)
class Request:
    """A call, with "best" already resolved to a variant id."""

    tool: str
    variant_id: str | None = None
    step: Step | None = None
    outcome: Literal["keep", "revert"] | None = None
    identity: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def keeps(self) -> bool:
        """Whether the call would make a variant a kept one."""
        return self.tool == "package_variant" or (self.tool == "decide_variant" and self.outcome == "keep")


@dataclass(frozen=True)
class Facts:
    """What was looked up about the world before the rules judge. `output`: what is wrong with an output folder.
    `turned_down_before`, `left_open_before`: a person's answer on this file, and unanswered questions, in any session."""

    owner: str = ""
    original: FileState = "intact"
    variant_file: FileState = "intact"
    evaluation: FileState = "intact"
    calibration: FileState = "intact"
    user_code: FileState | Literal["not_allowed"] = "intact"
    output: Literal["outside", "occupied", "original"] | None = None
    asking: Literal["nobody", "chat", "terminal"] = "nobody"
    cannot_ask_because: str = "this client cannot ask one"
    where: Literal["target", "host_estimate"] = "host_estimate"
    disk_free_mb: float | None = None
    disk_needed_mb: float = 0.0
    looks_allowed: int | None = None
    looks_spent: int = 0
    turned_down_before: bool = False
    left_open_before: int = 0
    unavailable: str | None = None


Check = Callable[[Session, Request, Facts], Refusal | None]


@dataclass(frozen=True)
class Rule:
    code: Code
    guardrail: str
    tools: frozenset[str]
    check: Check


def _call(session: Session, tool: str, why: str, **arguments: Any) -> NextCall:
    return NextCall(tool=tool, arguments={"session_id": session.session_id, **arguments}, why=why)


def _record(session: Session, request: Request) -> VariantRecord | None:
    return session.variants.get(request.variant_id or "")


def _refuse(
    code: Code, message: str, *calls: NextCall, missing: list[str] | None = None, guardrail: str = ""
) -> Refusal:
    return Refusal(code=code, guardrail=guardrail, message=message, missing=missing or [], next_calls=list(calls))


def not_the_owner(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if session.opened.owner == facts.owner:
        return None
    return _refuse(
        "NOT_YOUR_SESSION",
        "This session belongs to another user of the server. Open your own with open_session.",
    )


def baseline_is_immutable(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    if session.baseline is None or session.baseline_request == request.identity:
        return None
    return _refuse(
        "INVALID_ARGUMENT",
        "The baseline is measured already and is immutable. Call profile_model with the arguments it was measured "
        "with to read it again; for other conditions open another session.",
        _call(session, "get_state", "shows the baseline"),
    )


def unknown_variant(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    if request.variant_id in (None, BASELINE) or request.variant_id in session.variants:
        return None
    known = ", ".join([BASELINE, *session.variants])
    return _refuse(
        "UNKNOWN_VARIANT",
        f"There is no variant {request.variant_id!r} in this session. Known: {known}.",
        _call(session, "get_state", "lists the variants"),
    )


def output_not_allowed(session: Session, request: Request, facts: Facts) -> Refusal | None:
    reasons = {
        "outside": "lies neither in the workspace (but for the server's own files there) nor below an output root (--output-root)",
        "occupied": "exists and is not an empty folder",
    }
    if facts.output not in reasons:
        return None
    return _refuse(
        "PATH_NOT_ALLOWED",
        f"The output folder {reasons[facts.output]}. Name a new folder there, or leave output_dir out.",
        _call(session, "package_variant", "packages into the workspace", variant_id=request.variant_id),
    )


def code_not_allowed(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.user_code != "not_allowed":
        return None
    return _refuse(
        "UNTRUSTED_CODE",
        f"The metric of this session is computed with {_codes(session)}, and this server was not started with leave to run "
        "that. Ask the operator to start it with --allow-user-code FILE again, or open a session without user code.",
        missing=["the operator's leave"],
    )


def _codes(session: Session) -> str:
    return " and ".join(str(code) for code in session.opened.user_codes)


def original_protected(session: Session, request: Request, facts: Facts) -> Refusal | None:
    path = session.original.path
    if facts.output == "original":
        return _refuse(
            "ORIGINAL_PROTECTED",
            f"The output folder is, holds or lies in the original {path}. Packages never go there.",
            _call(session, "package_variant", "packages into the workspace", variant_id=request.variant_id),
        )
    if facts.original == "intact" or (request.tool == "decide_variant" and request.outcome == "revert"):
        return None
    what = "has changed since the session was opened" if facts.original == "changed" else "is gone"
    return _refuse(
        "ORIGINAL_PROTECTED",
        f"The original {path} {what} (sha256 {session.original.sha256[:12]}… is recorded). Nothing here can be trusted "
        "to it any more: put the file back as it was, or open a new session on the new file.",
        missing=[f"the file with sha256 {session.original.sha256}"],
    )


def variant_changed(session: Session, request: Request, facts: Facts) -> Refusal | None:
    if facts.variant_file == "intact":
        return None
    what = "is not the file that was recorded" if facts.variant_file == "changed" else "is gone"
    return _refuse(
        "VARIANT_CHANGED",
        f"The file of {request.variant_id} {what}: its measurements say nothing about it. Make the variant again.",
        _call(session, "get_state", "lists the variants with their recorded sha256"),
    )


def baseline_required(session: Session, _request: Request, _facts: Facts) -> Refusal | None:
    if session.baseline:
        return None
    return _refuse(
        "BASELINE_REQUIRED",
        "Nothing is optimized, measured, judged or packaged before the original's size, latency, accuracy and peak "
        "memory are measured.",
        _call(session, "profile_model", "measures the baseline"),
        missing=["baseline latency", "baseline accuracy", "baseline peak memory"],
    )


def one_at_a_time(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    for variant_id, record in session.variants.items():
        if record.unmeasured:
            tool = "validate_variant" if record.comparison else "benchmark_variant"
            return _refuse(
                "ONE_AT_A_TIME",
                f"{variant_id} is not fully measured yet. Benchmark and validate it (or revert it) before the next step.",
                _call(session, tool, "measures it", variant_id=variant_id),
                missing=[f"{tool.split('_', maxsplit=1)[0]} of {variant_id}"],
            )
    parent = _record(session, request)
    if parent is None or parent.kept or parent.turned_down or parent.awaits_person:
        return None
    return _refuse(
        "ONE_AT_A_TIME",
        f"{request.variant_id} is {parent.status}: a step starts from the baseline or from a kept variant.",
        _call(session, "decide_variant", "keeps it", variant_id=request.variant_id, outcome="keep", reason="..."),
        _call(session, "optimize_model", "starts from the best", parent="best", step=request.arguments.get("step")),
    )


def not_measured(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    if not request.keeps and not (request.tool == "decide_variant" and request.variant_id == BASELINE):
        return None
    if request.variant_id == BASELINE:
        return _refuse(
            "NOT_VALIDATED",
            "The baseline is not a variant: it is neither kept nor packaged. No variant has been kept yet."
            if session.best == BASELINE
            else "The baseline is not a variant: it is neither kept nor packaged.",
            _call(session, "recommend_next", "says what to try"),
            missing=["a validated variant"],
        )
    record = _record(session, request)
    if record is None or (record.turned_down or record.kept):
        return None
    if record.comparison is None:
        return _refuse(
            "NOT_BENCHMARKED",
            f"{request.variant_id} has not been benchmarked against the baseline.",
            _call(session, "benchmark_variant", "measures its speed", variant_id=request.variant_id),
            missing=["benchmark"],
        )
    if record.validation is None:
        return _refuse(
            "NOT_VALIDATED",
            f"The accuracy of {request.variant_id} has not been validated on the evaluation set.",
            _call(session, "validate_variant", "measures its accuracy", variant_id=request.variant_id),
            missing=["validation"],
        )
    return None


def decision_required(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    own = _record(session, request)
    if (
        request.tool == "package_variant"
        and own
        and own.status == "reverted"
        and not own.passed
        and not own.turned_down
    ):
        return _ask_first(session, request.variant_id or "", own)
    for variant_id in session.waiting_for_person:
        concerns_it = request.tool == "decide_variant" and request.variant_id == variant_id
        if not concerns_it and (request.keeps or request.tool == "optimize_model"):
            return _ask_first(session, variant_id, session.variants[variant_id])
    return None


def _ask_first(session: Session, variant_id: str, record: VariantRecord) -> Refusal:
    validation = record.validation
    drop = (
        f"{validation.relative_drop:+.2%} relative drop, tolerance {validation.tolerance}{_ruin(validation)}"
        if validation
        else ""
    )
    return _refuse(
        "DECISION_REQUIRED",
        f"{variant_id} is {validation.status if validation else 'unmeasured'} ({drop}). Only a person can keep it. Show the "
        "numbers to the user, then ask through decide_variant, or revert it.",
        _call(session, "decide_variant", "gives it up", variant_id=variant_id, outcome="revert", reason="..."),
        _call(session, "decide_variant", "asks a person", variant_id=variant_id, outcome="keep", reason="..."),
        missing=[f"a person's decision on {variant_id}"],
    )


def _ruin(validation: Validation) -> str:
    return f"; {validation.ruined[0]}" if validation.ruined else ""


def needs_person(record: VariantRecord | None) -> bool:
    """Whether keeping this variant is a person's decision that has not been made."""
    if record is None or record.validation is None or record.passed:
        return False
    return record.decision is None or not record.decision.by_person


def human_unavailable(session: Session, request: Request, facts: Facts) -> Refusal | None:
    record = _record(session, request)
    if request.outcome != "keep" or record is None or not needs_person(record):
        return None
    if _hash_turned_down(session, record, facts):
        return None
    # The same file made again, here or in another session, is the same question.
    here = sum(r.closed for r in session.variants.values() if r.artifact.sha256 == record.artifact.sha256)
    closings = max(here, facts.left_open_before)
    if facts.asking == "terminal" or (facts.asking == "chat" and closings < QUESTIONS_AT_MOST):
        return None
    closed = f"the question on {request.variant_id} was closed unanswered {closings} times"
    because = closed if facts.asking == "chat" else facts.cannot_ask_because
    status = record.validation.status if record.validation else "unmeasured"
    return _refuse(
        "HUMAN_UNAVAILABLE",
        f"{request.variant_id} is {status}: only a person can keep it, and {because}. Tell the user: "
        f"`edgeopt decide {session.session_id}`, run by a person in a terminal, asks them. You can revert it meanwhile.",
        _call(session, "decide_variant", "gives it up", variant_id=request.variant_id, outcome="revert", reason="..."),
        missing=["a person's decision"],
    )


def _hash_turned_down(session: Session, record: VariantRecord, facts: Facts) -> bool:
    """A no is final for the file: in this session, and in every other of the same original."""
    return record.artifact.sha256 in session.turned_down_hashes or facts.turned_down_before


def human_declined(session: Session, request: Request, facts: Facts) -> Refusal | None:
    record = _record(session, request)
    builds_on_it = request.tool == "optimize_model"
    if record is None or not (request.keeps or builds_on_it) or not _hash_turned_down(session, record, facts):
        return None
    return _refuse(
        "HUMAN_DECLINED",
        f"A person turned {request.variant_id} down: it is neither kept, packaged nor built on. Start again from the best.",
        _call(session, "recommend_next", "says what else to try"),
    )


def decision_already_made(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    record = _record(session, request)
    if record is None or record.decision is None:
        return None
    decision = record.decision
    open_to_a_person = not record.passed and not decision.by_person and request.outcome == "keep"
    repackaged = request.tool == "package_variant" and record.kept
    if open_to_a_person or repackaged:
        return None
    return _refuse(
        "DECISION_ALREADY_MADE",
        f"{request.variant_id} was {record.status} by {decision.decided_by}. A decision is made once.",
        _call(session, "recommend_next", "says what comes next"),
    )


def same_dataset(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.user_code in ("changed", "gone"):
        what = "has changed since the session was opened" if facts.user_code == "changed" else "is gone"
        return _refuse(
            "SAME_DATASET",
            f"The code of the metric, {_codes(session)}, {what}: values of another metric cannot be compared. Put "
            "the file back as it was, or have the operator restart the server with the new one and open a new session.",
        )
    if facts.evaluation == "intact":
        return None
    what = "has changed since the session was opened" if facts.evaluation == "changed" else "is gone"
    return _refuse(
        "SAME_DATASET",
        f"The evaluation set {session.opened.evaluation.dataset_path} {what}: accuracies on other samples cannot be "
        "compared. Put it back as it was, or open a new session.",
    )


def calibration_required(session: Session, request: Request, facts: Facts) -> Refusal | None:
    if request.step is None or not needs_calibration(request.step.technique, request.step.model_dump()):
        return None
    if session.opened.calibration_path is None:
        return _refuse(
            "CALIBRATION_REQUIRED",
            f"{request.step.technique} needs real, representative inputs to calibrate with, and this session was opened "
            "without. Open a session with calibration_path (200 or more samples, none of them from the evaluation set).",
            missing=["calibration_path"],
        )
    if facts.calibration == "intact":
        return None
    return _refuse(
        "CALIBRATION_REQUIRED",
        f"The calibration set {session.opened.calibration_path} is {facts.calibration}. Put it back as it was, or open a "
        "new session.",
        missing=["the calibration set as it was"],
    )


def target_label(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if session.baseline is None or session.baseline.where == facts.where:
        return None
    return _refuse(
        "TARGET_LABEL",
        f"The baseline is a {session.baseline.where.replace('_', ' ')}, and this server's measurements are "
        f"{facts.where.replace('_', ' ')}s (--host-is). The two are never compared: open a new session here.",
    )


def look_budget(session: Session, request: Request, facts: Facts) -> Refusal | None:
    record = _record(session, request)
    costs_a_look = record is not None and record.validation is None
    if facts.looks_allowed is None or facts.looks_spent < facts.looks_allowed or not costs_a_look:
        return None
    return _refuse(
        "LOOK_BUDGET",
        f"The policy allows {facts.looks_allowed} looks at the evaluation set, and all are spent. Only the operator can "
        "enlarge the budget (look_budget in the policy file).",
    )


def disk_space(_session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.disk_free_mb is None or facts.disk_free_mb >= facts.disk_needed_mb:
        return None
    return _refuse(
        "DISK_SPACE",
        f"The workspace's disk has {facts.disk_free_mb:.0f} MB free; this needs about {facts.disk_needed_mb:.0f} MB. Free "
        "some space (`edgeopt clean`), then call again.",
    )


def session_busy(session: Session, request: Request, _facts: Facts) -> Refusal | None:
    others = [job for job in session.running if job.request != request.identity]
    if not others:
        return None
    job = others[0]
    return _refuse(
        "SESSION_BUSY",
        f"{job.tool} is running as {job.job_id}. Wait for it, or cancel it.",
        _call(session, "wait_for_job", "waits for it", job_id=job.job_id, wait_s=50),
        _call(session, "cancel_job", "ends it", job_id=job.job_id),
    )


def unavailable(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.unavailable is None:
        return None
    return _refuse(
        "UNAVAILABLE",
        facts.unavailable,
        _call(session, "recommend_next", "says what works here"),
    )


_ANY = WORK | {"decide_variant", "get_state", "recommend_next", "render_report", "wait_for_job", "cancel_job"}
_OPTIMIZE = frozenset({"optimize_model"})
_PACKAGE = frozenset({"package_variant"})
_DECIDE = frozenset({"decide_variant"})

RULES: tuple[Rule, ...] = (
    Rule("NOT_YOUR_SESSION", "A session belongs to whoever opened it", _ANY, not_the_owner),
    Rule("INVALID_ARGUMENT", "The baseline is immutable", frozenset({"profile_model"}), baseline_is_immutable),
    Rule("UNKNOWN_VARIANT", "Variants are named by the server", AFTER_BASELINE, unknown_variant),
    Rule("PATH_NOT_ALLOWED", "Outputs go to new folders in allowed places", _PACKAGE, output_not_allowed),
    Rule("UNTRUSTED_CODE", "Code in a file runs only by the operator's leave", frozenset({"profile_model", "validate_variant"}), code_not_allowed),
    Rule("ORIGINAL_PROTECTED", "The original is never modified, renamed, moved or deleted", WORK | _DECIDE, original_protected),
    Rule("VARIANT_CHANGED", "A measured file does not change", AFTER_BASELINE, variant_changed),
    Rule("BASELINE_REQUIRED", "Baseline before optimization", AFTER_BASELINE, baseline_required),
    Rule("ONE_AT_A_TIME", "One change at a time", _OPTIMIZE, one_at_a_time),
    Rule("NOT_BENCHMARKED", "Nothing is kept or packaged unmeasured", _DECIDE | _PACKAGE, not_measured),
    Rule("DECISION_REQUIRED", "A loss beyond the tolerance stops everything", _OPTIMIZE | _PACKAGE | _DECIDE, decision_required),
    Rule("HUMAN_UNAVAILABLE", "Only a person accepts a loss", _DECIDE, human_unavailable),
    Rule("HUMAN_DECLINED", "A person's no is final", _OPTIMIZE | _PACKAGE | _DECIDE, human_declined),
    Rule("DECISION_ALREADY_MADE", "A decision is made once", _PACKAGE | _DECIDE, decision_already_made),
    Rule("SAME_DATASET", "The same samples, metric and preprocessing as the baseline", frozenset({"profile_model", "validate_variant"}), same_dataset),
    Rule("CALIBRATION_REQUIRED", "INT8 is calibrated on real data", _OPTIMIZE, calibration_required),
    Rule("TARGET_LABEL", "Host estimates and target measurements are never compared", frozenset({"benchmark_variant"}), target_label),
    Rule("LOOK_BUDGET", "Looks at the evaluation set are counted", frozenset({"validate_variant"}), look_budget),
    Rule("DISK_SPACE", "Work starts only where it fits", WORK, disk_space),
    Rule("SESSION_BUSY", "One job at a time in a session", WORK | _DECIDE, session_busy),
    Rule("UNAVAILABLE", "What is not here is said, not pretended", WORK, unavailable),
)  # fmt: skip


def judge(session: Session, request: Request, facts: Facts) -> Refusal | None:
    """The first refusal in order of precedence, or None where the call may go ahead."""
    for rule in RULES:
        if request.tool in rule.tools and (refusal := rule.check(session, request, facts)):
            return refusal.model_copy(update={"guardrail": rule.guardrail})
    return None
