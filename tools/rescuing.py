"""After INT8 that lost too much: first the layers that it hurts, then those layers in float. What is shown here is suggestions
alone, from what the session has measured."""

from __future__ import annotations

from ..contract.measures import LayerScore
from ..contract.steps import MixedPrecision, Step
from ..state.events import JobFailed, SensitivityAnalyzed
from ..state.session import Session
from .trees import AUTOMATIC_INT8, Suggestion

FIND = "INT8 that loses too much: find the layers"
KEEP = "INT8 that loses too much: keep in float what hurts"
# So many of the ranked layers are kept where no search can be made: their accuracy was to be confirmed, too.
_KEPT = 5
MIXED = MixedPrecision(technique="mixed_precision")


def lossy(session: Session) -> bool:
    """Whether INT8 in ONNX was judged, and all of it is outside the tolerance."""
    judged = [
        r
        for r in session.variants.values()
        if r.artifact.precision == "int8" and r.artifact.format == "onnx" and r.validation
    ]
    return bool(judged) and not any(r.passed or r.kept for r in judged)


def was_tried(session: Session, parent: str) -> bool:
    """Whether ranking the layers of this model broke before."""
    return any(
        isinstance(session.ended.get(job_id), JobFailed)
        and job.tool == "analyze_sensitivity"
        and job.arguments.get("parent") == parent
        for job_id, job in session.jobs.items()
    )


def rescue(session: Session, ranked: SensitivityAnalyzed) -> Suggestion:
    """What keeps the ranked layers in float: a search where accuracy could be measured on the calibration set, else the worst
    few by name."""
    hurt = ", ".join(layer.name for layer in ranked.layers[:2])
    if _searchable(session, ranked.layers):
        return Suggestion(MIXED, f"INT8 lost too much, most of it in {hurt}: keep in float the few layers that need it.", KEEP)  # fmt: skip
    return Suggestion(_by_name(ranked.layers), f"INT8 lost too much, most of it in {hurt}: keep the worst layers in float (a search for the fewest takes a calibration set with labels).", KEEP)  # fmt: skip


def _searchable(session: Session, layers: list[LayerScore]) -> bool:
    """A search evaluates by built-in metrics on labels, which were there if drops were measured."""
    evaluation = session.opened.evaluation
    own_code = evaluation.adapter or evaluation.metric_code
    return not own_code and any(layer.accuracy_drop is not None for layer in layers)


def _by_name(layers: list[LayerScore]) -> Step:
    return AUTOMATIC_INT8.model_copy(update={"keep_float": [layer.name for layer in layers[:_KEPT]]})
