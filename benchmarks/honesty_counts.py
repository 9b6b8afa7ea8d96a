"""Counts of errors with exact intervals, and what they say of a goal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from scipy.special import betaincinv

Status = Literal["met", "MISSED", "not refuted"]

# A full run has to prove its goal at this confidence; a quick one misses it only where it is refuted at the higher one,
# for CI asks on every commit.
PROVEN = 0.95
REFUTED = 0.99


def percent(share: float) -> str:
    """As people write it: 2.2 %."""
    return f"{100 * share:g} %"


@dataclass(frozen=True)
class Count:
    """`hits` of `of` trials."""

    hits: int
    of: int

    @classmethod
    def where(cls, trials: Iterable[bool]) -> Count:
        hits = [*trials]
        return cls(sum(hits), len(hits))

    def __add__(self, other: Count) -> Count:
        return Count(self.hits + other.hits, self.of + other.of)

    @property
    def share(self) -> float:
        """0 where nothing was tried."""
        return self.hits / self.of if self.of else 0.0

    def lower(self, confidence: float) -> float:
        """One-sided lower bound of the true share. Source: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934) 404-413."""
        return float(betaincinv(self.hits, self.of - self.hits + 1, 1 - confidence)) if self.hits else 0.0

    def upper(self, confidence: float) -> float:
        """One-sided upper bound of the true share, as `lower`."""
        return float(betaincinv(self.hits + 1, self.of - self.hits, confidence)) if self.hits < self.of else 1.0

    def __str__(self) -> str:
        """As `2/102 = 2.0 % [0.2, 6.9]`, the interval two-sided at 95 %."""
        if not self.of:
            return "not tried"
        low, high = self.lower(0.975), self.upper(0.975)
        return f"{self.hits}/{self.of} = {100 * self.share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class Goal:
    """What was asked for, what came out, and what that says."""

    text: str
    result: str
    status: Status


def rare(text: str, count: Count, most: float, quick: bool) -> Goal:
    """An error whose true share is to be at most `most`: proven by the upper bound, in a quick run only not refuted."""
    bound = f"{count}; upper 95 % bound {100 * count.upper(PROVEN):.1f} %"
    if quick:
        return Goal(text, bound, "MISSED" if count.lower(REFUTED) > most else "not refuted")
    return Goal(text, bound, "met" if count.upper(PROVEN) <= most else "MISSED")


def few(text: str, count: Count, most: int, of: int) -> Goal:
    """At most `most` hits in a run of `of` trials or more."""
    return Goal(text, str(count), "met" if count.hits <= most and count.of >= of else "MISSED")


def frequent(text: str, count: Count, least: float, quick: bool) -> Goal:
    """A success whose share in this run is to be at least `least`, in a quick run only not refuted."""
    if quick:
        return Goal(text, str(count), "MISSED" if count.upper(REFUTED) < least else "not refuted")
    return Goal(text, str(count), "met" if count.of and count.share >= least else "MISSED")
