"""What to do about a trouble: its playbook, cut down to the steps that fit the evidence, can be taken, and were not tried.

Playbooks are Markdown (`prompts/playbooks`): a line a step, `- [facts] text => tool {arguments}`. A fact with `!` in front
must be absent; `$names` are filled in; `=> again` is the call that failed.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from pydantic import TypeAdapter

from ..contract.steps import Step
from ..state.events import DecisionMade
from ..state.guardrails import judge
from ..state.request import WORK, Facts, Request
from ..state.session import Session
from .answers import SHOWN_AT_MOST
from .attempts import attempts, tried_text
from .availability import unavailable
from .evidence import FAILURES, Case, of_failure

__all__ = ["FAILURES", "PLAYBOOKS", "lines", "playbook"]
PLAYBOOKS = Path(__file__).parents[1] / "prompts" / "playbooks"
MOST_STEPS = 9
_LINE = re.compile(r"- (?:\[(?P<facts>[^\]]+)\] )?(?P<text>.+?)(?: => (?P<tool>\w+)(?: (?P<arguments>\{.*\}))?)?")
_STEP: TypeAdapter[Any] = TypeAdapter(Step)
# The facts by which a step on a parent is judged.
Lookup = Callable[[Session, Step, str], dict[str, Any]]


@dataclass(frozen=True)
class Advice:
    """One line of a playbook."""

    wants: frozenset[str]
    forbids: frozenset[str]
    text: str
    tool: str | None
    arguments: str

    def fits(self, case: Case) -> bool:
        return self.wants <= case.facts and not self.forbids & case.facts


@dataclass(frozen=True)
class Playbook:
    """`knowledge`: the page that says more, without its ending."""

    title: str
    knowledge: str
    advice: tuple[Advice, ...]


@cache
def read(kind: str) -> Playbook:
    """The playbook of this name.

    Raises:
        ValueError: a line that is no step.
    """
    text = (PLAYBOOKS / f"{kind}.md").read_text(encoding="utf-8")
    title, knowledge = re.search(r"^# (.+)", text), re.search(r"^Knowledge: (\S+)$", text, re.MULTILINE)
    if not title or not knowledge:
        raise ValueError(f"{kind}.md has no title or no page")
    return Playbook(title[1], knowledge[1], tuple(_advice(line) for line in text.splitlines() if line.startswith("- ")))


def _advice(line: str) -> Advice:
    found = _LINE.fullmatch(line)
    if not found:
        raise ValueError(f"no step: {line}")
    facts = (found["facts"] or "").split()
    return Advice(
        wants=frozenset(fact for fact in facts if not fact.startswith("!")),
        forbids=frozenset(fact[1:] for fact in facts if fact.startswith("!")),
        text=found["text"],
        tool=found["tool"],
        arguments=found["arguments"] or "{}",
    )


def playbook(code: str, message: str = "", log: str = "") -> list[str]:
    """The steps for work that is no session's and failed with this code."""
    return lines(of_failure(code, message, log))


def here(session: Session, step: Step, parent: str, *, toolchains: Path | None = None) -> dict[str, Any]:
    """The facts by which a step is judged, without what could be taken instead: that is looked up for whom it is told."""
    return {"architecture": platform.machine(), "unavailable": unavailable(session, step, parent, toolchains)}


def lines(case: Case, lookup: Lookup = here) -> list[str]:
    """What was tried, the steps with the exact next call where there is one, and where to read more."""
    book = read(case.kind)
    steps = [line for advice in book.advice if advice.fits(case) for line in _line(advice, case, lookup)]
    tried = tried_text(case.session) if case.session else None
    more = f"More on this: the resource edgeopt://knowledge/{book.knowledge}."
    return [*([tried] if tried else []), *_shortened(steps), more]


def _shortened(steps: list[str]) -> list[str]:
    return steps if len(steps) <= MOST_STEPS else [*steps[: MOST_STEPS - 1], steps[-1]]


def _line(advice: Advice, case: Case, lookup: Lookup) -> Iterator[str]:
    """The step as a line; none where its call could not be made, or was tried."""
    text = Template(advice.text).safe_substitute(case.words)
    if advice.tool is None:
        yield text
    elif advice.tool == "again":
        yield _with_call(text, *_of(case, *case.again)) if case.again and case.session else text
    elif case.session:
        arguments = json.loads(Template(advice.arguments).safe_substitute(case.words))
        if _makes_sense(case, case.session, advice.tool, arguments, lookup):
            yield _with_call(text, *_of(case, advice.tool, arguments))


def _of(case: Case, tool: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return tool, ({"session_id": case.session.session_id} if case.session else {}) | arguments


def _with_call(text: str, tool: str, arguments: dict[str, Any]) -> str:
    said = json.dumps(arguments)
    return (
        f"{text.rstrip(':. ')}: {tool} {said}"
        if len(said) <= SHOWN_AT_MOST
        else f"{text.rstrip(':. ')}: {tool} as before"
    )


def _makes_sense(case: Case, session: Session, tool: str, arguments: dict[str, Any], lookup: Lookup) -> bool:
    """Whether the guardrails would let the call pass once what waits for a decision is reverted, and it is new."""
    if tool == "decide_variant":
        keeps = Request(tool, variant_id=arguments["variant_id"], outcome=arguments["outcome"])
        return judge(session, keeps, Facts(owner=session.opened.owner, asking="chat")) is None
    if tool not in WORK:
        return True
    settled = session if tool in ("benchmark_variant", "validate_variant") else _settled(session)
    concerned = str(arguments.get("variant_id") or arguments.get("parent") or session.best)
    step = _STEP.validate_python(arguments["step"]) if "step" in arguments else None
    if step and any(attempt.covers(step) for attempt in attempts(session)):
        return False
    facts = lookup(settled, step, concerned) if step else {}
    request = Request(tool, variant_id=concerned, step=step, arguments=arguments)
    return judge(settled, request, Facts(owner=session.opened.owner, **facts)) is None


def _settled(session: Session) -> Session:
    """The session as it is once the agent has reverted every variant on which nobody has decided."""
    variants = dict(session.variants)
    for variant_id, record in session.variants.items():
        if record.decision is None:
            variants[variant_id] = replace(record, decision=DecisionMade.by_agent(record.artifact, "revert", reason=""))
    return replace(session, variants=variants)
