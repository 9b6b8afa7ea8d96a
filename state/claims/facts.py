"""The recorded facts of a session: every number that it supports, with where it was recorded and what may be said of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from ...contract.measures import Comparison, Measurement, Sustained, Validation, Where
from ..events import (
    BaselineMeasured,
    SensitivityAnalyzed,
    SessionOpened,
    VariantBenchmarked,
    VariantCreated,
    VariantValidated,
)
from ..session import BASELINE, Session
from ..store import Recorded
from .reading import Dimension, claims


@dataclass(frozen=True)
class Fact:
    """A number on record. `subjects`: the variants that it is of; none where it is of the session. `where`: of numbers that
    the machine decides. `stale`: why it is no longer to be quoted; empty while it is. `verbatim`: the recorded words that the number
    stands in, where it is on record in words alone: only who quotes these may say it."""

    quantity: str
    dimension: Dimension
    value: float
    words: str
    source: str
    subjects: frozenset[str] = frozenset()
    where: Where | None = None
    device: str = ""
    stale: str = ""
    verbatim: str = ""


def recorded_facts(session: Session, changed: Collection[str] = ()) -> list[Fact]:
    """All that the events of a session support, oldest first. `changed`: variants whose files are not those recorded."""
    newest = {_key(r): r.seq for r in session.history}
    facts: list[Fact] = []
    for recorded in session.history:
        key = _key(recorded)
        later = newest[key] if key[1] and newest[key] != recorded.seq else None
        for fact in _of_event(recorded, session):
            facts.append(replace(fact, stale=_stale(session, key[1], later, changed)))
    return [*facts, *_counts(session)]


def _key(recorded: Recorded) -> tuple[str, str]:
    """What a later event of the same kind replaces: a measurement of the same variant."""
    event = recorded.event
    repeatable = isinstance(event, VariantBenchmarked | VariantValidated)
    made = event.artifact.variant_id if isinstance(event, VariantCreated) else ""
    return event.kind, event.variant_id if repeatable else made


def _stale(session: Session, variant: str, later: int | None, changed: Collection[str]) -> str:
    if later is not None:
        return f"measured again since: event {later} has the newer value"
    if variant in changed:
        return f"the file of {variant} is not the one that was measured"
    record = session.variants.get(variant)
    if record and record.status == "reverted":
        return f"{variant} was reverted"
    return ""


def _of_event(recorded: Recorded, session: Session) -> Iterator[Fact]:
    event = recorded.event
    source = f"event {recorded.seq} ({event.kind})"
    match event:
        case SessionOpened():
            yield from _opening(event, source)
        case BaselineMeasured():
            yield Fact("speedup", "ratio", 1.0, "the baseline against itself", source, frozenset({BASELINE}))
            yield from _measurement(event.baseline, BASELINE, BASELINE, source)
            for c in event.ceilings:
                what = f"ceiling of {c.technique}"
                stamped = Fact(
                    "ceiling",
                    "ratio",
                    c.at_most,
                    what,
                    source,
                    where=event.baseline.where,
                    device=event.baseline.device,
                )
                yield stamped
                yield replace(
                    stamped,
                    quantity="share",
                    dimension="share",
                    value=c.share,
                    words=f"share of time {c.technique} can change",
                )
                if c.realistic is not None:
                    yield replace(stamped, value=c.realistic, words=f"realistic gain of {c.technique}")
        case SensitivityAnalyzed():
            for layer in event.layers:
                yield Fact("sensitivity", "value", layer.score, f"sensitivity of {layer.name}", source)
                if layer.accuracy_drop is not None:
                    yield Fact("drop_points", "points", layer.accuracy_drop, f"drop from {layer.name} alone", source)
            yield Fact("samples", "count", event.samples, "samples of the sensitivity analysis", source)
        case VariantCreated():
            made = event.artifact
            yield Fact(
                "size", "size", made.size_bytes, f"size of {made.variant_id}", source, frozenset({made.variant_id})
            )
        case VariantBenchmarked():
            yield from _comparison(event.comparison, event.variant_id, source)
        case VariantValidated():
            yield from _validation(event.validation, event.variant_id, source, session)
        case _:
            return


def _opening(event: SessionOpened, source: str) -> Iterator[Fact]:
    dimension: Dimension = "share" if event.tolerance_kind == "relative" else "points"
    yield Fact("tolerance", dimension, event.accuracy_tolerance, "accuracy tolerance", source)
    size, of = sum(f.bytes for f in event.files), frozenset({BASELINE})
    yield Fact("size", "size", size, "size of the original", source, of)
    if event.latency_target_ms is not None:
        yield Fact("target", "time", event.latency_target_ms, "latency target", source)
    if event.model.parameters is not None:
        yield Fact("parameters", "count", event.model.parameters, "parameters of the original", source, of)
    named = {"evaluation": event.data, "calibration": event.calibration, "training": event.training}
    for name, data in named.items():
        if data is not None:
            yield Fact("samples", "count", data.samples, f"samples of the {name} set", source)
            if data.classes is not None:
                yield Fact("classes", "count", data.classes, f"classes of the {name} set", source)


def _measurement(m: Measurement, subject: str, name: str, source: str, *run: str) -> Iterator[Fact]:
    """`run`: the other models of the same run, so that a sentence on one of them may quote this."""
    base = Fact(
        "", "time", 0.0, "", f"{source}, measurement {m.measurement_id}", frozenset({subject, *run}), m.where, m.device
    )
    t = m.latency_ms
    times = {"latency": t.mean, "p50": t.p50, "p95": t.p95, "p99": t.p99, "std": t.std}
    for quantity, value in times.items():
        words = f"{'mean latency' if quantity == 'latency' else quantity} of {name}"
        yield replace(base, quantity=quantity, value=value, words=words)
    yield replace(
        base, quantity="throughput", dimension="rate", value=m.throughput_per_s, words=f"throughput of {name}"
    )
    yield replace(
        base, quantity="memory", dimension="size", value=m.peak_memory_mb * 2**20, words=f"peak memory of {name}"
    )
    if m.runtime_memory_mb is not None:
        own = (m.peak_memory_mb - m.runtime_memory_mb) * 2**20
        yield replace(
            base, quantity="memory", dimension="size", value=own, words=f"memory of {name} over the runtime's"
        )
    unstamped = replace(base, where=None)
    counts = {"runs": t.n, "threads": m.threads, "batch": m.batch_size}
    for quantity, count in counts.items():
        yield replace(unstamped, quantity=quantity, dimension="count", value=count, words=f"{quantity} of {name}")
    yield replace(unstamped, quantity="size", dimension="size", value=m.file_size_bytes, words=f"size of {name}")
    if a := m.accuracy:
        yield from _with_interval(
            replace(unstamped, quantity="accuracy", dimension="share", value=a.value, words=f"{a.metric} of {name}"),
            a.ci95,
        )
        yield replace(
            unstamped, quantity="samples", dimension="count", value=a.n, words=f"samples for the {a.metric} of {name}"
        )


def _with_interval(fact: Fact, ends: tuple[float, float]) -> Iterator[Fact]:
    low, high = ends
    yield fact
    yield replace(fact, value=low, words=f"lower end of the 95 % interval of the {fact.words}")
    yield replace(fact, value=high, words=f"upper end of the 95 % interval of the {fact.words}")
    yield replace(
        fact, quantity="half_width", value=(high - low) / 2, words=f"half the 95 % interval of the {fact.words}"
    )


def _comparison(c: Comparison, variant: str, source: str) -> Iterator[Fact]:
    b, v, s = c.baseline, c.variant, c.speedup
    yield from _measurement(b, BASELINE, f"the baseline beside {variant}", source, variant)
    yield from _measurement(v, variant, variant, source)
    at = f"{source}, measurements {b.measurement_id} and {v.measurement_id}"
    base = Fact("speedup", "ratio", s.value, f"speedup of {variant}", at, frozenset({variant}), v.where, v.device)
    yield from _with_interval(base, s.ci95)
    low, high = s.ci95
    yield from _with_interval(
        replace(base, quantity="slowdown", value=1 / s.value, words=f"slowdown of {variant}"), (1 / high, 1 / low)
    )
    shares = {"latency_cut": 1 - 1 / s.value, "speed_gain": s.value - 1}
    for quantity, value in shares.items():
        yield replace(
            base, quantity=quantity, dimension="share", value=value, words=f"{quantity.replace('_', ' ')} of {variant}"
        )
    ratios = {"p50_ratio": (b.latency_ms.p50, v.latency_ms.p50), "p95_ratio": (b.latency_ms.p95, v.latency_ms.p95), "p99_ratio": (b.latency_ms.p99, v.latency_ms.p99), "throughput_ratio": (v.throughput_per_s, b.throughput_per_s)}  # fmt: skip
    for quantity, (upper, lower) in ratios.items():
        yield replace(base, quantity=quantity, value=upper / lower, words=f"{quantity.replace('_', ' ')} of {variant}")
    yield replace(
        base,
        quantity="saving",
        dimension="time",
        value=b.latency_ms.mean - v.latency_ms.mean,
        words=f"time saved by {variant}",
    )
    yield replace(
        base,
        quantity="half_width",
        dimension="share",
        value=c.noise.half_width,
        words=f"half width of the speedup's interval of {variant}",
    )
    if c.memory_ratio:
        yield replace(base, quantity="memory_ratio", value=c.memory_ratio, words=f"memory ratio of {variant}")
        yield replace(
            base,
            quantity="memory_cut",
            dimension="share",
            value=1 - 1 / c.memory_ratio,
            words=f"memory cut of {variant}",
        )
    sizes = replace(base, where=None)
    yield replace(sizes, quantity="compression", value=c.compression, words=f"compression of {variant}")
    yield replace(sizes, quantity="growth", value=1 / c.compression, words=f"size of {variant} over the original's")
    yield replace(
        sizes, quantity="size_cut", dimension="share", value=1 - 1 / c.compression, words=f"size cut of {variant}"
    )
    yield replace(
        sizes,
        quantity="growth",
        dimension="share",
        value=1 / c.compression,
        words=f"share of the original's size that {variant} has",
    )
    yield replace(
        sizes,
        quantity="size",
        dimension="size",
        value=b.file_size_bytes - v.file_size_bytes,
        words=f"bytes saved by {variant}",
    )
    yield replace(
        sizes,
        quantity="processes",
        dimension="count",
        value=c.noise.processes,
        words=f"processes of the benchmark of {variant}",
    )
    if c.sustained:
        yield from _sustained(c.sustained, base, variant)
    if c.runs_as:
        yield replace(
            base,
            quantity="share",
            dimension="share",
            value=c.runs_as.share,
            words=f"share of {variant} in kernels of its precision",
        )


def _sustained(s: Sustained, base: Fact, variant: str) -> Iterator[Fact]:
    for value, words in ((s.first_ms, "first"), (s.last_ms, "last")):
        yield replace(
            base,
            quantity="latency",
            dimension="time",
            value=value,
            words=f"latency of {variant} in the {words} window under load",
        )
    yield from _with_interval(
        replace(
            base, quantity="slowdown", dimension="share", value=s.slowdown, words=f"slowdown of {variant} under load"
        ),
        s.ci95,
    )
    yield replace(
        base,
        quantity="duration",
        dimension="time",
        value=s.seconds * 1000,
        where=None,
        words=f"time of {variant} under load",
    )
    yield replace(
        base, quantity="runs", dimension="count", value=s.calls, where=None, words=f"calls of {variant} under load"
    )


def _validation(v: Validation, variant: str, source: str, session: Session) -> Iterator[Fact]:
    base = Fact(
        "accuracy",
        "share",
        v.optimized,
        f"{v.metric} of {variant}",
        f"{source}, validation of {variant}",
        frozenset({variant}),
    )
    yield base
    yield replace(
        base,
        value=v.baseline,
        words=f"{v.metric} of the baseline beside {variant}",
        subjects=frozenset({variant, BASELINE}),
    )
    yield from _with_interval(
        replace(base, quantity="drop", value=v.relative_drop, words=f"relative drop of {variant}"), v.ci95_relative_drop
    )
    yield replace(
        base, quantity="drop_points", dimension="points", value=v.delta, words=f"drop in {v.metric} of {variant}"
    )
    counts = {
        "samples": v.samples,
        "look": v.look.number,
        "flips": v.changed_decisions,
        "more_samples": v.more_samples_needed,
    }
    for quantity, count in counts.items():
        if count is not None:
            yield replace(
                base,
                quantity=quantity,
                dimension="count",
                value=count,
                words=f"{quantity.replace('_', ' ')} of the validation of {variant}",
            )
    for c in claims(v.method):
        value = c.value * (c.unit.scales[0] if c.unit else 1.0)
        around = plain(c.clause) if len(c.clause.split()) > 2 else plain(c.sentence)
        yield replace(
            base,
            quantity="quoted",
            dimension=c.unit.dimension if c.unit else "value",
            value=value,
            words=f"said of {variant}: {around}",
            verbatim=around,
        )
    yield replace(
        base, quantity="alpha", dimension="value", value=v.look.alpha, words=f"alpha of the look at {variant}"
    )
    for c in v.classes:
        for value, words in ((c.baseline, "the baseline"), (c.optimized, variant)):
            yield replace(base, quantity="class", value=value, words=f"accuracy of {words} on class {c.label}")
        yield replace(
            base, quantity="class", dimension="points", value=c.drop, words=f"drop of {variant} on class {c.label}"
        )
        yield replace(base, quantity="class", dimension="count", value=c.samples, words=f"samples of class {c.label}")


def plain(words: str) -> str:
    """Words as they are compared: small letters, one space."""
    return " ".join(words.lower().split())


def _counts(session: Session) -> Iterator[Fact]:
    """How many variants there are now, of each outcome."""
    records = list(session.variants.values())
    totals = {
        "made": len(records),
        "kept": sum(r.kept for r in records),
        "reverted": sum(r.status == "reverted" for r in records),
        "passed": sum(r.passed for r in records),
        "failed": sum(r.validation is not None and r.validation.status == "FAIL" for r in records),
        "measured": sum(not r.unmeasured for r in records),
    }
    for name, value in totals.items():
        yield Fact("variants", "count", value, f"variants {name}", "the session's events")
    yield Fact("steps", "count", len(session.chain(session.best)), "steps of the best variant", "the session's events")
