"""One self-contained HTML page of a session: no script, nothing from elsewhere; every recorded word is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..contract.measures import Comparison, Measurement, Stamp, Validation
from ..drawing import scatter
from ..drawing.markup import SPACE, Markup, joined, raw, tag
from ..state.session import BASELINE, Session
from . import figures
from .losses import losses
from .markdown import (
    COMPARISON,
    STEPS,
    TRADEOFF,
    artifact,
    change,
    comparison_rows,
    recommendation,
    step_rows,
    tradeoff_notes,
    tradeoff_rows,
    verdict,
)
from .style import STYLE
from .timeline import Entry, timeline
from .words import Rows

# Nothing is loaded and nothing runs, whatever a name might hold.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_FIGURE = re.compile(r"^[-+]?\d")
ROWS, ENTRIES = 60, 300


def page(session: Session) -> str:
    """The report of a session whose baseline is measured, as an HTML document.

    Raises:
        ValueError: the baseline is not measured.
    """
    if session.baseline is None:
        raise ValueError("there is nothing to report before the baseline is measured")
    name = session.opened.model_name
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("title", f"{name}: model optimization report"),
        tag("style", raw(STYLE)),
    )
    body = tag(
        "body",
        tag(
            "main",
            _header(session, session.baseline),
            _tradeoff(session),
            _optimized(session),
            _latency(session),
            _size(session),
            _sensitivity(session),
            losses(session),
            _timeline(session),
            _provenance(session),
        ),
    )
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'


def card(session: Session) -> Markup:
    """What a chat shows of it: the verdict, the picture, the table. An element without a style of its own.

    Raises:
        ValueError: the baseline is not measured.
    """
    if session.baseline is None:
        raise ValueError("there is nothing to show before the baseline is measured")
    return tag("main", _header(session, session.baseline), _tradeoff(session))


def _header(session: Session, stamp: Stamp) -> Markup:
    opened = session.opened
    target = "badge target" if stamp.where == "target" else "badge"
    made = f"{opened.model.framework} {opened.source_format} for {opened.target_device}, {session.history[-1].at[:10]}"
    return tag(
        "header",
        tag("p", "Model Optimization Report", class_="eyebrow"),
        tag("h1", opened.model_name),
        tag("p", made, class_="note"),
        tag("p", tag("span", stamp.label, class_=target), SPACE, tag("span", stamp.device, class_="note")),
        _verdict(session),
        _tiles(session),
    )


def _verdict(session: Session) -> Markup:
    record = session.variants.get(session.best)
    if record is None or record.validation is None:
        waits = session.waiting_for_person
        more = f" {', '.join(waits)} waits for a person: edgeopt decide {session.session_id}" if waits else ""
        said = tag("p", tag("span", "No variant is kept.", class_="word"), SPACE, f"The original stands.{more}")
        return tag("div", said, class_="verdict open")
    tone = {"PASS": "pass", "FAIL": "fail", "INCONCLUSIVE": "open"}[record.validation.status]
    word, _, rest = verdict(session).partition(": ")
    return tag(
        "div",
        tag("p", tag("span", f"{word}:", class_="word"), SPACE, rest),
        tag("p", f"Recommendation: {recommendation(session)}", class_="note"),
        class_=f"verdict {tone}",
    )


def _tiles(session: Session) -> Markup:
    """What was gained and what was lost, in four figures; of the original alone where nothing is kept."""
    record, baseline = session.variants.get(session.best), session.baseline
    if record and record.comparison and record.validation:
        shown = _gained(record.comparison, record.validation)
    else:
        shown = _original(baseline) if baseline else []
    tiles = [
        tag("div", tag("span", name), tag("b", value), tag("span", more), class_="tile") for name, value, more in shown
    ]
    return tag("div", *tiles, class_="tiles")


def _gained(c: Comparison, v: Validation) -> list[tuple[str, str, str]]:
    (slow, fast), (least, most) = c.speedup.ci95, v.ci95_relative_drop
    interval = f"95 % interval of the change {change(-most)} to {change(-least)}"
    sizes = [figures.megabytes(measured.file_size_bytes) for measured in (c.baseline, c.variant)]
    ratio = f"{c.compression:.2f}x smaller" if c.compression >= 1 else f"{1 / c.compression:.2f}x larger"
    same_run = f"baseline {c.baseline.latency_ms.mean:.3f} ms in the same run; {c.variant.label}"
    return [
        ("Speed", f"{c.speedup.value:.2f}x", f"95 % interval {slow:.2f} to {fast:.2f}; {c.speedup.verdict}"),
        (
            f"Accuracy ({v.metric})",
            change(-v.relative_drop),
            f"{v.baseline:.4f} to {v.optimized:.4f}; {interval}; {v.samples} samples",
        ),
        ("Size", ratio, " to ".join(sizes)),
        ("Latency, mean", f"{c.variant.latency_ms.mean:.3f} ms", same_run),
    ]


def _original(baseline: Measurement) -> list[tuple[str, str, str]]:
    shown = [
        ("Latency, mean", f"{baseline.latency_ms.mean:.3f} ms", f"of the original; {baseline.label}"),
        ("Size", figures.megabytes(baseline.file_size_bytes), "of the original"),
    ]
    if accuracy := baseline.accuracy:
        name, value = f"Accuracy ({accuracy.metric})", f"{accuracy.value:.4f}"
        shown.append((name, value, f"of the original; {accuracy.n} samples"))
    return shown


def _tradeoff(session: Session) -> Markup:
    records = list(session.variants.values())[-ROWS:]
    best = [n for n, r in enumerate(records, 1) if r.artifact.variant_id == session.best]
    shown = figures.tradeoff_picture(session)
    better = "Down" if shown.lower_is_better else "Up"
    said = f"{better} and to the left is better. What lies in the shade has lost more than the tolerance allows."
    return _section(
        "Optimization Tradeoff Analysis",
        _figure(scatter.as_svg(shown, standalone=False), said),
        _table(TRADEOFF, tradeoff_rows(session, ROWS), "The baseline and every variant", best),
        *(tag("p", note, class_="note") for note in tradeoff_notes(session)),
    )


def _optimized(session: Session) -> Markup | None:
    rows = comparison_rows(session)
    if not rows:
        return None
    return _section(
        "Baseline vs Optimized",
        _table(COMPARISON, rows, figures.label(session)),
        tag("h3", "Optimization Steps Applied"),
        _table(STEPS, step_rows(session), "From the original to what is recommended"),
        tag("h3", "Deployment Artifact"),
        _facts(
            (name, value) for name, _, value in (line.removeprefix("- ").partition(": ") for line in artifact(session))
        ),
    )


def _latency(session: Session) -> Markup | None:
    drawn = figures.latency(session)
    if drawn is None:
        return None
    said = (
        "The models of a pair were timed in alternation in fresh processes. Recorded are these percentiles and not the single "
        "runs, so no more than these is drawn. P99*: too few runs for a bound at 95 % confidence."
    )
    reasons = [
        f"{r.artifact.variant_id}: {r.comparison.why_not_faster}"
        for r in session.variants.values()
        if r.comparison and r.comparison.why_not_faster
    ]
    notes = [tag("p", reason, class_="note") for reason in reasons]
    return _section("Latency", _figure(drawn, f"{figures.label(session)}. {said}"), *notes)


def _size(session: Session) -> Markup | None:
    drawn = figures.size(session)
    said = "The files that are deployed. Sizes do not depend on the machine."
    return _section("Size", _figure(drawn, said)) if drawn else None


def _sensitivity(session: Session) -> Markup | None:
    parts: list[Markup] = []
    for parent, event in session.sensitivity.items():
        drawn = figures.sensitivity(event, session.opened.evaluation.metric)
        if drawn:
            more = f"; the worst {figures.LAYERS} of them are drawn" if len(event.layers) > figures.LAYERS else ""
            said = (
                f"Each layer of {parent} quantized alone: power of the error in the outputs over the power of the outputs, on "
                f"{event.samples} calibration samples; {len(event.layers)} of {event.of} layers recorded{more}. {event.confirmation}"
            )
            parts.append(_figure(drawn, said))
    return _section("Sensitivity", *parts) if parts else None


def _timeline(session: Session) -> Markup:
    entries = timeline(session)
    earlier = len(entries) - ENTRIES
    return _section(
        "Steps and decisions",
        tag("p", f"{earlier} earlier ones are in the session's events.", class_="note") if earlier > 0 else None,
        tag("ol", *map(_entry, entries[-ENTRIES:]), class_="time"),
    )


def _entry(entry: Entry) -> Markup:
    took = f" · {entry.seconds:.0f} s" if entry.seconds is not None else ""
    said = tag("p", tag("b", entry.what), SPACE, tag("span", f"· {entry.who}{took}", class_="who"))
    moment = tag("time", entry.at[11:19], datetime=entry.at)
    return tag("li", moment, tag("div", said, tag("p", entry.detail), class_=entry.tone))


def _provenance(session: Session) -> Markup:
    opened = session.opened
    facts = [
        ("Original", f"{opened.files[0].path}, sha256 {opened.files[0].sha256}"),
        ("Evaluation", f"{Path(opened.evaluation.dataset_path).name}, {opened.data.samples} samples, digest {opened.data.digest[:16]}"),
        ("Measurements", ", ".join(_measurements(session))),
        ("Session", session.session_id),
    ]  # fmt: skip
    if codes := opened.user_codes:
        facts.insert(2, ("User code", ", ".join(str(code) for code in codes)))
    return tag(
        "footer",
        tag("h2", "Provenance"),
        _facts(facts),
        tag("p", "Rendered by edgeopt from what the session recorded; times are UTC.", class_="note"),
    )


def _facts(facts: Iterable[tuple[str, str]]) -> Markup:
    return tag("dl", *(joined(tag("dt", name), tag("dd", tag("code", value))) for name, value in facts))


def _measurements(session: Session) -> Iterable[str]:
    if session.baseline:
        yield f"{BASELINE} {session.baseline.measurement_id}"
    for record in list(session.variants.values())[-figures.MOST :]:
        if record.comparison:
            yield f"{record.artifact.variant_id} {record.comparison.variant.measurement_id}"


def _section(title: str, *parts: Markup | None) -> Markup:
    return tag("section", tag("h2", title), *parts)


def _figure(drawn: Markup, caption: str) -> Markup:
    return tag("figure", tag("div", drawn), tag("figcaption", caption))


def _table(header: list[str], rows: Rows, caption: str, best: Sequence[int] = ()) -> Markup:
    """A table whose first cell names its row. `best`: the rows to stand out."""
    figures_ = [bool(rows) and all(_FIGURE.match(row[n]) or row[n] == "-" for row in rows) for n in range(len(header))]
    figures_[0] = False
    looks = ["num" if numeric else None for numeric in figures_]
    top = tag("tr", *(tag("th", h, scope="col", class_=look) for h, look in zip(header, looks, strict=True)))
    lines = [
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            *(tag("td", cell, class_=look) for cell, look in zip(row[1:], looks[1:], strict=True)),
            class_="best" if n in best else None,
        )
        for n, row in enumerate(rows)
    ]
    return tag("div", tag("table", tag("caption", caption), tag("thead", top), tag("tbody", *lines)), class_="scroll")
