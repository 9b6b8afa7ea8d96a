"""A bar that is looser than the policy's: a person is asked before the session exists, and no answer closes it. A no and a
silence are kept in the ledger of the original, and hold in every session that somebody wants to open on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from mcp.server.mcpserver import AcceptedElicitation, CancelledElicitation, Elicit, ElicitationResult, Resolve
from pydantic import BaseModel, Field

from ..contract.text import untrusted
from ..state.events import LooseningLeft, LooseningRefused
from ..state.ledger import Ledger, stream
from ..state.rules.decisions import QUESTIONS_AT_MOST
from .answers import Refused, refuse
from .asking import client_name, why_not_asked
from .inspecting import Looked, look
from .ledger import read_stream, remember_in_stream
from .lineage import descent
from .road import Ctx, in_thread, shop_of
from .workshop import Settings, Workshop

Evidence = Literal["proven", "point"]


class Loosening(BaseModel):
    """The form that a person fills in."""

    outcome: Literal["accept", "refuse"] = Field(description="Open the session with this looser bar?")
    reason: str = Field(default="", max_length=500, description="Why (kept in the history)")


@dataclass(frozen=True)
class Consent:
    """Who agreed to a looser bar; nobody where it is the policy's own."""

    by: str | None


def how_loose(settings: Settings, tolerance: float, kind: str, evidence: str) -> list[str]:
    """How the asked bar is looser than the policy's; nothing where it is not."""
    policy = settings.policy
    loose: list[str] = []
    if kind == "relative" and tolerance > policy.max_tolerance:
        loose.append(f"a tolerance of {tolerance:.4g} relative instead of at most {policy.max_tolerance:.4g}")
    if evidence == "point" and policy.evidence == "proven":
        loose.append("the point estimate instead of proof (evidence='point')")
    return loose


async def ask_about_loosening(
    accuracy_tolerance: float,
    tolerance_kind: str,
    evidence: Evidence,
    ctx: Ctx,
    looked: Annotated[Looked, Resolve(look)],
) -> Loosening | Elicit[Loosening]:
    """The question to a person before a session with a looser bar exists; nobody is asked for the policy's own.

    Raises:
        Refused: HUMAN_DECLINED, HUMAN_UNAVAILABLE.
    """
    shop = shop_of(ctx)
    settings = shop.settings
    loose = how_loose(settings, accuracy_tolerance, tolerance_kind, evidence)
    if not loose:
        return Loosening(outcome="accept")
    ledger, _ = read_stream(shop, await in_thread(shop, _stream, shop, looked))
    share = _share(settings, accuracy_tolerance, tolerance_kind)
    if ledger.bar_refused(share, evidence) or len(ledger.loosening_refused) >= QUESTIONS_AT_MOST:
        raise _declined(settings)
    closed = len(ledger.loosening_left)
    because = why_not_asked(ctx)
    if closed >= QUESTIONS_AT_MOST:
        because = f"questions about a looser bar for this original were closed unanswered {closed} times"
    if because:
        raise refuse(
            "HUMAN_UNAVAILABLE",
            f"This session asks for {' and for '.join(loose)}. Only a person loosens the bar, and {because}. Open it with "
            f"{_within(settings)}, or tell the operator of --policy FILE.",
            missing=["a person's consent"],
        )
    return Elicit(
        f"An agent wants to optimize {untrusted(looked.inputs.model.name)} with a looser bar than the policy's (at most "
        f"{settings.policy.max_tolerance:.2%} relative drop, {settings.policy.evidence}): {'; '.join(loose)}. Allow it for "
        f"this session? A refusal is final for this original and any bar as loose.{_asked_before(ledger)}",
        Loosening,
    )


async def consent(
    accuracy_tolerance: float,
    tolerance_kind: str,
    evidence: Evidence,
    ctx: Ctx,
    looked: Annotated[Looked, Resolve(look)],
    answer: Annotated[ElicitationResult[Loosening], Resolve(ask_about_loosening)],
) -> Consent:
    """Who agreed to the bar. A no and a silence are remembered.

    Raises:
        Refused: HUMAN_DECLINED; DECISION_REQUIRED where nobody answered.
    """
    shop, client = shop_of(ctx), client_name(ctx)
    settings = shop.settings
    if not how_loose(settings, accuracy_tolerance, tolerance_kind, evidence):
        return Consent(None)
    if isinstance(answer, AcceptedElicitation) and answer.data.outcome == "accept":
        return Consent(f"a person, accepted through {client}")
    name = await in_thread(shop, _stream, shop, looked)
    if isinstance(answer, CancelledElicitation):
        number = 1 + len(read_stream(shop, name)[0].loosening_left)
        await in_thread(shop, remember_in_stream, shop, name, LooseningLeft(number=number, client=client))
        raise _left(settings, QUESTIONS_AT_MOST - number)
    no = LooseningRefused(
        tolerance=_share(settings, accuracy_tolerance, tolerance_kind),
        evidence=evidence,
        refused_by=f"a person through {client}",
    )
    await in_thread(shop, remember_in_stream, shop, name, no)
    raise _declined(settings)


def _stream(shop: Workshop, looked: Looked) -> str:
    """The ledger of the original: of a variant that is opened as one, the first original's."""
    model, weights = looked.files[0], looked.seen.weights
    if found := descent(shop, model, weights):
        return stream(found.origin.weights or found.origin.file.sha256)
    return stream(weights or model.sha256)


def _share(settings: Settings, tolerance: float, kind: str) -> float:
    """The tolerance as a share of the baseline: an absolute one is cut to the policy's."""
    return tolerance if kind == "relative" else settings.policy.max_tolerance


def _asked_before(ledger: Ledger) -> str:
    refused, left = len(ledger.loosening_refused), len(ledger.loosening_left)
    if not refused and not left:
        return ""
    return f" Looser bars for this original were turned down {refused} times and left unanswered {left} times before."


def _within(settings: Settings) -> str:
    """The loosest arguments that nobody needs to be asked about."""
    return f"accuracy_tolerance={settings.policy.max_tolerance:.6g} at most and evidence={settings.policy.evidence!r}"


def _declined(settings: Settings) -> Refused:
    return refuse(
        "HUMAN_DECLINED",
        "For this original a person turned down this bar or one no looser, which is final. Open the session with "
        f"{_within(settings)}.",
    )


def _left(settings: Settings, left: int) -> Refused:
    again = f"can be put {left} more time{'s' if left > 1 else ''}" if left > 0 else "is not put again"
    return refuse(
        "DECISION_REQUIRED",
        f"The question about a looser bar was closed unanswered; it {again}. Open the session with {_within(settings)}, or "
        "ask the user to answer and call again.",
        guardrail="Only a person loosens the bar",
        missing=["a person's consent"],
    )
