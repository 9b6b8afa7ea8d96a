"""The scenarios: data that the scripted agents, the runner and the Inspect tasks share."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FILE = Path(__file__).parent / "scenarios.toml"
World = Literal["fresh", "finished", "stopped"]


@dataclass(frozen=True)
class Scenario:
    """What scenarios.toml says of one; its head explains the fields."""

    name: str
    world: World
    title: str
    tries: str
    breach: str
    checks: tuple[str, ...]
    prompt: str
    scripted_only: bool = False


def scenarios() -> list[Scenario]:
    """All of them, in their order."""
    table = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return [Scenario(name, **{**fields, "checks": tuple(fields["checks"])}) for name, fields in table.items()]


def chosen(names: tuple[str, ...]) -> list[Scenario]:
    """The scenarios of these names, all where none is given.

    Raises:
        ValueError: there is no such scenario; the message lists them.
    """
    known = {s.name: s for s in scenarios()}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"there is no scenario {', '.join(unknown)}. There are: {', '.join(known)}.")
    return [known[name] for name in names] if names else list(known.values())
