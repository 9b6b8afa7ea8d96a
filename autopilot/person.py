"""The server's questions to a person, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import anyio
from mcp.types import ElicitResult
from rich.console import Console
from rich.panel import Panel


def has_terminal() -> bool:
    """Whether a person can be asked here: both ends of the conversation are a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


class Person:
    """Puts the server's question to whoever sits at the terminal; without a terminal it is declined. A line that ends
    before an answer (Ctrl-D) leaves the question open. `around`: what makes room on the terminal, and comes back after."""

    def __init__(
        self, console: Console, pause: Callable[[], None] | None = None, resume: Callable[[], None] | None = None
    ) -> None:
        self.console = console
        self.pause = pause or (lambda: None)
        self.resume = resume or (lambda: None)

    async def __call__(self, context: Any, params: Any) -> ElicitResult:
        self.pause()
        try:
            title = "the server asks a person"
            self.console.print(Panel(params.message, title=title, style="cyan", highlight=False))
            if not has_terminal():
                self.console.print("No terminal here: declined.", style="cyan")
                return ElicitResult(action="decline")
            return await self._answer(choices(params.requested_schema))
        finally:
            self.resume()

    async def _answer(self, allowed: list[str]) -> ElicitResult:
        chosen: str | None = ""
        while chosen is not None and chosen not in allowed:
            chosen = await self._line(f"{' or '.join(allowed)} (Ctrl-D leaves it open)? ")
        reason = await self._line("Why (kept in the history)? ") if chosen else None
        if reason is None:
            return ElicitResult(action="cancel")
        return ElicitResult(action="accept", content={"outcome": chosen, "reason": reason[:500]})

    async def _line(self, prompt: str) -> str | None:
        """A line that a person types; None where there will be none. Waiting for it can be interrupted."""
        self.console.print(prompt, end="", style="cyan", markup=False, highlight=False)
        await anyio.wait_readable(sys.stdin)
        line = sys.stdin.readline()
        return line.strip() if line else None


def choices(schema: Any) -> list[str]:
    """What the question's form takes as its outcome."""
    properties = schema["properties"] if isinstance(schema, dict) else schema.properties
    outcome = properties["outcome"]
    return list(outcome["enum"] if isinstance(outcome, dict) else outcome.enum)
