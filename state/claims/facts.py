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

    def also(self, words: str, value: float, quantity: str = "", dimension: Dimension | None = None) -> Fact:
        """Another number of the same source and subjects; what is not said is as here."""
        return replace(
            self, words=words, value=value, quantity=quantity or self.quantity, dimension=dimension or self.dimension
        )


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
            yield from _opening(event, session.tolerance, source)
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
                yield stamped.also(
                    f"share of time {c.technique} can change", c.share, quantity="share", dimension="share"
                )
                if c.realistic is not None:
                    yield stamped.also(f"realistic gain of {c.technique}", c.realistic)
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


def _opening(event: SessionOpened, tolerance: float, source: str) -> Iterator[Fact]:
    dimension: Dimension = "share" if event.tolerance_kind == "relative" else "points"
    yield Fact("tolerance", dimension, tolerance, "accuracy tolerance", source)
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
        yield base.also(words, value, quantity=quantity)
    yield base.also(f"throughput of {name}", m.throughput_per_s, quantity="throughput", dimension="rate")
    yield base.also(f"peak memory of {name}", m.peak_memory_mb * 2**20, quantity="memory", dimension="size")
    if m.runtime_memory_mb is not None:
        own = (m.peak_memory_mb - m.runtime_memory_mb) * 2**20
        yield base.also(f"memory of {name} over the runtime's", own, quantity="memory", dimension="size")
    unstamped = replace(base, where=None)
    counts = {"runs": t.n, "threads": m.threads, "batch": m.batch_size}
    for quantity, count in counts.items():
        yield unstamped.also(f"{quantity} of {name}", count, quantity=quantity, dimension="count")
    yield unstamped.also(f"size of {name}", m.file_size_bytes, quantity="size", dimension="size")
    if a := m.accuracy:
        yield from _with_interval(
            unstamped.also(f"{a.metric} of {name}", a.value, quantity="accuracy", dimension="share"),
            a.ci95,
        )
        yield unstamped.also(f"samples for the {a.metric} of {name}", a.n, quantity="samples", dimension="count")


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
        base.also(f"slowdown of {variant}", 1 / s.value, quantity="slowdown"), (1 / high, 1 / low)
    )
    shares = {"latency_cut": 1 - 1 / s.value, "speed_gain": s.value - 1}
    for quantity, value in shares.items():
        yield base.also(f"{quantity.replace('_', ' ')} of {variant}", value, quantity=quantity, dimension="share")
    ratios = {"p50_ratio": (b.latency_ms.p50, v.latency_ms.p50), "p95_ratio": (b.latency_ms.p95, v.latency_ms.p95), "p99_ratio": (b.latency_ms.p99, v.latency_ms.p99), "throughput_ratio": (v.throughput_per_s, b.throughput_per_s)}  # fmt: skip
    for quantity, (upper, lower) in ratios.items():
        yield base.also(f"{quantity.replace('_', ' ')} of {variant}", upper / lower, quantity=quantity)
    yield base.also(
        f"time saved by {variant}", b.latency_ms.mean - v.latency_ms.mean, quantity="saving", dimension="time"
    )
    yield base.also(
        f"half width of the speedup's interval of {variant}",
        c.noise.half_width,
        quantity="half_width",
        dimension="share",
    )
    if c.memory_ratio:
        yield base.also(f"memory ratio of {variant}", c.memory_ratio, quantity="memory_ratio")
        yield base.also(f"memory cut of {variant}", 1 - 1 / c.memory_ratio, quantity="memory_cut", dimension="share")
    sizes = replace(base, where=None)
    yield sizes.also(f"compression of {variant}", c.compression, quantity="compression")
    yield sizes.also(f"size of {variant} over the original's", 1 / c.compression, quantity="growth")
    yield sizes.also(f"size cut of {variant}", 1 - 1 / c.compression, quantity="size_cut", dimension="share")
    yield sizes.also(
        f"share of the original's size that {variant} has", 1 / c.compression, quantity="growth", dimension="share"
    )
    yield sizes.also(
        f"bytes saved by {variant}", b.file_size_bytes - v.file_size_bytes, quantity="size", dimension="size"
    )
    yield sizes.also(
        f"processes of the benchmark of {variant}", c.noise.processes, quantity="processes", dimension="count"
    )
    if c.sustained:
        yield from _sustained(c.sustained, base, variant)
    if c.runs_as:
        yield base.also(
            f"share of {variant} in kernels of its precision", c.runs_as.share, quantity="share", dimension="share"
        )


def _sustained(s: Sustained, base: Fact, variant: str) -> Iterator[Fact]:
    for value, words in ((s.first_ms, "first"), (s.last_ms, "last")):
        yield base.also(
            f"latency of {variant} in the {words} window under load", value, quantity="latency", dimension="time"
        )
    yield from _with_interval(
        base.also(f"slowdown of {variant} under load", s.slowdown, quantity="slowdown", dimension="share"),
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
        base.also(f"relative drop of {variant}", v.relative_drop, quantity="drop"), v.ci95_relative_drop
    )
    yield base.also(f"drop in {v.metric} of {variant}", v.delta, quantity="drop_points", dimension="points")
    counts = {
        "samples": v.samples,
        "look": v.look.number,
        "flips": v.changed_decisions,
        "more_samples": v.more_samples_needed,
    }
    for quantity, count in counts.items():
        if count is not None:
            yield base.also(
                f"{quantity.replace('_', ' ')} of the validation of {variant}",
                count,
                quantity=quantity,
                dimension="count",
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
    yield base.also(f"alpha of the look at {variant}", v.look.alpha, quantity="alpha", dimension="value")
    for c in v.classes:
        for value, words in ((c.baseline, "the baseline"), (c.optimized, variant)):
            yield base.also(f"accuracy of {words} on class {c.label}", value, quantity="class")
        yield base.also(f"drop of {variant} on class {c.label}", c.drop, quantity="class", dimension="points")
        yield base.also(f"samples of class {c.label}", c.samples, quantity="class", dimension="count")


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
