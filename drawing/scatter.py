"""Accuracy against latency as one self-contained SVG: no script, no font, no file beside it."""

from __future__ import annotations

from collections.abc import Sequence

from .markup import Markup, joined, tag
from .pareto import WORDS, Kind, Picture, Point
from .svg import WIDTH, Scale, across, frame, line, number, scale, ticks, wide, words

LEFT, RIGHT, TOP, PLOT = 76, 24, 62, 350
FLOOR = TOP + PLOT


def as_svg(shown: Picture, *, standalone: bool = True) -> Markup:
    """The picture: latency to the right, accuracy upwards, 95 % intervals as whiskers, the Pareto front as steps."""
    xs = [value for p in shown.points for value in (p.latency, *(p.latency_ci or ()))]
    ys = [value for p in shown.points for value in (p.accuracy, *(p.accuracy_ci or ()))] + [shown.bar]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x = scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT)
    y = scale(y_ticks[0], y_ticks[-1], FLOOR, TOP)
    return frame(
        f"{shown.title}: {shown.metric} against latency",
        _described(shown),
        FLOOR + 112 + 16 * len(shown.left_out),
        words(LEFT, 26, shown.title[:90], size=17, bold=True),
        words(LEFT, 45, shown.where[:120], look="muted"),
        _tolerance(shown, y),
        across(x_ticks, x, TOP, FLOOR, "latency, ms: the original's over the measured speedup (left is faster)"),
        _upwards(shown, y_ticks, y),
        _steps(shown.front, x, y),
        *(_whiskers(point, x, y) for point in shown.points),
        *(mark(point.kind, x(point.latency), y(point.accuracy)) for point in shown.points[::-1]),
        *_labels(shown.points, x, y),
        *_legend(shown),
        standalone=standalone,
    )


def _described(shown: Picture) -> str:
    """The picture in a sentence for each point, for whoever hears it."""
    told = [
        f"{p.label}: {p.latency:.4g} ms, {p.accuracy:.4g}, {WORDS[p.kind]}{', on the Pareto front' if p in shown.front else ''}"
        for p in shown.points
    ]
    return f"{shown.where}. {'; '.join(told)}. The tolerance ends at {shown.bar:.4g}."


def _tolerance(shown: Picture, y: Scale) -> Markup:
    """What lies outside the tolerance is shaded."""
    at = y(shown.bar)
    top, height = (TOP, at - TOP) if shown.lower_is_better else (at, FLOOR - at)
    return joined(
        tag("rect", x=LEFT, y=top, width=WIDTH - RIGHT - LEFT, height=max(0.0, height), class_="outside"),
        line(LEFT, at, WIDTH - RIGHT, at, "line-failed", dashes="3 4"),
        words(WIDTH - RIGHT - 6, at + (-6 if shown.lower_is_better else 14), "outside the tolerance", size=11, anchor="end", look="fill-failed"),
    )  # fmt: skip


def _upwards(shown: Picture, marks: list[float], y: Scale) -> Markup:
    return joined(
        *(line(LEFT, y(t), WIDTH - RIGHT, y(t), "grid") for t in marks),
        *(words(LEFT - 8, y(t) + 4, number(t, marks), anchor="end", look="muted") for t in marks),
        line(LEFT, FLOOR, WIDTH - RIGHT, FLOOR, "axis"),
        tag(
            "g",
            words(0, 0, shown.metric, anchor="middle", look="muted"),
            transform=f"translate(20 {(TOP + FLOOR) / 2:.0f}) rotate(-90)",
        ),
    )


def _steps(front: Sequence[Point], x: Scale, y: Scale) -> Markup:
    """The front as a stair: between two of its points nothing is known to be reachable."""
    path = f"M {x(front[0].latency):.1f} {y(front[0].accuracy):.1f}"
    path += "".join(f" H {x(p.latency):.1f} V {y(p.accuracy):.1f}" for p in front[1:])
    return tag("path", d=path, class_="front")


def _whiskers(point: Point, x: Scale, y: Scale) -> Markup:
    look, cx, cy = f"line-{point.kind}", x(point.latency), y(point.accuracy)
    flat, steep = point.latency_ci, point.accuracy_ci
    return joined(
        line(x(flat[0]), cy, x(flat[1]), cy, look, 1.5) if flat else None,
        line(cx, y(steep[0]), cx, y(steep[1]), look, 1.5) if steep else None,
    )


def mark(kind: Kind, cx: float, cy: float) -> Markup:
    """A shape for each kind: square, filled circle, empty circle, cross, empty triangle."""
    match kind:
        case "original":
            return tag("rect", x=cx - 6, y=cy - 6, width=12, height=12, class_="fill-original")
        case "kept":
            return tag("circle", cx=cx, cy=cy, r=7, class_="fill-kept")
        case "reverted":
            return tag("circle", cx=cx, cy=cy, r=6, class_="line-reverted hollow", stroke_width=2)
        case "failed":
            arms = f"M {cx - 6:.1f} {cy - 6:.1f} l 12 12 m 0 -12 l -12 12"
            return tag("path", d=arms, class_="line-failed", stroke_width=3)
        case "inconclusive":
            return tag(
                "path", d=f"M {cx:.1f} {cy - 7:.1f} l 7 12 h -14 z", class_="line-inconclusive hollow", stroke_width=2
            )


def _labels(points: Sequence[Point], x: Scale, y: Scale) -> list[Markup]:
    """Beside each mark, or below the label before it where the two would lie on each other."""
    placed: list[tuple[float, float, float]] = []
    parts: list[Markup] = []
    for point in sorted(points, key=lambda p: (y(p.accuracy), x(p.latency))):
        width = wide(point.label)
        right = x(point.latency) + 12 + width < WIDTH - RIGHT
        start = x(point.latency) + 12 if right else x(point.latency) - 12 - width
        at = y(point.accuracy) - 9
        while any(abs(at - y0) < 14 and start < x0 + w0 and x0 < start + width for x0, y0, w0 in placed):
            at += 26 if at < y(point.accuracy) else 14  # never on the whiskers
        placed.append((start, at, width))
        edge = start if right else start + width
        parts.append(words(edge, at, point.label, anchor="start" if right else "end", look="ink halo"))
    return parts


def _legend(shown: Picture) -> list[Markup]:
    top, parts, place = FLOOR + 64, list[Markup](), float(LEFT)
    kinds: dict[Kind, None] = {point.kind: None for point in shown.points}
    for kind in kinds:
        parts += [mark(kind, place + 6, top), words(place + 20, top + 4, WORDS[kind])]
        place += 40 + wide(WORDS[kind])
    parts += [line(place, top, place + 34, top, "front", 2), words(place + 42, top + 4, "Pareto front")]
    names = ", ".join(p.name for p in shown.front)
    note = f"Whiskers: 95 % intervals of the paired differences from the original. Pareto front: {names}."[:140]
    parts.append(words(LEFT, top + 26, note, size=11, look="muted"))
    parts += [
        words(LEFT, top + 43 + 16 * n, f"Not drawn: {said}."[:140], size=11, look="muted")
        for n, said in enumerate(shown.left_out)
    ]
    return parts
