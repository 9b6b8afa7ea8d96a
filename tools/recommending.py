"""recommend_next: the seeds' decision trees as a list of rules; each answer names its rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from mcp.types import CallToolResult

from ..contract.devices import DEVICES
from ..contract.measures import BY_POINT, UNBOUNDED
from ..contract.refusals import Refusal
from ..contract.steps import Step, precision_asked, takes
from ..state.block import state_block
from ..state.events import JobFailed
from ..state.guardrails import judge
from ..state.request import Facts, Request
from ..state.session import BASELINE, Session
from .answers import Recommendation, RecommendReply, result
from .availability import of_step
from .evidence import of_target
from .playbooks import lines as playbook_lines
from .rescuing import FIND, MIXED, lossy, rescue, was_tried
from .road import Ctx, enter, shop_of
from .trees import FIRST_CHOICE, TO_ONNX, Case, Suggestion, suggestions
from .types import SessionId

# How a step fails for a reason of its own: it would fail again.
OF_THE_STEP = frozenset(
    {
        "TECHNIQUE_FAILED",
        "NOT_LOADABLE",
        "NOT_RUNNABLE",
        "BAD_OUTPUTS",
        "UNAVAILABLE",
        "CALIBRATION_UNFIT",
        "TRAINING_UNFIT",
        "INVALID_ARGUMENT",
    }
)

# Operators of a quantized model, in any format.
QUANTIZED = re.compile(r"quantize|qlinear|ConvInteger|MatMulInteger", re.IGNORECASE)

# The facts by which a step on a parent is judged.
Lookup = Callable[[Session, Step, str], dict[str, Any]]


async def recommend_next(session_id: SessionId, ctx: Ctx) -> Annotated[CallToolResult, RecommendReply]:
    """Say which call comes next and why, best first."""
    session = await enter(ctx, session_id)
    lookup = partial(of_step, toolchains=shop_of(ctx).settings.toolchains)
    found = recommendations(session, lookup)
    remarks = " ".join(said for said in (out_of_reach(session), not_here(session, lookup)) if said) or None
    lines = [f"{n}. {r.tool} {r.arguments}: {r.reason} [{r.rule}]" for n, r in enumerate(found, 1)]
    advised = missed_target(session, found, lookup)
    reply = RecommendReply(state=state_block(session), message=remarks, recommendations=found, playbook=advised)
    return result(reply, "\n".join([*([remarks, ""] if remarks else []), *lines, *(["", *advised] if advised else [])]))


def missed_target(session: Session, found: list[Recommendation], lookup: Lookup) -> list[str] | None:
    """What is left to do about a latency target that is not met, once nothing more is to be tried."""
    exhausted = all(r.tool in ("render_report", "package_variant") for r in found)
    case = of_target(session) if exhausted else None
    return playbook_lines(case, lookup) if case else None


def recommendations(session: Session, lookup: Lookup = of_step) -> list[Recommendation]:
    """The calls that make sense now, best first; at least one."""
    if first := _before_optimizing(session):
        return first
    left = _optimizing(session, lookup)
    return [*left, *_finishing(session, exhausted=not left)]


def _say(session: Session, tool: str, because: str, rule: str, /, **arguments: Any) -> Recommendation:
    """`because` and `rule` are positional alone: a decision's arguments have a `reason` of their own."""
    return Recommendation(
        tool=tool, arguments={"session_id": session.session_id, **arguments}, reason=because, rule=rule
    )


def _before_optimizing(session: Session) -> list[Recommendation]:
    """What must be done before anything new is tried."""
    if session.running:
        job = session.running[0]
        return [_say(session, "wait_for_job", f"{job.tool} is running.", "finish what runs", job_id=job.job_id)]
    if session.baseline is None:
        return [
            _say(session, "profile_model", "Nothing can be judged before the original is measured.", "baseline first")
        ]
    for variant_id, record in session.variants.items():
        if record.decision is None and record.comparison is None:
            return [_say(session, "benchmark_variant", f"{variant_id} has no measured speed.", "measure every change", variant_id=variant_id)]  # fmt: skip
        if record.decision is None and record.validation is None:
            return [_say(session, "validate_variant", f"{variant_id} has no measured accuracy.", "measure every change", variant_id=variant_id)]  # fmt: skip
    if session.waiting_for_person:  # until then nothing else may be kept
        return _undecided_failure(session, session.waiting_for_person[0])
    passed = [variant_id for variant_id, record in session.variants.items() if record.status == "PASS"]
    return [_passed(session, passed[0])] if passed else []


