"""The picture as one self-contained SVG: no script, no font, no file beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from xml.sax.saxutils import escape

from .pareto import WORDS, Kind, Picture, Point

WIDTH, HEIGHT = 840, 560
LEFT, RIGHT, TOP, BOTTOM = 90, 30, 70, 130
FONT = "font-family='Helvetica, Arial, sans-serif'"
# Of the palette of Okabe and Ito, which holds for colour-blind eyes; the shapes say the same without it.
COLOURS: dict[Kind, str] = {
    "original": "#000000",
    "kept": "#0072b2",
    "reverted": "#56b4e9",
    "failed": "#d55e00",
    "inconclusive": "#b07d00",
}

Scale = Callable[[float], float]


def as_svg(shown: Picture) -> str:
    """The picture: latency to the right, accuracy upwards, 95 % intervals as whiskers, the Pareto front as steps."""
    xs = [value for p in shown.points for value in (p.latency, *(p.latency_ci or ()))]
    ys = [value for p in shown.points for value in (p.accuracy, *(p.accuracy_ci or ()))] + [shown.bar]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(min(ys), max(ys))
    x = _scale(x_ticks[0], x_ticks[-1], LEFT, WIDTH - RIGHT)
    y = _scale(y_ticks[0], y_ticks[-1], HEIGHT - BOTTOM, TOP)
    height = HEIGHT + 16 * len(shown.left_out)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' width='{WIDTH}' height='{height}' role='img'>",
        f"<title>{escape(shown.title)}: {escape(shown.metric)} against latency</title>",
        f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>",
        _text(LEFT, 28, shown.title, size=18, weight="bold"),
        _text(LEFT, 48, shown.where, size=12, colour="#444444"),
        *_axes(shown, x_ticks, y_ticks, x, y),
        *_bar(shown, y),
        _steps(shown.front, x, y),
        *(part for point in shown.points for part in _whiskers(point, x, y)),
        *(mark(point.kind, x(point.latency), y(point.accuracy)) for point in shown.points[::-1]),
        *_labels(shown.points, x, y),
        *_legend(shown),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose the values."""
    span = (high - low) or abs(high) or 1.0
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= raw * 0.999)
    first, last = math.floor(low / step - 0.05), math.ceil(high / step + 0.05)
    return [n * step for n in range(first, last + 1)]


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    colour: str = "#000000",
    weight: str = "normal",
) -> str:
    style = f"{FONT} font-size='{size}' font-weight='{weight}' fill='{colour}' text-anchor='{anchor}'"
    return f"<text x='{x:.1f}' y='{y:.1f}' {style}>{escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> str:
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' {more}/>"


def _axes(shown: Picture, x_ticks: list[float], y_ticks: list[float], x: Scale, y: Scale) -> list[str]:
    floor, middle = HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    parts = [_line(x(t), TOP, x(t), floor, "#e4e4e4") for t in x_ticks]
    parts += [_line(LEFT, y(t), WIDTH - RIGHT, y(t), "#e4e4e4") for t in y_ticks]
    parts += [_text(x(t), floor + 18, _number(t, x_ticks), anchor="middle") for t in x_ticks]
    parts += [_text(LEFT - 8, y(t) + 4, _number(t, y_ticks), anchor="end") for t in y_ticks]
    parts += [_line(LEFT, floor, WIDTH - RIGHT, floor, "#000000"), _line(LEFT, TOP, LEFT, floor, "#000000")]
    words = "latency, ms: the original's over the measured speedup (left is faster)"
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, floor + 40, words, size=13, anchor="middle"))
    turned = _text(0, 0, shown.metric, size=13, anchor="middle")
    return [*parts, f"<g transform='translate(24 {middle:.1f}) rotate(-90)'>{turned}</g>"]


def _number(value: float, of: Sequence[float]) -> str:
    """As many decimals as tell the ticks apart."""
    decimals = max(0, -math.floor(math.log10(of[1] - of[0]) + 1e-9))
    return f"{value + 0.0:.{decimals}f}"


