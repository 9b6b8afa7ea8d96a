"""The question that a person answers: the server's own numbers, and nothing that an agent wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..contract.measures import Comparison, Validation
from ..contract.text import untrusted
from ..reports.markdown import change
from ..state.rules.decisions import QUESTIONS_AT_MOST
from ..state.session import BASELINE, Session

MB = 2**20
MOST_CLASSES, MOST_ALTERNATIVES = 5, 2


def question(session: Session, variant_id: str, closed: int = 0) -> str:
    """What a person needs in order to decide on a FAIL or INCONCLUSIVE variant, whose file was asked about `closed` times
    without an answer. Plain text, a line for each: what is lost, what is gained, what else there is, what an answer means.
    A pure function."""
    record = session.variants[variant_id]
    made, v, c = record.artifact, record.validation, record.comparison
    # Not model_name: an agent chose that.
    original = untrusted(Path(session.original.path).name)
    # Of one that an agent has given up, too: what a person accepts is the loss.
    verdict = v.verdict if v else record.status
    lines = [
        f"May {variant_id} of {original} ({_made(made.title, variant_id)}, {made.precision}) be kept although it is {verdict}?"
    ]
    if v:
        lines += _lost(v)
    if c:
        lines.append(_gained(c, record.repeats))
    lines.append(f"Else: {_else(session, v)}")
    lines.append("keep: you accept this loss for this file; it may be built on and packaged, and is recorded as yours.")
    lines.append("revert: final for this file, the agent cannot ask about it again; it goes on with what is kept.")
    lines.append(_unanswered(closed))
    asked = sum(r.asked for other, r in session.variants.items() if other != variant_id)
    earlier = f" You were asked {asked} times before in this session." if asked else ""
    lines.append(f"File {untrusted(Path(made.path).name)}, sha256 {made.sha256[:16]}.{earlier}")
    return "\n".join(lines)


def _made(title: str, variant_id: str) -> str:
    return title.removeprefix(f"{variant_id} ")


def _lost(v: Validation) -> Iterator[str]:
    low, high = v.ci95_relative_drop
    yield (
        f"Lost: {v.metric} {v.baseline:.4f} -> {v.optimized:.4f} on {v.samples} samples, a relative drop of "
        f"{v.relative_drop:.2%} (95 % interval {low:.2%} to {high:.2%}); agreed tolerance {v.tolerance}."
    )
    if v.user_code:
        yield f"These values are computed by user code, {v.user_code}."
    if v.changed_decisions is not None:
        yield f"{v.changed_decisions} of {v.samples} decisions change."
    yield from (f"{str(c).capitalize()}." for c in v.ruined[:MOST_CLASSES])


def _gained(c: Comparison, repeats: str) -> str:
    low, high = c.speedup.ci95
    heading = "Gained" if c.speedup.verdict == "faster" else "Not faster"
    return (
        f"{heading}: {c.speedup.value:.2f} times the baseline's speed (95 % interval {low:.2f} to {high:.2f}{repeats}), "
        f"{c.baseline.latency_ms.mean:.3f} -> {c.variant.latency_ms.mean:.3f} ms; size "
        f"{c.baseline.file_size_bytes / MB:.2f} -> {c.variant.file_size_bytes / MB:.2f} MB. {c.variant.label}."
    )


def _else(session: Session, v: Validation | None) -> str:
    """What there is without this variant: the best that is kept, and what could be tried."""
    best = session.variants.get(session.best) if session.best != BASELINE else None
    kept = "nothing is kept yet, the original stands."
    if best and best.comparison and best.validation:
        kept = (
            f"{best.artifact.title} is kept, {best.comparison.speedup.value:.2f} times as fast, accuracy "
            f"{change(-best.validation.relative_drop)} ({best.validation.verdict})."
        )
    options = v.alternatives[:MOST_ALTERNATIVES] if v else []
    return " ".join([kept, *(["To try instead: " + " ".join(options)] if options else [])])


def _unanswered(closed: int) -> str:
    """What happens where nobody answers."""
    earlier = f" It was closed unanswered {closed} times." if closed else ""
    left = max(0, QUESTIONS_AT_MOST - closed - 1)
    later = f"it can be put {left} more time{'s' if left > 1 else ''}" if left else "it is not put again in the chat"
    return f"No answer: nothing is decided; {later}, or answer with `edgeopt decide`.{earlier}"
