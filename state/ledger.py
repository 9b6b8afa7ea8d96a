"""The ledger of an original: every look at evaluation samples to judge a variant of it, in whatever session, and every
answer of a person, and every question that was left unanswered. A stream of its own in the store, so that two sessions cannot take the same look."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .events import (
    LeaveRefused,
    LookAnswered,
    LookTaken,
    LooseningLeft,
    LooseningRefused,
    PersonAnswered,
    QuestionLeft,
    VariantJudged,
)
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
    """The share of the smaller set that the other holds too, estimated from bottom-k sketches (exact where each sketch
    holds its whole set). Source: A. Broder, On the resemblance and containment of documents (1997).

    A sketch knows every digest of its set up to its own last one, so the sets are compared up to the lower of these; the
    numbers of samples say no more than whether something lies beyond (duplicates are in them). Where nothing is left to
    compare, the sets count as one: the dearer mistake is to give away fresh looks.
    """
    sketches = ((first, first_samples), (second, second_samples))
    lasts = [sketch[-1] for sketch, samples in sketches if sketch and len(sketch) < samples]
    one, other = ({digest for digest in sketch if not lasts or digest <= min(lasts)} for sketch, _ in sketches)
    smaller = min(len(one), len(other))
    return len(one & other) / smaller if smaller else 1.0


@dataclass(frozen=True)
class Ledger:
    """The looks and the answers, oldest first."""

    looks: tuple[LookTaken, ...] = ()
    judgements: tuple[VariantJudged, ...] = ()
    answers: tuple[PersonAnswered, ...] = ()
    left: tuple[QuestionLeft, ...] = ()
    refused: tuple[LeaveRefused, ...] = ()
    loosening_refused: tuple[LooseningRefused, ...] = ()
    loosening_left: tuple[LooseningLeft, ...] = ()
    look_answers: tuple[LookAnswered, ...] = ()

    def at(self, samples: list[str], count: int) -> list[LookTaken]:
        """The looks at samples of which these are most, or that are most of these: such sets are one."""
        return [look for look in self.looks if shared(look.samples, look.count, samples, count) > 0.5]

    def known(self, variant_sha256: str, data_digest: str) -> LookTaken | None:
        """The look that was taken at this very variant on these very samples: looking again costs nothing. Another choice
        of samples is another look, else an agent could choose until one passes."""
        return next(
            (look for look in self.looks if look.variant_sha256 == variant_sha256 and look.data_digest == data_digest),
            None,
        )

    def failed(self, variant_sha256: str, data_digest: str, samples: list[str], count: int) -> VariantJudged | None:
        """The earlier judgement of this very variant that was no PASS, on another choice of these samples."""
        return next(
            (
                judged
                for judged in self.judgements
                if judged.variant_sha256 == variant_sha256
                and judged.data_digest != data_digest
                and judged.status != "PASS"
                and shared(judged.samples, judged.count, samples, count) > 0.5
            ),
            None,
        )

    def turned_down(self, variant_sha256: str) -> bool:
        """Whether a person said no to this very variant, in any session."""
        return any(a.variant_sha256 == variant_sha256 and a.outcome == "revert" for a in self.answers)

    def left_open(self, variant_sha256: str) -> int:
        """How often a question about this very variant was closed unanswered, in any session."""
        return sum(q.variant_sha256 == variant_sha256 for q in self.left)

    def leave_refused(self, variant_sha256: str) -> bool:
        """Whether a person did not let this very variant be opened as an original."""
        return any(r.variant_sha256 == variant_sha256 for r in self.refused)

    def look_granted(self, variant_sha256: str, data_digest: str) -> bool:
        """Whether a person allowed a look beyond the budget at this very variant and these very samples."""
        return any(a.data_digest == data_digest for a in self._said_of_look(variant_sha256, "accept"))

    def look_refused(self, variant_sha256: str) -> bool:
        """Whether a person allowed no look beyond the budget at this very variant."""
        return bool(self._said_of_look(variant_sha256, "refuse"))

    def look_unanswered(self, variant_sha256: str) -> int:
        """How often the question about such a look was closed unanswered."""
        return len(self._said_of_look(variant_sha256, "unanswered"))

    def _said_of_look(self, variant_sha256: str, outcome: str) -> list[LookAnswered]:
        return [a for a in self.look_answers if a.variant_sha256 == variant_sha256 and a.outcome == outcome]

    def bar_refused(self, tolerance: float, evidence: str) -> bool:
        """Whether a person said no to this bar, or to one that is no looser in anything: `tolerance` is a share of the
        baseline, and the point estimate is looser than proof."""
        return any(tolerance >= no.tolerance and evidence in (no.evidence, "point") for no in self.loosening_refused)


def fold(recorded: Iterable[Recorded]) -> Ledger:
    """The ledger that these events add up to."""
    events = [r.event for r in recorded]
    return Ledger(
        looks=tuple(e for e in events if isinstance(e, LookTaken)),
        judgements=tuple(e for e in events if isinstance(e, VariantJudged)),
        answers=tuple(e for e in events if isinstance(e, PersonAnswered)),
        left=tuple(e for e in events if isinstance(e, QuestionLeft)),
        refused=tuple(e for e in events if isinstance(e, LeaveRefused)),
        loosening_refused=tuple(e for e in events if isinstance(e, LooseningRefused)),
        loosening_left=tuple(e for e in events if isinstance(e, LooseningLeft)),
        look_answers=tuple(e for e in events if isinstance(e, LookAnswered)),
    )