def _bar(shown: Picture, y: Scale) -> list[str]:
    at = y(shown.bar)
    return [
        _line(LEFT, at, WIDTH - RIGHT, at, "#666666", "stroke-dasharray='3 4'"),
        _text(WIDTH - RIGHT - 4, at - 4, "tolerance", size=11, anchor="end", colour="#444444"),
    ]


def _steps(front: Sequence[Point], x: Scale, y: Scale) -> str:
    """The front as a stair: between two of its points nothing is known to be reachable."""
    path = f"M {x(front[0].latency):.1f} {y(front[0].accuracy):.1f}"
    path += "".join(f" H {x(p.latency):.1f} V {y(p.accuracy):.1f}" for p in front[1:])
    return f"<path d='{path}' fill='none' stroke='#999999' stroke-width='2' stroke-dasharray='8 3'/>"


def _whiskers(point: Point, x: Scale, y: Scale) -> list[str]:
    colour, cx, cy = COLOURS[point.kind], x(point.latency), y(point.accuracy)
    parts: list[str] = []
    if point.latency_ci:
        parts.append(_line(x(point.latency_ci[0]), cy, x(point.latency_ci[1]), cy, colour, "stroke-width='1.5'"))
    if point.accuracy_ci:
        parts.append(_line(cx, y(point.accuracy_ci[0]), cx, y(point.accuracy_ci[1]), colour, "stroke-width='1.5'"))
    return parts


def mark(kind: Kind, cx: float, cy: float) -> str:
    """A shape for each kind: square, filled circle, empty circle, cross, empty triangle."""
    colour = COLOURS[kind]
    outline = f"fill='none' stroke='{colour}' stroke-width='2'"
    match kind:
        case "original":
            return f"<rect x='{cx - 6:.1f}' y='{cy - 6:.1f}' width='12' height='12' fill='{colour}'/>"
        case "kept":
            return f"<circle cx='{cx:.1f}' cy='{cy:.1f}' r='7' fill='{colour}'/>"
        case "reverted":
            return f"<circle cx='{cx:.1f}' cy='{cy:.1f}' r='6' {outline}/>"
        case "failed":
            arms = f"M {cx - 6:.1f} {cy - 6:.1f} l 12 12 m 0 -12 l -12 12"
            return f"<path d='{arms}' fill='none' stroke='{colour}' stroke-width='3'/>"
        case "inconclusive":
            return f"<path d='M {cx:.1f} {cy - 7:.1f} l 7 12 h -14 z' {outline}/>"


def _labels(points: Sequence[Point], x: Scale, y: Scale) -> list[str]:
    """Beside each mark, or below the label before it where the two would lie on each other."""
    placed: list[tuple[float, float, float]] = []
    parts: list[str] = []
    for point in sorted(points, key=lambda p: (y(p.accuracy), x(p.latency))):
        wide = 7.0 * len(point.label)
        right = x(point.latency) + 12 + wide < WIDTH - RIGHT
        start = x(point.latency) + 12 if right else x(point.latency) - 12 - wide
        at = y(point.accuracy) - 8
        while any(abs(at - y0) < 14 and start < x0 + w0 and x0 < start + wide for x0, y0, w0 in placed):
            at += 26 if at < y(point.accuracy) else 14  # never on the whiskers
        placed.append((start, at, wide))
        edge = start if right else start + wide
        parts.append(_text(edge, at, point.label, anchor="start" if right else "end"))
    return parts


def _legend(shown: Picture) -> list[str]:
    top, parts, across = HEIGHT - 62, list[str](), float(LEFT)
    kinds: dict[Kind, None] = {point.kind: None for point in shown.points}
    for kind in kinds:
        parts += [mark(kind, across + 6, top), _text(across + 20, top + 4, WORDS[kind])]
        across += 40 + 7.2 * len(WORDS[kind])
    note = "Whiskers: 95 % intervals of the paired differences from the original. Dashed steps: the Pareto front."
    parts.append(_text(LEFT, top + 28, note, size=11, colour="#444444"))
    parts += [
        _text(LEFT, top + 46 + 16 * n, f"Not drawn: {words}.", size=11, colour="#444444")
        for n, words in enumerate(shown.left_out)
    ]
    return parts