def _undecided_failure(session: Session, variant_id: str) -> list[Recommendation]:
    status = session.variants[variant_id].shown
    revert: dict[str, Any] = {
        "variant_id": variant_id,
        "outcome": "revert",
        "reason": f"{status}: not proven to be within the tolerance",
    }
    keep: dict[str, Any] = {"variant_id": variant_id, "outcome": "keep", "reason": "the user wants to consider it"}
    rule = "over the tolerance a person decides"
    give_up = _say(session, "decide_variant", f"{variant_id} is {status}. Give it up and try a gentler step.", rule, **revert)  # fmt: skip
    asking = Request("decide_variant", variant_id=variant_id, outcome="keep")
    if judge(session, asking, Facts(owner=session.opened.owner, asking="chat")):
        return [give_up]
    return [
        give_up,
        _say(session, "decide_variant", "Or let the user decide on the numbers: this asks them.", rule, **keep),
    ]


def _passed(session: Session, variant_id: str) -> Recommendation:
    comparison = session.variants[variant_id].comparison
    verdict = comparison.speedup.verdict if comparison else "undecided"
    smaller = comparison is not None and comparison.compression > 1.05
    worth = verdict == "faster" or smaller
    why = {"faster": "faster", "slower": "slower", "undecided": "not measurably faster"}[verdict]
    judged = session.variants[variant_id].validation
    by_point = f" ({BY_POINT})" if judged and judged.verdict != judged.status else ""
    reason = f"{variant_id} passed{by_point} and is {why}{' and smaller' if smaller else ''}."
    outcome = "keep" if worth else "revert"
    return _say(session, "decide_variant", reason, "keep what helps, revert what does not", variant_id=variant_id, outcome=outcome, reason=reason)  # fmt: skip


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


def not_here(session: Session, lookup: Lookup = of_step) -> str | None:
    """Why what comes first on the device cannot be made here, while it has not been."""
    name = session.opened.target_device
    first = DEVICES[name].deploys[0]
    wanted = FIRST_CHOICE.get(first.format)
    if session.baseline is None or wanted is None or _target_met(session):
        return None
    if any(made.format == first.format for made in session.chain(session.best)):
        return None
    format = session.format_of(session.best)
    over_onnx = not takes(wanted.technique, format) and takes(TO_ONNX.technique, format)
    refusal = _refusal(session, lookup, TO_ONNX if over_onnx else wanted)
    if refusal is None or refusal.code not in ("UNAVAILABLE", "FORMAT_DEVICE_MISMATCH"):
        return None
    return f"On {name} {first.runtime} comes first ({first.because}), but not here: {refusal.message}"


def _ceiling(session: Session, technique: str) -> str:
    """What the profile allows a technique, to be said with it."""
    return next((f" {c}" for c in session.ceilings if c.technique == technique), "")


def _optimizing(session: Session, lookup: Lookup) -> list[Recommendation]:
    """What the device's tree has next, but for what was tried and what a guardrail would refuse."""
    if _target_met(session):
        return []
    rescued = _rescuing(session, lookup)
    if isinstance(rescued, Recommendation):
        return [rescued]
    tried = _tried(session)
    found: list[Recommendation] = []
    tree = suggestions(Case(session, lambda step: _refusal(session, lookup, step) is None))
    for step, reason, rule in [*rescued, *tree]:
        parent = _parent(session, step)
        if parent is None or _key(step.technique, step.model_dump()) in tried or _refusal(session, lookup, step):
            continue
        arguments = {
            "step": step.model_dump(mode="json", exclude_unset=True),
            "parent": "best" if parent == session.best else parent,
        }
        because = f"{reason}{_ceiling(session, step.technique)}"
        found.append(_say(session, "optimize_model", because, rule, **arguments))
    return found


