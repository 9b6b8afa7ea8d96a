"""recommend_next: the seeds' decision trees as a list of rules; each answer names its rule."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.types import CallToolResult

from ..contract.measures import UNBOUNDED, Artifact
from ..state.block import state_block
from ..state.session import BASELINE, Session
from .answers import Recommendation, RecommendReply, result
from .road import Ctx, enter
from .types import SessionId

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "FusedConv"})
MATMULS = frozenset({"MatMul", "Gemm"})


async def recommend_next(session_id: SessionId, ctx: Ctx) -> Annotated[CallToolResult, RecommendReply]:
    """Say which call comes next and why, best first."""
    session = await enter(ctx, session_id)
    found = recommendations(session)
    beyond = out_of_reach(session)
    lines = [f"{n}. {r.tool} {r.arguments}: {r.reason} [{r.rule}]" for n, r in enumerate(found, 1)]
    reply = RecommendReply(state=state_block(session), message=beyond, recommendations=found)
    return result(reply, "\n".join([*([beyond, ""] if beyond else []), *lines]))


def recommendations(session: Session) -> list[Recommendation]:
    """The calls that make sense now, best first; at least one."""
    return _before_optimizing(session) or [*_optimizing(session), *_finishing(session)]


def _say(session: Session, tool: str, because: str, rule: str, /, **arguments: Any) -> Recommendation:
    """`because` and `rule` are positional alone: a decision's arguments have a `reason` of their own."""
    return Recommendation(
        tool=tool, arguments={"session_id": session.session_id, **arguments}, reason=because, rule=rule
    )


def _before_optimizing(session: Session) -> list[Recommendation]:
    """What must be done before anything new is tried."""
    if session.running:
        job = session.running[0]
        return [
            _say(session, "wait_for_job", f"{job.tool} is running.", "finish what runs", job_id=job.job_id, wait_s=50)
        ]
    if session.baseline is None:
        return [
            _say(session, "profile_model", "Nothing can be judged before the original is measured.", "baseline first")
        ]
    for variant_id, record in session.variants.items():
        if record.decision is None and record.comparison is None:
            return [_say(session, "benchmark_variant", f"{variant_id} has no measured speed.", "measure every change", variant_id=variant_id)]  # fmt: skip
        if record.decision is None and record.validation is None:
            return [_say(session, "validate_variant", f"{variant_id} has no measured accuracy.", "measure every change", variant_id=variant_id)]  # fmt: skip
        if record.awaits_person:
            return _undecided_failure(session, variant_id)
        if record.status == "PASS":
            return [_passed(session, variant_id)]
    return []


def _undecided_failure(session: Session, variant_id: str) -> list[Recommendation]:
    status = session.variants[variant_id].status
    revert: dict[str, Any] = {
        "variant_id": variant_id,
        "outcome": "revert",
        "reason": f"{status}: outside the tolerance",
    }
    keep: dict[str, Any] = {"variant_id": variant_id, "outcome": "keep", "reason": "the user wants to consider it"}
    rule = "over the tolerance a person decides"
    return [
        _say(
            session, "decide_variant", f"{variant_id} is {status}. Give it up and try a gentler step.", rule, **revert
        ),
        _say(session, "decide_variant", "Or let the user decide on the numbers: this asks them.", rule, **keep),
    ]


def _passed(session: Session, variant_id: str) -> Recommendation:
    comparison = session.variants[variant_id].comparison
    verdict = comparison.speedup.verdict if comparison else "undecided"
    smaller = comparison is not None and comparison.compression > 1.05
    worth = verdict == "faster" or smaller
    why = {"faster": "faster", "slower": "slower", "undecided": "not measurably faster"}[verdict]
    reason = f"{variant_id} passed and is {why}{' and smaller' if smaller else ''}."
    outcome = "keep" if worth else "revert"
    return _say(session, "decide_variant", reason, "keep what helps, revert what does not", variant_id=variant_id, outcome=outcome, reason=reason)  # fmt: skip


def _tried(session: Session) -> set[str]:
    return {record.artifact.technique for record in session.variants.values()}


