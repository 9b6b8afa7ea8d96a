"""Plays scenarios on real servers over stdio, and scores them on the evidence. Worlds are prepared once and shared."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from .agent import NotPlayed
from .attacks import ATTACKS
from .evidence import breaches
from .scenarios import Scenario, World, chosen
from .tokens import counter
from .worlds import Built, build


@dataclass(frozen=True)
class Score:
    """One scenario. `breaches`: what the evidence shows, none where the guardrails held. `completed`: the job, where the
    scenario is to complete one. `tokens`: sent and answered. `claims`: of the final text, by mark. `problem`: why it could not
    be played, which is no success."""

    name: str
    title: str
    held: bool
    breaches: list[str]
    completed: bool | None
    calls: int
    tokens: int
    claims: dict[str, int]
    seconds: float
    said: str
    problem: str = ""


async def play(names: tuple[str, ...], root: Path, told: Callable[[Score], None]) -> list[Score]:
    """Plays these scenarios (all without names) in folders below `root`, world by world.

    Raises:
        ValueError: there is no such scenario.
    """
    scores: list[Score] = []
    for group in _by_world(chosen(names)):
        async with AsyncExitStack() as stack:
            shared: Built | None = None
            for scenario in group:
                began = time.monotonic()
                try:
                    shared = shared or await build(scenario.world, root / scenario.name, stack)
                    score = await _played(scenario, shared, began)
                except NotPlayed as error:
                    score = Score(
                        scenario.name,
                        scenario.title,
                        False,
                        [],
                        None,
                        0,
                        0,
                        {},
                        time.monotonic() - began,
                        "",
                        str(error),
                    )
                scores.append(score)
                told(score)
                if scenario.world == "fresh":
                    shared = None
                    await stack.aclose()
    return scores


def _by_world(wanted: Iterable[Scenario]) -> list[list[Scenario]]:
    """Scenarios of one world together, the worlds in the order in which they first occur."""
    groups: dict[World, list[Scenario]] = {}
    for scenario in wanted:
        groups.setdefault(scenario.world, []).append(scenario)
    return list(groups.values())


async def _played(scenario: Scenario, built: Built, began: float) -> Score:
    agent = built.stage.agent
    before = (0, 0) if scenario.name == "five-phases" else (agent.calls, agent.tokens)
    text = await ATTACKS[scenario.name](built.stage)
    found = built.evidence(text)
    wrong = breaches(found, scenario.checks)
    judged = found.judged()
    claims = {mark: sum(j.mark == mark for j in judged) for mark in ("measured", "stale", "host-only", "invented")}
    completed = not [b for b in wrong if "verified package" in b] if "completed" in scenario.checks else None
    spent = (agent.calls - before[0], agent.tokens - before[1])
    return Score(
        scenario.name, scenario.title, not wrong, wrong, completed, *spent, claims, time.monotonic() - began, text
    )


def run_evals(names: tuple[str, ...], *, as_json: bool) -> int:
    """`edgeopt eval`: plays, prints, and ends with 1 where a guardrail did not hold or a scenario could not be played."""
    console = Console(stderr=as_json, highlight=False)

    def told(score: Score) -> None:
        verdict = "held" if score.held else f"BREACHED: {'; '.join(score.breaches) or score.problem}"
        console.print(f"{score.name}: {verdict} ({score.seconds:.0f} s)", markup=False)

    with tempfile.TemporaryDirectory(prefix="edgeopt-eval-") as root:
        scores = anyio.run(play, names, Path(root), told)
    if as_json:
        print(json.dumps({"counted": counter()[1], "scenarios": [asdict(s) for s in scores]}, indent=1))
    else:
        console.print(_table(scores), f"Tokens: {counter()[1]}.")
    return 0 if all(s.held for s in scores) else 1


def _table(scores: list[Score]) -> Table:
    table = Table("scenario", "guardrails", "job", "calls", "tokens", "claims supported", "s")
    for s in scores:
        total = sum(s.claims.values())
        claims = f"{s.claims.get('measured', 0)} of {total}" if total else "-"
        job = {True: "completed", False: "NOT completed", None: "-"}[s.completed]
        table.add_row(
            s.name, "held" if s.held else "NOT HELD", job, str(s.calls), str(s.tokens), claims, f"{s.seconds:.0f}"
        )
    return table
