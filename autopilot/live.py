"""The live line of long work: what is being done, how far it is, and how long it still takes where that can be said honestly."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

# Before this much time and this share of the work nothing is said of what is left.
TOLD_AFTER_S, TOLD_FROM = 5.0, 0.1


def time_left(elapsed: float, share: float) -> str:
    """About how long work takes whose `share` took `elapsed` seconds, as coarse as it is known; nothing where it is a guess."""
    if elapsed < TOLD_AFTER_S or not TOLD_FROM <= share < 1:
        return ""
    left = elapsed * (1 - share) / share
    if left < 10:
        return "a few seconds left"
    return f"about {round(left, -1):.0f} s left" if left < 95 else f"about {left / 60:.0f} min left"


def told(doing: str, elapsed: float, share: float = 0.0, message: str = "", *, estimates: bool = True) -> Text:
    """The line. A message that speaks of the time left itself is believed. `estimates`: the shares of the work take the same time."""
    left = time_left(elapsed, share) if estimates and "left" not in message else ""
    parts = [f"{share:.0%}" if share else "", f"{elapsed:.0f} s", left, message]
    return Text.assemble((doing, "bold"), *(f" · {part}" for part in parts if part))


class Waiting:
    """Shows the live line while a block runs, on a terminal; elsewhere nothing. Rich leaves colours out where NO_COLOR is set."""

    def __init__(self, console: Console, doing: str, *, estimates: bool = True) -> None:
        self.console, self.doing, self.estimates = console, doing, estimates
        self.began = time.monotonic()
        self.share, self.message = 0.0, ""
        self.live: Live | None = None

    def __enter__(self) -> Waiting:
        if self.console.is_terminal:
            self.live = Live(
                console=self.console,
                get_renderable=self._now,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # what goes to a file stays out of the terminal
            )
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.pause()

    def pause(self) -> None:
        """Takes the line away, so that somebody can be asked."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def goes_on(self, share: float, message: str) -> None:
        self.share, self.message = share, message

    def _now(self) -> Text:
        elapsed = time.monotonic() - self.began
        line = told(self.doing, elapsed, self.share, self.message, estimates=self.estimates)
        line.truncate(self.console.width, overflow="ellipsis")
        return line
