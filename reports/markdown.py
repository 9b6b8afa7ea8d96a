"""The summary report and the trade-off table, as the seeds template them, from recorded measurements alone."""

from __future__ import annotations

from pathlib import Path

from ..contract.measures import Measurement
from ..contract.text import untrusted
from ..state.session import BASELINE, Session, VariantRecord
from .words import MB, Rows, memory_text, table

# Rows of the trade-off table in an answer; the page has them all.
SHOWN = 14
TRADEOFF = ["Variant", "Format", "Precision", "Size (MB)", "Latency (ms)", "Accuracy", "Speedup", "Acc. Delta"]
COMPARISON = ["Metric", "Baseline", "Optimized", "Change"]
STEPS = ["Step", "Input", "Output", "Size", "Latency", "Accuracy"]


def _title(record: VariantRecord) -> str:
    return f"{record.artifact.title} ({record.shown})"


def change(share: float) -> str:
    """A share with its sign; nothing has none."""
    return f"{share:+.2%}" if round(share, 4) else "0.00%"


def _row(record: VariantRecord) -> list[str]:
    made, c, v = record.artifact, record.comparison, record.validation
    size = f"{made.size_bytes / MB:.2f}"
    latency = f"{c.variant.latency_ms.mean:.3f}" if c else "not measured"
    accuracy = f"{v.optimized:.4f}" if v else "not measured"
    speedup = f"{c.speedup.value:.2f}x ({c.speedup.verdict}{record.repeats})" if c else "-"
    drop = f"{change(-v.relative_drop)} ({v.verdict})" if v else "-"
    return [_title(record), made.format.upper(), made.precision.upper(), size, latency, accuracy, speedup, drop]


def tradeoff(session: Session) -> str:
    """The trade-off table: one row a variant, and the recommendation."""
    left_out = len(session.variants) - SHOWN
    return "\n".join(
        [
            f"## Optimization Tradeoff Analysis: {session.opened.model_name}",
            "",
            table(TRADEOFF, tradeoff_rows(session, SHOWN)),
            *([f"({left_out} earlier variants are in the session's events.)"] if left_out > 0 else []),
            "",
            *tradeoff_notes(session),
            "",
            f"**Recommendation**: {recommendation(session)}",
        ]
    )


def tradeoff_rows(session: Session, newest: int | None = None) -> Rows:
    """The baseline, and the newest variants (all where no number is given), in the columns of TRADEOFF."""
    records = list(session.variants.values())
    first = [_baseline_row(session, session.baseline)] if session.baseline else []
    return [*first, *(_row(record) for record in records[-newest if newest else 0 :])]


def tradeoff_notes(session: Session) -> list[str]:
    """What must be known to read the table: where it was measured, and against what."""
    opened, baseline = session.opened, session.baseline
    return [
        f"{baseline.label if baseline else ''}: {baseline.device if baseline else ''}. Each speedup is from its own run, both "
        f"models in alternation; Acc. Delta is relative to the baseline's {opened.evaluation.metric} on {opened.data.samples} samples.",
        *_by_point(session),
        *_of_a_variant(session),
    ]


def _by_point(session: Session) -> list[str]:
    if session.opened.evidence == "proven":
        return []
    return ["This session judges by the point estimate (evidence='point'): a PASS of it is not proven."]


def _of_a_variant(session: Session) -> list[str]:
    origin = session.opened.derived_from
    if origin is None:
        return []
    first = untrusted(Path(origin.file.path).name)
    return [
        f"The baseline is itself a variant of {first}, opened by leave of {origin.allowed_by}: every Acc. Delta and verdict is "
        f"against {first}'s {session.opened.evaluation.metric} of {origin.accuracy:.4f}."
    ]


def _baseline_row(session: Session, baseline: Measurement) -> list[str]:
    accuracy = f"{baseline.accuracy.value:.4f}" if baseline.accuracy else "not measured"
    size, latency = f"{baseline.file_size_bytes / MB:.2f}", f"{baseline.latency_ms.mean:.3f}"
    return ["Baseline", session.opened.source_format.upper(), "original", size, latency, accuracy, "1.0x", "0.0%"]


def recommendation(session: Session) -> str:
    """One sentence on the best kept variant; who accepted a loss is said."""
    best = session.best
    if best == BASELINE:
        return "no variant has been kept; the original stands."
    record = session.variants[best]
    c, v, d = record.comparison, record.validation, record.decision
    if c is None or v is None:
        return f"{best} is kept."
    low, high = c.speedup.ci95
    loss = f"{max(0.0, v.relative_drop):.2%} accuracy loss ({v.verdict}; {v.method})"
    person = f" Kept by {d.decided_by}." if d and d.by_person else ""
    pace = f"provides {c.speedup.value:.2f}x speedup (95 % interval {low:.2f} to {high:.2f}{record.repeats})"
    if c.speedup.verdict != "faster":
        pace = f"is not faster (speedup {c.speedup.value:.2f}, {c.speedup.verdict}) but {c.compression:.2f}x smaller"
    return f"{best} {pace} with {loss}, {c.variant.label}.{person}"


