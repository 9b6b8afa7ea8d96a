"""The ledger of an original, as the tools use it: looks are taken before the work, a person's answers outlive a session."""

from __future__ import annotations

from ..contract.measures import Validation
from ..state.events import (
    LeaveRefused,
    LookAnswered,
    LookTaken,
    LooseningLeft,
    LooseningRefused,
    PersonAnswered,
    QuestionLeft,
    VariantJudged,
)
from ..state.ledger import Ledger, fold, look_alpha, stream
from ..state.session import Session
from ..state.store import START, Conflict, Tip
from .workshop import Workshop


def _stream(session: Session) -> str:
    """An original is its weights: another name or another comment in the file makes no other of it. A variant that was
    opened as one shares the ledger of the first."""
    if origin := session.opened.derived_from:
        return stream(origin.weights or origin.file.sha256)
    return stream(session.opened.weights or session.original.sha256)


def read(shop: Workshop, session: Session) -> tuple[Ledger, Tip]:
    """The ledger of this session's original, and where its next entry attaches."""
    return read_stream(shop, _stream(session))


def read_stream(shop: Workshop, name: str) -> tuple[Ledger, Tip]:
    """The ledger of this name, for an original that may have no session yet."""
    recorded, tip = shop.store.load(name, START)
    return fold(recorded), tip


def left_open(shop: Workshop, session: Session, variant_id: str) -> int:
    """How often a question about this variant's file was closed unanswered, in whatever session."""
    return read(shop, session)[0].left_open(session.variants[variant_id].artifact.sha256)


def spent(ledger: Ledger, session: Session) -> int:
    """How many looks were taken at the session's evaluation samples, by whatever session."""
    return len(ledger.at(session.samples, session.opened.data.samples))


def take_look(shop: Workshop, session: Session, variant_sha256: str) -> LookTaken:
    """The look that judging this variant costs: a new one, or the one that was paid for the very same file."""
    samples, count = session.samples, session.opened.data.samples
    while True:
        ledger, tip = read(shop, session)
        if paid := ledger.known(variant_sha256, session.opened.data.digest):
            return paid
        number = 1 + len(ledger.at(samples, count))
        look = LookTaken(
            session_id=session.session_id,
            variant_sha256=variant_sha256,
            data_digest=session.opened.data.digest,
            samples=samples,
            count=count,
            number=number,
            alpha=look_alpha(number),
        )
        try:
            shop.store.append(_stream(session), tip, [look])
        except Conflict:
            continue
        return look


Entry = PersonAnswered | VariantJudged | QuestionLeft | LeaveRefused | LooseningRefused | LooseningLeft | LookAnswered


def remember(shop: Workshop, session: Session, entry: Entry) -> None:
    """Puts a judgement, a person's answer or silence into the ledger, once: it holds in every session of this original."""
    remember_in_stream(shop, _stream(session), entry)


def remember_in_stream(shop: Workshop, name: str, entry: Entry) -> None:
    """Puts an entry into the ledger of this name, once."""
    while True:
        recorded, tip = shop.store.load(name, START)
        if any(r.event == entry for r in recorded):
            return
        try:
            shop.store.append(name, tip, [entry])
        except Conflict:
            continue
        return


def with_history(shop: Workshop, session: Session, variant_sha256: str, judged: Validation) -> Validation:
    """The judgement, remembered; a PASS of a variant that was no PASS on another choice of these samples is none: whoever
    chooses the samples after a look can make anything pass."""
    data, samples = session.opened.data, session.samples
    ledger, _ = read(shop, session)
    earlier = ledger.failed(variant_sha256, data.digest, samples, data.samples)
    if judged.status == "PASS" and earlier is not None:
        method = f"{judged.method}; but {earlier.status} on {earlier.count} samples, of which these are another choice"
        judged = judged.model_copy(update={"status": "INCONCLUSIVE", "method": method, "decision_required": True})
    entry = VariantJudged(
        variant_sha256=variant_sha256,
        data_digest=data.digest,
        samples=samples,
        count=data.samples,
        status=judged.status,
    )
    remember(shop, session, entry)
    return judged
