"""How latency is distributed, by what is recorded of it: mean, P50, P95 and P99, on one axis from zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..contract.measures import Latency
from .markup import Markup, joined, tag
from .svg import WIDTH, Scale, across, frame, line, scale, ticks, words

ROW, TOP, NAMES_END, RIGHT = 40, 8, 285, 34


@dataclass(frozen=True)
class Row:
    """A model in one run. `run`: rows of one run were measured in alternation and stand together."""

    name: str
    latency: Latency
    kind: str
    run: str


def as_svg(rows: Sequence[Row], where: str) -> Markup:
    """A box from P50 to P95, a whisker to P99, a mark at the mean. `where`: the label of what was measured."""
    # One long tail would press all else together: it is cut, with an arrow; its P99 stands in words.
    longest, room = max(row.latency.p99 for row in rows), 2 * max(row.latency.p95 for row in rows)
    marks = [t for t in ticks(0.0, min(longest, room)) if t >= 0]
    x = scale(marks[0], marks[-1], NAMES_END, WIDTH - RIGHT)
    runs = list(dict.fromkeys(row.run for row in rows))
    tops = [TOP + n * ROW + runs.index(row.run) * 12 for n, row in enumerate(rows)]
    floor = tops[-1] + ROW + 4
    told = "; ".join(
        f"{r.name}: mean {r.latency.mean:.4g}, P50 {r.latency.p50:.4g}, P95 {r.latency.p95:.4g}, P99 {r.latency.p99:.4g} ms"
        for r in rows
    )
    return frame(
        "Latency of each model: P50, mean, P95, P99",
        f"{where}. {told}",
        floor + 78,
        _key(floor + 62),
        across(marks, x, TOP, floor, "latency of one inference, ms"),
        *(_row(row, top, x) for row, top in zip(rows, tops, strict=True)),
    )


def _row(row: Row, top: float, x: Scale) -> Markup:
    latency, middle = row.latency, top + ROW / 2
    p99 = "P99" if latency.p99_is_bound else "P99*"
    said = f"P50 {latency.p50:.3f} · P95 {latency.p95:.3f} · {p99} {latency.p99:.3f} · n {latency.n}"
    return joined(
        words(NAMES_END - 14, middle - 2, row.name[:36], anchor="end"),
        words(NAMES_END - 14, middle + 12, said, size=10, anchor="end", look="muted"),
        _glyph(row.kind, x(latency.p50), x(latency.p95), x(latency.p99), x(latency.mean), middle),
    )


def _glyph(kind: str, p50: float, p95: float, p99: float, mean: float, middle: float) -> Markup:
    end, tip = (p99, "v 10") if p99 <= WIDTH - RIGHT else (WIDTH - RIGHT + 8.0, "l 6 5 l -6 5")
    mean = min(mean, WIDTH - RIGHT)
    return joined(
        line(p95, middle, end, middle, f"line-{kind}", 1.5),
        tag("path", d=f"M {end:.1f} {middle - 5:.1f} {tip}", class_=f"line-{kind}", stroke_width=1.5),
        tag("rect", x=p50, y=middle - 8, width=max(2.0, p95 - p50), height=16, rx=2, class_=f"fill-{kind}", opacity="0.35"),
        line(p50, middle - 8, p50, middle + 8, f"line-{kind}", 2.5),
        tag("path", d=f"M {mean:.1f} {middle - 6:.1f} l 5 6 l -5 6 l -5 -6 z", class_=f"fill-{kind}"),
    )  # fmt: skip


def _key(middle: float) -> Markup:
    at = NAMES_END + 4
    return joined(
        _glyph("original", at, at + 46, at + 84, at + 18, middle),
        words(
            at + 98,
            middle + 4,
            "edge P50, diamond mean, box to P95, whisker to P99 (arrow: beyond)",
            size=11,
            look="muted",
        ),
    )