def _rescuing(session: Session, lookup: Lookup) -> Recommendation | list[Suggestion]:
    """What comes next where INT8 lost too much: the ranking of layers, then what follows from it."""
    parent = _parent(session, MIXED)
    if not lossy(session) or parent is None or _refusal(session, lookup, MIXED):
        return []
    if ranked := session.sensitivity.get(parent):
        return [rescue(session, ranked)] if ranked.layers else []
    ranking = Request("analyze_sensitivity", variant_id=parent)
    if was_tried(session, parent) or judge(session, ranking, Facts(owner=session.opened.owner)):
        return []
    because = "INT8 lost too much: rank the layers by what quantizing each alone costs, on calibration data (no look is paid)."
    return _say(session, "analyze_sensitivity", because, FIND, parent=parent)


def _refusal(session: Session, lookup: Lookup, step: Step) -> Refusal | None:
    """What a guardrail has against this step, as far as it does not depend on files."""
    parent = _parent(session, step) or session.best
    request = Request("optimize_model", variant_id=parent, step=step)
    return judge(session, request, Facts(owner=session.opened.owner, **lookup(session, step, parent)))


def _parent(session: Session, step: Step) -> str | None:
    """The best model, or where the step does not take it or it was rounded already, the nearest before it that is whole."""
    best = session.best
    if step.technique == "prune_structured":  # each rung is of the original: ratios do not add up
        return BASELINE if takes(step.technique, session.format_of(BASELINE)) else None
    if step.technique in ("simplify", "graph_optimize", "session_options"):
        return best if takes(step.technique, session.format_of(best)) else None
    for made in reversed(session.chain(best)):
        if made.precision == "fp32" and takes(step.technique, made.format):
            return made.variant_id
    rounds = precision_asked(step.technique, step.model_dump()) is not None
    fits = takes(step.technique, session.format_of(BASELINE)) and not (rounds and _rounded(session))
    return BASELINE if fits else None


def _rounded(session: Session) -> bool:
    """Whether the original is quantized itself: rounding it again only adds error."""
    model = session.opened.model
    tensors = (*model.inputs, *model.outputs)
    return any(t.quantization for t in tensors) or any(QUANTIZED.search(name) for name in model.operators)


def _key(technique: str, parameters: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two steps the same attempt."""
    named = (
        *("quantization", "precision", "float_layers", "ratio", "choice"),
        *("per_channel", "calibrator", "equalize", "bias_correction"),
    )
    return technique, *(parameters.get(name) for name in named), str(parameters.get("keep_float") or [])


def _tried(session: Session) -> set[tuple[Any, ...]]:
    """The steps that made a variant, and those that broke for a reason of their own."""
    made = {_key(r.artifact.technique, r.artifact.parameters) for r in session.variants.values()}
    ended = [(job_id, event) for job_id, event in session.ended.items() if isinstance(event, JobFailed)]
    steps = [session.jobs[job_id].arguments.get("step") for job_id, event in ended if event.code in OF_THE_STEP]
    return made | {_key(step["technique"], step) for step in steps if step}


def _finishing(session: Session, *, exhausted: bool) -> list[Recommendation]:
    """Packaging and the report, or the honest word that nothing helped."""
    best = session.best
    if best == BASELINE:
        nothing = "No kept variant is better than the original so far."
        if exhausted and any(r.artifact.precision == "int8" and not r.kept for r in session.variants.values()):
            nothing += " INT8 did not do: a smaller model, or training for INT8, is what is left."
        return [_say(session, "render_report", f"{nothing} Show the user what was tried.", "report, do not decide", kind="tradeoff")]  # fmt: skip
    comparison = session.variants[best].comparison
    slower = comparison is not None and comparison.speedup.verdict != "faster"
    remark = " It is not measurably faster than the original; smaller may be the point." if slower else ""
    packaging = Request("package_variant", variant_id=best)
    if best not in session.packages and judge(session, packaging, Facts(owner=session.opened.owner)) is None:
        return [_say(session, "package_variant", f"{best} is the best kept variant.{remark}", "package the best", variant_id=best)]  # fmt: skip
    return [_say(session, "render_report", f"Show the user the trade-off.{remark}", "report, do not decide", kind="tradeoff")]  # fmt: skip
