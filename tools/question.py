"""The question that a person answers: the server's own numbers, and nothing that an agent wrote."""

from __future__ import annotations

from pathlib import Path

from ..contract.text import untrusted
from ..state.session import Session

MB = 2**20
MOST_CLASSES = 5


def question(session: Session, variant_id: str, closed: int = 0) -> str:
    """What a person needs in order to decide on a FAIL or INCONCLUSIVE variant, whose file was asked about `closed` times
    without an answer. A pure function."""
    record = session.variants[variant_id]
    made, v, c = record.artifact, record.validation, record.comparison
    # Not model_name: an agent chose that.
    original = untrusted(Path(session.original.path).name)
    # Of one that an agent has given up, too: what a person accepts is the loss.
    verdict = v.status if v else record.status
    lines = [f"May {variant_id} of {original} ({made.technique}, {made.precision}) be kept although it is {verdict}?"]
    if v:
        low, high = v.ci95_relative_drop
        lines += [
            f"Accuracy ({v.metric}, {v.samples} samples): {v.baseline:.4f} -> {v.optimized:.4f}, a relative drop of "
            f"{v.relative_drop:.2%} (95 % interval {low:.2%} to {high:.2%}); agreed tolerance {v.tolerance}.",
        ]
        if v.user_code:
            lines.append(f"These values are computed by user code, {v.user_code}.")
        if v.changed_decisions is not None:
            lines.append(f"{v.changed_decisions} of {v.samples} decisions change.")
        lines += [f"{str(c).capitalize()}." for c in v.ruined[:MOST_CLASSES]]
        if v.more_samples_needed:
            lines.append(f"About {v.more_samples_needed} more labelled samples would settle it.")
    if c:
        low, high = c.speedup.ci95
        lines.append(
            f"Speed: {c.speedup.value:.2f} times the baseline's (95 % interval {low:.2f} to {high:.2f}{record.repeats}), "
            f"{c.baseline.latency_ms.mean:.3f} -> {c.variant.latency_ms.mean:.3f} ms; size "
            f"{c.baseline.file_size_bytes / MB:.2f} -> {c.variant.file_size_bytes / MB:.2f} MB. {c.variant.label}."
        )
    asked = sum(r.asked for other, r in session.variants.items() if other != variant_id)
    earlier = f" You were asked {asked} times before in this session." if asked else ""
    unanswered = f" This question was closed unanswered {closed} times." if closed else ""
    lines.append(f"File {Path(made.path).name}, sha256 {made.sha256[:16]}.{earlier}{unanswered}")
    lines.append("revert is final for this file: the agent cannot ask about it again.")
    return "\n".join(lines)
