"""What went wrong, as far as the evidence shows: the kind of trouble, and the circumstances by which its playbook branches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..contract.measures import Comparison, Validation
from ..contract.steps import TRAINED, precision_asked
from ..state.events import JobStarted
from ..state.session import BASELINE, Session
from .trees import CONVOLUTIONS

# What jobs fail with, besides the codes of refusals, and the trouble that it is if nothing else shows.
FAILURES: dict[str, str] = {
    "BAD_OUTPUTS": "garbage-output",
    "NOT_LOADABLE": "format-error",
    "NOT_RUNNABLE": "format-error",
    "TECHNIQUE_FAILED": "format-error",
    "OUTPUTS_DIFFER": "invalid-export",
    "MEMORY_LIMIT": "out-of-memory",
    "OOM_KILLED": "out-of-memory",
    "TIMEOUT": "out-of-time",
    "PACKAGE_NOT_VERIFIED": "package-not-verified",
    "CANCELLED": "cancelled",
    **dict.fromkeys(
        (
            *("WORKER_CRASHED", "WORKER_KILLED", "WORKER_FAILED", "SUPERVISOR_LOST", "MEASUREMENT_FAILED"),
            *("NO_ANSWER", "BAD_ANSWER", "RESULT_UNREADABLE", "NOT_STARTED"),
        ),
        "broken-worker",
    ),
}
_OF_THE_MODEL = frozenset({"NOT_LOADABLE", "NOT_RUNNABLE", "TECHNIQUE_FAILED", "OUTPUTS_DIFFER"})
# A loss of half of the metric is no matter of degree.
COLLAPSE = 0.5
FEW_SAMPLES = 100

# What messages and logs say, in the words of the libraries.
_SIGNS: dict[str, re.Pattern[str]] = {
    sign: re.compile(words, re.IGNORECASE)
    for sign, words in {
        "nan": r"\bnan\b|infinit",
        "constant": r"same for every sample|constant output",
        "shapes": r"no order of axes|outputs of the new model are|has the (?:inputs|outputs)|other (?:inputs|outputs)",
        "operator": r"unsupported|not supported|no importer|could not find plugin|not implemented|unknown op|custom op|not registered",
        "dynamic": r"dynamic (?:shape|axis|axes|dim)|optimization profile|symbolic dim|unknown (?:shape|rank|dim)|data.dependent",
        "oom": r"out ?of ?memory|insufficient memory|memory is insufficient|cudaMalloc|bad_alloc|cannot allocate",
        "workspace": r"could not find any implementation|do not have sufficient workspace|insufficient workspace",
        "strong-typing": r"strongly.typed|no attribute '?(?:FP16|INT8|int8_calibrator)|BuilderFlag",
        "cuda": r"cuda initialization|no cuda|cuda driver|cudaErrorInsufficientDriver|cuInit",
    }.items()
}
_CALIBRATION = re.compile(r"calibrat\w* (?:set|samples?|data)", re.IGNORECASE)
_NOTHING_USED = "Nothing of this job was used"


@dataclass(frozen=True)
class Case:
    """One trouble. `kind`: the playbook's name. `facts`: what its steps may ask for. `words`: what its texts and calls name.
    `again`: the call that failed."""

    kind: str
    facts: frozenset[str] = frozenset()
    words: dict[str, str] = field(default_factory=dict)
    session: Session | None = None
    again: tuple[str, dict[str, Any]] | None = None


# What of a recorded request are arguments of its tool.
_ARGUMENTS = (
    *("step", "parent", "variant_id", "iterations", "sustained_seconds", "threads", "batch_size", "method"),
    "output_dir",
)


def of_failure(code: str, message: str, log: str = "", session: Session | None = None, job: JobStarted | None = None) -> Case:  # fmt: skip
    """The trouble that a failed job is."""
    arguments = job.arguments if job else {}
    step = arguments.get("step") or {}
    parent = str(arguments.get("parent") or BASELINE)
    facts = {*_signs(f"{message}\n{log}"), *_of_step(step), *_of_session(session, parent)}
    again = (job.tool, {k: arguments[k] for k in _ARGUMENTS if arguments.get(k) is not None}) if job else None
    words = {"parent": parent, "variant_id": str((job and job.variant_id) or "best")}
    words["precision"] = str(step.get("precision") or "fp16")
    return Case(_kind(code, message, facts), frozenset(facts), words, session, again)


def of_validation(session: Session, variant_id: str, judged: Validation) -> Case | None:
    """The trouble that a verdict is; None after a PASS."""
    if judged.status == "PASS" or variant_id not in session.variants:
        return None
    facts = {*_of_variant(session, variant_id), judged.status.lower()}
    if session.variants[variant_id].awaits_person:
        facts.add("unsettled")
    if judged.ruined:
        facts.add("ruined")
    kind = "tolerance-exceeded"
    if judged.status == "FAIL" and facts & {"int8", "fp16"}:
        if judged.relative_drop >= COLLAPSE:
            kind = "garbage-output"
        elif _samples(session, variant_id) < FEW_SAMPLES:
            kind = "calibration-too-small"
    return Case(kind, frozenset(facts), _named(session, variant_id), session)


def of_benchmark(session: Session, variant_id: str, compared: Comparison) -> Case | None:
    """The trouble that a comparison is; None where the variant is faster, and for the original itself."""
    if compared.speedup.verdict == "faster" or variant_id not in session.variants:
        return None
    record = session.variants[variant_id]
    facts = {*_of_variant(session, variant_id), compared.speedup.verdict}
    if record.decision is None:
        facts.add("unvalidated" if record.validation is None else "open")
    if compared.compression > 1.05:
        facts.add("smaller")
    if compared.noise.disturbed:
        facts.add("disturbed")
    if compared.execution and compared.execution.conversions > 0.2:
        facts.add("conversions")
    words = _named(session, variant_id)
    if compared.why_not_faster:
        facts.add("why")
        words["why"] = compared.why_not_faster
    return Case("not-faster", frozenset(facts), words, session)


def of_target(session: Session) -> Case | None:
    """The trouble that a latency target is which the best variant does not meet; None where there is none, or it is met."""
    target, baseline = session.opened.latency_target_ms, session.baseline
    if target is None or baseline is None:
        return None
    record = session.variants.get(session.best)
    best = record.comparison.variant if record and record.comparison else baseline
    if best.latency_ms.mean <= target:
        return None
    words = {"best_ms": f"{best.latency_ms.mean:.3g}", "target_ms": f"{target:g}"}
    return Case("latency-target", frozenset(_of_session(session, BASELINE)), words, session)


def _kind(code: str, message: str, facts: set[str]) -> str:
    if code in _OF_THE_MODEL and "tensorrt" in facts:
        return "engine-build"
    if code == "BAD_OUTPUTS" and _NOTHING_USED in message:
        return "broken-worker"
    if code == "BAD_OUTPUTS" and "shapes" in facts:
        return "format-error"
    if code in _OF_THE_MODEL and "export_onnx" in facts:
        return "invalid-export"
    if code == "TECHNIQUE_FAILED" and "int8" in facts and _CALIBRATION.search(message):
        return "calibration-too-small"
    return FAILURES.get(code, "broken-worker")


def _signs(text: str) -> Iterator[str]:
    yield from (sign for sign, words in _SIGNS.items() if words.search(text))


def _of_step(step: dict[str, Any]) -> Iterator[str]:
    technique = step.get("technique")
    if not technique:
        return
    yield str(technique)
    if precision := precision_asked(technique, step):
        yield precision
    if technique in TRAINED:
        yield "trained"


def _of_session(session: Session | None, parent: str) -> Iterator[str]:
    if session is None:
        return
    opened = session.opened
    known = parent == BASELINE or parent in session.variants
    yield f"original:{opened.source_format}"
    yield f"from:{session.format_of(parent) if known else opened.source_format}"
    if opened.calibration_path:
        yield "calibrated"
    if opened.training_path and opened.source_format == "pytorch":
        yield "trainable"
    if any(CONVOLUTIONS.search(name) for name in opened.model.operators):
        yield "convolutional"


def _of_variant(session: Session, variant_id: str) -> Iterator[str]:
    made = session.variants[variant_id].artifact
    yield from _of_step({"technique": made.technique, **made.parameters})
    yield from _of_session(session, made.parent_id or BASELINE)


def _named(session: Session, variant_id: str) -> dict[str, str]:
    made = session.variants[variant_id].artifact
    precision = str(made.parameters.get("precision") or "fp16")
    return {"variant_id": variant_id, "parent": made.parent_id or BASELINE, "precision": precision}


def _samples(session: Session, variant_id: str) -> float:
    """How many samples were asked for to calibrate it; infinity where it was not calibrated."""
    asked = session.variants[variant_id].artifact.parameters.get("calibration_samples")
    return float(asked) if asked is not None else float("inf")
