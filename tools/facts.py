"""Looking up what the guardrails judge by: files, folders, disk, the client. The rules themselves look at nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from ..contract.evaluation import UserCode
from ..state.request import WORK, Facts, FileState, Request
from ..state.session import BASELINE, Session
from . import availability
from .ledger import read, spent
from .workshop import Workshop

JUDGED_BY_LEDGER = frozenset({"optimize_model", "validate_variant", "decide_variant", "package_variant"})


def look_up(shop: Workshop, session: Session, request: Request, owner: str, **known: Any) -> Facts:
    """The facts for this request; `known` are those that the caller has looked up."""
    opened = session.opened
    facts = Facts(
        owner=owner,
        original=_original(shop, session),
        variant_file=_variant_file(shop, session, request.variant_id),
        where=shop.stamp(opened.target_device).where,
        looks_allowed=shop.settings.policy.look_budget,
    )
    if request.tool in WORK:
        size = sum(f.bytes for f in opened.files) / 2**20
        facts = replace(facts, disk_free_mb=shop.disk_free_mb(), disk_needed_mb=64 + 4 * size)
    if request.tool in ("profile_model", "analyze_sensitivity", "validate_variant"):
        state = shop.fingerprints.state(opened.evaluation.dataset_path, opened.evaluation_digest)
        facts = replace(facts, evaluation=state, user_code=_user_code(shop, opened.user_codes))
    elif request.tool in ("optimize_model", "benchmark_variant") and opened.loader is not None:
        facts = replace(facts, user_code=_user_code(shop, [opened.loader]))
    if request.tool in JUDGED_BY_LEDGER and session.baseline is not None:
        facts = replace(facts, **_ledger(shop, session, request))
    if request.step is not None or request.tool == "analyze_sensitivity":
        calibration = shop.fingerprints.state(opened.calibration_path, opened.calibration_digest)
        training = shop.fingerprints.state(opened.training_path, opened.training_digest)
        facts = replace(facts, calibration=calibration, training=training)
    if request.tool in WORK:
        facts = replace(facts, **_format(shop, session, request))
    return replace(facts, **known)


def _format(shop: Workshop, session: Session, request: Request) -> dict[str, Any]:
    """Whether the formats that the call is about work here and deploy on the device."""
    subject = request.variant_id or BASELINE
    if subject != BASELINE and subject not in session.variants:
        return {}
    toolchains = shop.settings.toolchains
    known: dict[str, Any] = {"engine": availability.of_engine(session, subject)}
    if request.step is not None:
        known |= availability.of_step(session, request.step, subject, toolchains=toolchains)
    elif request.tool == "package_variant":
        known |= availability.of_package(session, subject, toolchains=toolchains)
    return known


def _ledger(shop: Workshop, session: Session, request: Request) -> dict[str, Any]:
    """What the ledger of the original says of this variant. A look that is paid for costs nothing again, and one that a
    person has granted is not of the budget."""
    record = session.variants.get(request.variant_id or BASELINE)
    if record is None:
        return {}
    ledger, _ = read(shop, session)
    sha256 = record.artifact.sha256
    digest = session.opened.data.digest
    free = ledger.known(sha256, digest) or ledger.look_granted(sha256, digest)
    return {
        "looks_spent": 0 if free else spent(ledger, session),
        "turned_down_before": ledger.turned_down(sha256),
        "left_open_before": ledger.left_open(sha256),
    }


def _original(shop: Workshop, session: Session) -> FileState:
    """The worst state of the original's files (the model and its external data)."""
    states = [shop.fingerprints.state(f.path, f.sha256) for f in session.opened.files]
    return "gone" if "gone" in states else "changed" if "changed" in states else "intact"


def original_intact(shop: Workshop, session: Session) -> bool:
    """Whether every file of the original is as it was when the session was opened."""
    return _original(shop, session) == "intact"


def _user_code(shop: Workshop, codes: list[UserCode]) -> FileState | Literal["not_allowed"]:
    """The worst state of the files of user code; also what this server was started with must be what the session was
    opened with."""
    states = [_of_one(shop, code) for code in codes]
    if "not_allowed" in states:
        return "not_allowed"
    return "gone" if "gone" in states else "changed" if "changed" in states else "intact"


def _of_one(shop: Workshop, code: UserCode) -> FileState | Literal["not_allowed"]:
    pinned = shop.settings.user_code.get(Path(code.path))
    if pinned is None:
        return "not_allowed"
    return shop.fingerprints.state(code.path, code.sha256) if pinned == code.sha256 else "changed"


def _variant_file(shop: Workshop, session: Session, variant_id: str | None) -> FileState:
    """The worst state of the variant's files."""
    record = session.variants.get(variant_id or BASELINE)
    states = {shop.fingerprints.state(path, sha256) for path, sha256 in record.artifact.files} if record else set()
    return "gone" if "gone" in states else "changed" if "changed" in states else "intact"
