"""Files are what they were when they were recorded: the original, variants, evaluation and calibration sets."""

from __future__ import annotations

from ...contract.refusals import NextCall, Refusal
from ...contract.steps import needs_calibration, needs_training
from ..request import Facts, Request
from ..session import Session
from .access import codes
from .refusing import call, record_of, refuse, reopen


def original_protected(session: Session, request: Request, facts: Facts) -> Refusal | None:
    path = session.original.path
    if facts.output == "original":
        return refuse(
            "ORIGINAL_PROTECTED",
            f"The output folder is, holds or lies in the original {path}. Packages never go there.",
            call(session, "package_variant", "packages into the workspace", variant_id=request.variant_id),
        )
    if facts.original == "intact" or (request.tool == "decide_variant" and request.outcome == "revert"):
        return None
    what = "has changed since the session was opened" if facts.original == "changed" else "is gone"
    return refuse(
        "ORIGINAL_PROTECTED",
        f"The original {path} {what} (sha256 {session.original.sha256[:12]}… is recorded). Nothing here can be trusted "
        "to it any more: put the file back as it was, or open a new session on the new file.",
        reopen(session, "tell the user that the file changed first: this opens a new session on it as it is now"),
        missing=[f"the file with sha256 {session.original.sha256}"],
    )


def variant_changed(session: Session, request: Request, facts: Facts) -> Refusal | None:
    if facts.variant_file == "intact" or (request.tool == "decide_variant" and request.outcome == "revert"):
        return None
    what = "is not the file that was recorded" if facts.variant_file == "changed" else "is gone"
    return refuse(
        "VARIANT_CHANGED",
        f"The file of {request.variant_id} {what}: its measurements say nothing about it. Make the variant again.",
        *_instead_of_it(session, request),
        call(session, "get_state", "lists the variants with their recorded sha256"),
    )


def _instead_of_it(session: Session, request: Request) -> list[NextCall]:
    """Giving the variant up, where nobody has decided on it, and making it again as it was made."""
    variant_id, record = request.variant_id, record_of(session, request)
    calls: list[NextCall] = []
    if record is not None and record.decision is None:
        why = "gives it up: what it was is lost"
        calls.append(
            call(session, "decide_variant", why, variant_id=variant_id, outcome="revert", reason="changed file")
        )
    made = [j for j in session.jobs.values() if j.tool == "optimize_model" and j.variant_id == variant_id]
    for job in made[-1:]:
        if step := job.arguments.get("step"):
            again = {name: value for name, value in step.items() if value is not None}
            parent = job.arguments.get("parent", "best")
            calls.append(call(session, "optimize_model", "makes it again", step=again, parent=parent))
    return calls


def same_dataset(session: Session, _request: Request, facts: Facts) -> Refusal | None:
    if facts.user_code in ("changed", "gone"):
        what = "has changed since the session was opened" if facts.user_code == "changed" else "is gone"
        return refuse(
            "SAME_DATASET",
            f"The user code of this session, {codes(session)}, {what}: values that other code gives cannot be compared. Put "
            "the file back as it was, or have the operator restart the server with the new one and open a new session.",
            reopen(session, "tell the user that the file changed first: this opens a new session on it as it is now"),
        )
    if facts.evaluation == "intact":
        return None
    what = "has changed since the session was opened" if facts.evaluation == "changed" else "is gone"
    return refuse(
        "SAME_DATASET",
        f"The evaluation set {session.opened.evaluation.dataset_path} {what}: accuracies on other samples cannot be "
        "compared. Put it back as it was, or open a new session.",
        reopen(session, "tell the user that the file changed first: this opens a new session on it as it is now"),
    )


def calibration_required(session: Session, request: Request, facts: Facts) -> Refusal | None:
    needed = request.tool == "analyze_sensitivity" or (
        request.step is not None and needs_calibration(request.step.technique, request.step.model_dump())
    )
    if not needed:
        return None
    if session.opened.calibration_path is None:
        return refuse(
            "CALIBRATION_REQUIRED",
            f"{request.step.technique if request.step else request.tool} needs real, representative inputs to calibrate with, and this session was opened "
            "without. Open a session with calibration_path (200 or more samples, none of them from the evaluation set).",
            call(session, "recommend_next", "says what can be done without"),
            missing=["calibration_path"],
        )
    if facts.calibration == "intact":
        return None
    return refuse(
        "CALIBRATION_REQUIRED",
        f"The calibration set {session.opened.calibration_path} is {facts.calibration}. Put it back as it was, or open a "
        "new session.",
        reopen(session, "tell the user that the file changed first: this opens a new session on it as it is now"),
        missing=["the calibration set as it was"],
    )


def training_required(session: Session, request: Request, facts: Facts) -> Refusal | None:
    if request.step is None or not needs_training(request.step.technique, request.step.model_dump()):
        return None
    path = session.opened.training_path
    if path is not None and facts.training == "intact":
        return None
    if path is not None:
        return refuse(
            "TRAINING_REQUIRED",
            f"The training set {path} is {facts.training}. Put it back as it was, or open a new session.",
            reopen(session, "tell the user that the file changed first: this opens a new session on it as it is now"),
            missing=["the training set as it was"],
        )
    return refuse(
        "TRAINING_REQUIRED",
        f"{request.step.technique} trains, and this session was opened without a training set. Call open_session with the "
        "same arguments and training_path=... (labelled like the evaluation set, in one of its forms, some hundreds of "
        "samples at least, none of them from the evaluation set), then profile_model, then this step.",
        call(session, "recommend_next", "says what can be done without"),
        missing=["training_path"],
    )