def _target_met(session: Session) -> bool:
    target, best = session.opened.latency_target_ms, session.best
    if target is None or best == BASELINE:
        return False
    comparison = session.variants[best].comparison
    return comparison is not None and comparison.variant.latency_ms.mean <= target


def out_of_reach(session: Session) -> str | None:
    """Why the latency target cannot be met, where even the highest ceiling leaves the baseline above it."""
    target, baseline = session.opened.latency_target_ms, session.baseline
    if target is None or baseline is None or not session.ceilings or _target_met(session):
        return None
    highest = max(session.ceilings, key=lambda c: c.at_most)
    least = baseline.latency_ms.mean / highest.at_most
    if least <= target or highest.at_most >= UNBOUNDED:
        return None
    return (
        f"The target of {target:g} ms is out of reach of lower precision: by the operator profile the most is"
        f" {highest.at_most:.1f}x ({highest.technique}), which makes {least:.3g} ms at best of {baseline.latency_ms.mean:.3g} ms"
        f" ({baseline.label}). Tell the user: it takes a smaller model or another device."
    )


def _ceiling(session: Session, technique: str) -> str:
    """What the profile allows a technique, to be said with it."""
    return next((f" {c}" for c in session.ceilings if c.technique == technique), "")


def _quantized(chain: list[Artifact]) -> bool:
    return any(a.precision == "int8" for a in chain)


def _optimizing(session: Session) -> list[Recommendation]:
    """The CPU branch of the tree: graph optimization, then what the operator mix suggests, then half precision."""
    chain = session.chain(session.best)
    if _target_met(session) or _quantized(chain):
        return []
    tried = _tried(session)
    found: list[Recommendation] = []

    def suggest(technique: str, reason: str, rule: str, **parameters: Any) -> None:
        if technique not in tried:
            step = {"technique": technique, **parameters}
            because = f"{reason}{_ceiling(session, technique)}"
            found.append(_say(session, "optimize_model", because, rule, step=step, parent="best"))

    operators = session.opened.model.operators
    convolutional = any(op in operators for op in CONVOLUTIONS)
    matmuls = any(op in operators for op in MATMULS)
    suggest("graph_optimize", "Graph optimization costs no accuracy; it shows what is left to gain.", "cpu: graph optimization first")  # fmt: skip
    if matmuls and not convolutional:
        suggest("int8_dynamic", "Mostly matrix products: dynamic INT8 needs no calibration.", "cpu: MatMul nets, dynamic INT8")  # fmt: skip
    if session.opened.calibration_path:
        reason = (
            "Convolutions: static INT8; dynamic INT8 is slower there."
            if convolutional
            else "Static INT8 fixes the scales beforehand."
        )
        suggest("int8_static", reason, "cpu: static INT8 with calibration")
        if "int8_static" in tried and _failed_per_tensor(session):
            step = {"technique": "int8_static", "per_channel": True}
            found.append(_say(session, "optimize_model", "Per-tensor INT8 lost too much; one scale a channel loses less.", "gentler quantization", step=step, parent="best"))  # fmt: skip
    suggest("float16", "Half the size; on a CPU seldom faster.", "cpu: half precision for size")
    return found


def _failed_per_tensor(session: Session) -> bool:
    records = [r for r in session.variants.values() if r.artifact.technique == "int8_static"]
    return all(r.status == "reverted" and not r.artifact.parameters.get("per_channel", True) for r in records)


def _finishing(session: Session) -> list[Recommendation]:
    """Packaging and the report, or the honest word that nothing helped."""
    best = session.best
    if best == BASELINE:
        nothing = "No kept variant is better than the original so far."
        return [_say(session, "render_report", f"{nothing} Show the user what was tried.", "report, do not decide", kind="tradeoff")]  # fmt: skip
    comparison = session.variants[best].comparison
    slower = comparison is not None and comparison.speedup.verdict != "faster"
    remark = " It is not measurably faster than the original; smaller may be the point." if slower else ""
    if best not in session.packages:
        return [_say(session, "package_variant", f"{best} is the best kept variant.{remark}", "package the best", variant_id=best)]  # fmt: skip
    return [_say(session, "render_report", f"Show the user the trade-off.{remark}", "report, do not decide", kind="tradeoff")]  # fmt: skip
