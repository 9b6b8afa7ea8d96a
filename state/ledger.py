"""The ledger of an original: every look at evaluation samples to judge a variant of it, in whatever session, and every
answer of a person. A stream of its own in the store, so that two sessions cannot take the same look."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .events import LookTaken, PersonAnswered
from .store import Recorded

# All looks together spend at most this: an agent that looks until something passes gains nothing by it.
ALPHA = 0.05


def stream(original_sha256: str) -> str:
    """The name of an original's stream in the store."""
    return f"original:{original_sha256}"


def look_alpha(number: int) -> float:
    """The error that the k-th look may spend: ALPHA * 6 / (pi^2 k^2), which sums to ALPHA over all k."""
    return ALPHA * 6 / (math.pi**2 * number**2)


def shared(first: list[str], first_samples: int, second: list[str], second_samples: int) -> float:
    """The share of the smaller set that the other holds too, estimated from bottom-k sketches (exact where a sketch
    holds its whole set). Source: A. Broder, On the resemblance and containment of documents (1997)."""
    one, other = set(first), set(second)
    smaller = max(1, min(first_samples, second_samples))
    if len(one) == first_samples and len(other) == second_samples:
        return len(one & other) / smaller
    union = sorted(one | other)[: max(len(one), len(other))]
    resemblance = sum(digest in one and digest in other for digest in union) / max(1, len(union))
    return min(1.0, resemblance * (first_samples + second_samples) / (1 + resemblance) / smaller)


@dataclass(frozen=True)
class Ledger:
    """The looks and the answers, oldest first."""

    looks: tuple[LookTaken, ...] = ()
    answers: tuple[PersonAnswered, ...] = ()

    def at(self, samples: list[str], count: int) -> list[LookTaken]:
        """The looks at samples of which these are most, or that are most of these: such sets are one."""
        return [look for look in self.looks if shared(look.samples, look.count, samples, count) > 0.5]

    def known(self, variant_sha256: str, samples: list[str], count: int) -> LookTaken | None:
        """The look that was taken at this very variant: looking again at an unchanged file costs nothing."""
        return next((look for look in self.at(samples, count) if look.variant_sha256 == variant_sha256), None)

    def turned_down(self, variant_sha256: str) -> bool:
        """Whether a person said no to this very variant, in any session."""
        return any(a.variant_sha256 == variant_sha256 and a.outcome == "revert" for a in self.answers)


def fold(recorded: Iterable[Recorded]) -> Ledger:
    """The ledger that these events add up to."""
    events = [r.event for r in recorded]
    return Ledger(
        looks=tuple(e for e in events if isinstance(e, LookTaken)),
        answers=tuple(e for e in events if isinstance(e, PersonAnswered)),
    )
