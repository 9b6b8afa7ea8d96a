"""The ledger of an original, as the tools use it: looks are taken before the work, a person's answers outlive a session."""

from __future__ import annotations

from ..state.events import LookTaken, PersonAnswered
from ..state.ledger import Ledger, fold, look_alpha, stream
from ..state.session import Session
from ..state.store import START, Conflict, Tip
from .workshop import Workshop


def read(shop: Workshop, session: Session) -> tuple[Ledger, Tip]:
    """The ledger of this session's original, and where its next entry attaches."""
    recorded, tip = shop.store.load(stream(session.original.sha256), START)
    return fold(recorded), tip


def spent(ledger: Ledger, session: Session) -> int:
    """How many looks were taken at the session's evaluation samples, by whatever session."""
    return len(ledger.at(session.samples, session.opened.data.samples))


def take_look(shop: Workshop, session: Session, variant_sha256: str) -> LookTaken:
    """The look that judging this variant costs: a new one, or the one that was paid for the very same file."""
    samples, count = session.samples, session.opened.data.samples
    while True:
        ledger, tip = read(shop, session)
        if paid := ledger.known(variant_sha256, samples, count):
            return paid
        number = 1 + len(ledger.at(samples, count))
        look = LookTaken(
            session_id=session.session_id,
            variant_sha256=variant_sha256,
            samples=samples,
            count=count,
            number=number,
            alpha=look_alpha(number),
        )
        try:
            shop.store.append(stream(session.original.sha256), tip, [look])
        except Conflict:
            continue
        return look


def remember_answer(shop: Workshop, session: Session, answer: PersonAnswered) -> None:
    """Puts a person's answer into the ledger: a no holds in every session of this original."""
    while True:
        ledger, tip = read(shop, session)
        if answer in ledger.answers:
            return
        try:
            shop.store.append(stream(session.original.sha256), tip, [answer])
        except Conflict:
            continue
        return