def summary(session: Session) -> str:
    """The summary report on the best kept variant."""
    opened, baseline, best = session.opened, session.baseline, session.best
    chain = session.chain(best)
    pipeline = " -> ".join(a.technique for a in chain) or "none"
    parts = [
        f"## Model Optimization Report: {opened.model_name}",
        "",
        f"**Source**: {opened.model.framework} {opened.source_format} ({sum(f.bytes for f in opened.files) / MB:.2f} MB)",
        f"**Target Device**: {opened.target_device}",
        f"**Optimization Pipeline**: {pipeline}",
        f"**Date**: {session.history[-1].at[:10]}",
        f"**Measured**: {baseline.label if baseline else ''}, {baseline.device if baseline else ''}",
        "",
        "### Baseline vs Optimized",
        "",
        _comparison_table(session),
        "",
        "### Optimization Steps Applied",
        "",
        _steps_table(session),
        "",
        "### Verdict",
        "",
        verdict(session),
        "",
        "### Deployment Artifact",
        "",
        *artifact(session),
    ]
    return "\n".join(parts)


def _comparison_table(session: Session) -> str:
    rows = comparison_rows(session)
    return table(COMPARISON, rows) if rows else "No variant has been kept."


def comparison_rows(session: Session) -> Rows:
    """The best kept variant against the baseline, in the columns of COMPARISON; none where none is kept."""
    record = session.variants.get(session.best)
    if record is None or record.comparison is None or record.validation is None:
        return []
    c, v = record.comparison, record.validation
    b, o = c.baseline, c.variant
    gain = c.speedup.value
    return [
        ["File Size", f"{b.file_size_bytes / MB:.2f} MB", f"{o.file_size_bytes / MB:.2f} MB", f"{c.compression:.2f}x compression"],
        ["Latency (mean)", f"{b.latency_ms.mean:.3f} ms", f"{o.latency_ms.mean:.3f} ms", f"{gain:.2f}x, {c.speedup.verdict}"],
        ["Latency (P95)", f"{b.latency_ms.p95:.3f} ms", f"{o.latency_ms.p95:.3f} ms", f"{b.latency_ms.p95 / o.latency_ms.p95:.2f}x"],
        ["Memory (peak)", memory_text(b), memory_text(o), f"{c.memory_ratio:.2f}x smaller"],
        [f"Accuracy ({v.metric})", f"{v.baseline:.4f}", f"{v.optimized:.4f}", f"{0.0 - v.delta:+.4f} ({v.verdict})"],
        ["Throughput", f"{b.throughput_per_s:.1f}/s", f"{o.throughput_per_s:.1f}/s", f"{o.throughput_per_s / b.throughput_per_s:.2f}x"],
    ]  # fmt: skip


def _steps_table(session: Session) -> str:
    rows = step_rows(session)
    return table(STEPS, rows) if rows else "None."


def step_rows(session: Session) -> Rows:
    """The steps from the original to the best kept variant, in the columns of STEPS."""
    rows: Rows = []
    for number, made in enumerate(session.chain(session.best), 1):
        record = session.variants[made.variant_id]
        parent = Path(session.path_of(made.parent_id or BASELINE)).name
        latency = f"{record.comparison.variant.latency_ms.mean:.3f} ms" if record.comparison else "-"
        accuracy = f"{record.validation.optimized:.4f}" if record.validation else "-"
        size = f"{made.size_bytes / MB:.2f} MB"
        rows.append([f"{number}. {made.technique}", parent, Path(made.path).name, size, latency, accuracy])
    return rows


def verdict(session: Session) -> str:
    """Whether the best kept variant is within the tolerance, how that was judged, and what it gains."""
    record = session.variants.get(session.best)
    if record is None or record.validation is None or record.comparison is None:
        return "No variant has been kept; the original stands."
    v, c = record.validation, record.comparison
    outside = "judged against" if v.ruined else "outside"  # where a class is ruined, the total may well be inside
    inside = {"PASS": "within", "FAIL": outside, "INCONCLUSIVE": "not proven within"}[v.status]
    person = f" Accepted by {record.decision.decided_by}." if record.decision and record.decision.by_person else ""
    return (
        f"{v.verdict}: the relative accuracy drop of {change(v.relative_drop)} is {inside} the {v.tolerance} tolerance "
        f"({v.method}).{person} Speedup: {c.speedup.value:.2f}x ({c.speedup.verdict}{record.repeats}). Compression: {c.compression:.2f}x."
    )


def artifact(session: Session) -> list[str]:
    """Where what is deployed lies."""
    package = session.packages.get(session.best)
    if package is None:
        return ["Not packaged yet: package_variant."]
    model = Path(session.variants[session.best].artifact.path).name
    return [
        f"- Model file: {package.path}/{model}",
        f"- Metadata: {package.path}/metadata.json",
        f"- Preprocessing config: {package.path}/preprocessing.json",
    ]
