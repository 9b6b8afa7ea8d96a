"""A bar that is looser than the policy's: a person is asked before the session exists, and no answer closes it."""

from __future__ import annotations

from typing import Literal

from mcp.server.mcpserver import AcceptedElicitation, Elicit, ElicitationResult
from pydantic import BaseModel, Field

from ..contract.evaluation import Evaluation
from ..contract.text import untrusted
from .answers import refuse
from .asking import client_name, why_not_asked
from .inputs import check_inputs
from .road import Ctx, shop_of
from .workshop import Settings


class Loosening(BaseModel):
    """The form that a person fills in."""

    outcome: Literal["accept", "refuse"] = Field(description="Open the session with this looser bar?")
    reason: str = Field(default="", max_length=500, description="Why (kept in the history)")


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
    model_path: str,
    evaluation: Evaluation,
    calibration_path: str | None,
    training_path: str | None,
    accuracy_tolerance: float,
    tolerance_kind: str,
    evidence: str,
    loader: str | None,
    ctx: Ctx,
) -> Loosening | Elicit[Loosening]:
    """The question to a person before a session with a looser bar exists; nobody is asked for the policy's own."""
    settings = shop_of(ctx).settings
    inputs = check_inputs(settings, model_path, evaluation, calibration_path, training_path, loader)
    loose = how_loose(settings, accuracy_tolerance, tolerance_kind, evidence)
    if not loose:
        return Loosening(outcome="accept")
    if because := why_not_asked(ctx):
        raise refuse(
            "HUMAN_UNAVAILABLE",
            f"This session asks for {' and for '.join(loose)}. Only a person loosens the bar, and {because}. Open it with "
            f"{_within(settings)}, or tell the operator of --policy FILE.",
            missing=["a person's consent"],
        )
    return Elicit(
        f"An agent wants to optimize {untrusted(inputs.model.name)} with a looser bar than the policy's (at most "
        f"{settings.policy.max_tolerance:.2%} relative drop, {settings.policy.evidence}): {'; '.join(loose)}. Allow it for "
        "this session?",
        Loosening,
    )


def _within(settings: Settings) -> str:
    """The loosest arguments that nobody needs to be asked about."""
    return f"accuracy_tolerance={settings.policy.max_tolerance:.6g} at most and evidence={settings.policy.evidence!r}"


def consent_of(ctx: Ctx, consent: ElicitationResult[Loosening]) -> str:
    if isinstance(consent, AcceptedElicitation) and consent.data.outcome == "accept":
        return f"a person, accepted through {client_name(ctx)}"
    raise refuse(
        "HUMAN_DECLINED",
        f"The person did not agree to a looser bar. Open the session with {_within(shop_of(ctx).settings)}.",
    )
