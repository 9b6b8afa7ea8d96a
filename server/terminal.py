"""What a person does on a terminal: decide, list, read a report."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path

from ..contract.text import untrusted
from ..engine.executor.base import NotStarted
from ..reports.markdown import summary, tradeoff
from ..reports.page import page
from ..state.block import state_block
from ..state.events import DecisionMade
from ..state.rules.decisions import needs_person
from ..state.session import Session
from ..state.store import Conflict, HistoryEdited, StoreError
from ..tools.answers import Refused
from ..tools.deciding import judged, remember
from ..tools.ledger import left_open
from ..tools.question import question
from ..tools.recording import reconcile
from ..tools.reporting import put_own
from ..tools.workshop import Workshop

Ask = Callable[[str], str]


def has_terminal() -> bool:
    """Whether a person can be asked here: both ends of the conversation are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def decide_on_terminal(shop: Workshop, session_id: str) -> None:
    """Asks about every variant of a session that only a person can keep, and records the answers."""
    if not has_terminal():
        raise SystemExit("edgeopt: `edgeopt decide` asks a person, and there is no terminal here. Run it in one.")
    try:
        session = reconcile(shop, session_id)
        if session.opened.decisions == "none":
            raise SystemExit(
                "edgeopt: the policy of this session takes decisions from nobody: its variants can be reverted."
            )
        questions = _open_questions(session)
        if not questions:
            print("Nothing waits for a person in this session.")
        refused = [words for variant_id in questions if (words := _refused_to_ask(shop, session_id, variant_id))]
    except (Refused, StoreError, NotStarted) as error:
        raise SystemExit(f"edgeopt: {error}") from error
    if refused:
        raise SystemExit(f"edgeopt: {'; '.join(refused)}")


def _open_questions(session: Session) -> list[str]:
    """The variants that only a person can keep: first what waits, for it stops all else, then what the agent gave up."""
    found = [
        v
        for v, record in session.variants.items()
        if needs_person(record) and record.artifact.sha256 not in session.turned_down_hashes
    ]
    return sorted(found, key=lambda v: v not in session.waiting_for_person)


def _refused_to_ask(shop: Workshop, session_id: str, variant_id: str) -> str | None:
    """Asks about one variant; what a guardrail has against it, else None: the other variants are asked about all the same."""
    waiting = shop.load(session_id)[0].waiting_for_person
    if waiting and variant_id not in waiting:
        print(f"{variant_id}, which the agent gave up, can be kept once {', '.join(waiting)} is decided.")
        return None
    try:
        _decide_one(shop, session_id, variant_id, input)
    except Refused as error:
        return f"{variant_id}: {error}"
    return None


def _decide_one(shop: Workshop, session_id: str, variant_id: str, ask: Ask) -> None:
    owner = shop.load(session_id)[0].opened.owner
    session, _ = judged(shop, session_id, variant_id, "keep", owner, asking="terminal")
    print(f"\n{question(session, variant_id, left_open(shop, session, variant_id))}\n")
    answer = ""
    while answer not in ("keep", "revert", "skip"):
        answer = ask("keep, revert or skip? ").strip().lower()
    if answer == "skip":
        print("Left open.")
        return
    reason = ask("Why (kept in the history)? ")
    session = record_terminal_decision(shop, session_id, variant_id, answer == "keep", reason)
    decision = session.variants[variant_id].decision
    print(f"Recorded: {answer} {variant_id}, by {decision.decided_by if decision else 'nobody'}.")


def record_terminal_decision(shop: Workshop, session_id: str, variant_id: str, keep: bool, reason: str) -> Session:
    """Records what a person answered, after the guardrails have judged once more (files may have changed meanwhile)."""
    while True:
        owner = shop.load(session_id)[0].opened.owner
        session, tip = judged(shop, session_id, variant_id, "keep", owner, asking="terminal")
        verb = "accepted" if keep else "turned down"
        event = DecisionMade(
            variant_id=variant_id,
            variant_sha256=session.variants[variant_id].artifact.sha256,
            outcome="keep" if keep else "revert",
            by_person=True,
            decided_by=f"person {untrusted(getpass.getuser(), 40)}, {verb} on the terminal",
            reason=untrusted(reason, 500),
        )
        remember(shop, session, event)
        try:
            return shop.record(session_id, tip, event)
        except Conflict:
            continue


def print_sessions(shop: Workshop) -> None:
    """One line a session."""
    for session_id in shop.store.session_ids(1000):
        try:
            session, _ = shop.load(session_id)
        except HistoryEdited as error:
            print(f"{session_id}  NOT TO BE TRUSTED: {error}")
            continue
        block = state_block(session)
        print(f"{session_id}  {session.history[0].at[:16]}  {block.phase:9}  {block.model_name}: {block.next_action}")


def print_report(shop: Workshop, session_id: str, html: Path | None = None) -> None:
    """The summary and the trade-off table, as Markdown; or everything, with pictures, as one page in the file `html`."""
    try:
        session = reconcile(shop, session_id, reading=True)
    except (Refused, StoreError) as error:
        raise SystemExit(f"edgeopt: {error}") from error
    if session.baseline is None:
        raise SystemExit("edgeopt: the baseline of this session is not measured yet.")
    if html is None:
        print(f"{summary(session)}\n\n{tradeoff(session)}")
        return
    try:
        put_own(html, page(session))
    except OSError as error:
        raise SystemExit(
            f"edgeopt: {html} cannot be written ({error.strerror}). Name another file with --html."
        ) from error
    print(f"The report: {html}")
