"""`edgeopt check-claims`: marks the numbers of a text by what a session has recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ..state.claims.facts import recorded_facts
from ..state.claims.judging import BAD, Judged, judge_text
from ..state.session import Session
from ..state.store import StoreError
from ..tools.answers import Refused
from ..tools.workshop import Workshop

# Of a file, in characters: what is longer is the text itself.
LONGEST_NAME = 255
COLOURS = {"measured": "green", "stale": "yellow", "host-only": "red", "invented": "red bold"}


def read_text(given: str) -> str:
    """The text itself, that of the file it names, or standard input where it is '-'."""
    if given == "-":
        return sys.stdin.read()
    if "\n" in given or len(given) > LONGEST_NAME or not Path(given).is_file():
        return given
    return Path(given).read_text(encoding="utf-8", errors="replace")


def check_claims(shop: Workshop, session_id: str, text: str, *, as_json: bool) -> int:
    """Prints each number with its mark; 1 where one is invented or host-only."""
    try:
        session, _ = shop.load(session_id)
    except (Refused, StoreError) as error:
        raise SystemExit(f"edgeopt: {error}") from error
    judged = judge(shop, session, text)
    if as_json:
        print(json.dumps({"claims": [j.model_dump() for j in judged], "counts": counts(judged)}, indent=1))
    else:
        _show(judged)
    return 1 if any(j.mark in BAD for j in judged) else 0


def judge(shop: Workshop, session: Session, text: str) -> list[Judged]:
    """The claims of a text, held against a session and against its files as they are now."""
    records = session.variants.items()
    changed = {v for v, r in records if any(shop.fingerprints.state(*file) != "intact" for file in r.artifact.files)}
    return judge_text(text, recorded_facts(session, changed), session.opened.target_device)


def counts(judged: list[Judged]) -> dict[str, int]:
    return {mark: sum(j.mark == mark for j in judged) for mark in COLOURS}


def _show(judged: list[Judged]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for j in judged:
        line = Text.assemble(f"{j.line:>4}  {j.claim:<16} ", (f"{j.mark:<10}", COLOURS[j.mark]), f" {j.why}")
        console.print(line.append(f" [{j.support}]" if j.support else ""))
    total = ", ".join(f"{n} {mark}" for mark, n in counts(judged).items() if n)
    console.print(total or "No number in this text claims anything.")
