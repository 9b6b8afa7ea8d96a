"""The parts of a drawing: scales, ticks, lines, words, and the frame that says to everybody what is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from .markup import Markup, joined, raw, tag, text
from .theme import FONT, PICTURES

Scale = Callable[[float], float]
Anchor = Literal["start", "middle", "end"]
WIDTH = 840


def frame(title: str, description: str, height: float, *parts: str, standalone: bool = False) -> Markup:
    """The drawing. `title` and `description` are read out to whoever cannot see it. A standalone one has its own style and ground."""
    own = [tag("style", raw(PICTURES)), tag("rect", width=WIDTH, height=height, class_="ground")] if standalone else []
    size = {"width": WIDTH, "height": height} if standalone else {}
    return tag(
        "svg",
        tag("title", title),
        tag("desc", text(description, 6000)),
        *own,
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        role="img",
        font_family=FONT,
        font_size=12,
        **size,
    )


def words(
    x: float, y: float, said: str, *, size: int = 12, anchor: Anchor = "start", look: str = "ink", bold: bool = False
) -> Markup:
    """Text with its baseline at y."""
    return tag(
        "text",
        said,
        x=x,
        y=y,
        class_=look,
        font_size=size if size != 12 else None,
        text_anchor=anchor if anchor != "start" else None,
        font_weight="600" if bold else None,
    )


def line(x1: float, y1: float, x2: float, y2: float, look: str, width: float = 1, dashes: str | None = None) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=look, stroke_width=width, stroke_dasharray=dashes)


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """From values to places; all of them at the start where the values are one."""
    return lambda value: start + (value - low) / ((high - low) or 1.0) * (end - start)


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that enclose the values."""
    span = (high - low) or abs(high) or 1.0
    raw_step = span / about
    power = 10.0 ** math.floor(math.log10(raw_step))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= raw_step * 0.999)
    first, last = math.floor(low / step - 0.05), math.ceil(high / step + 0.05)
    return [n * step for n in range(first, last + 1)]


def number(value: float, of: Sequence[float]) -> str:
    """As many decimals as tell the ticks apart."""
    decimals = max(0, -math.floor(math.log10(of[1] - of[0]) + 1e-9))
    return f"{value + 0.0:.{decimals}f}"


def across(marks: Sequence[float], x: Scale, top: float, floor: float, unit: str) -> Markup:
    """A horizontal axis: grid lines, their numbers, and what they are."""
    middle = (x(marks[0]) + x(marks[-1])) / 2
    return joined(
        *(line(x(t), top, x(t), floor, "grid") for t in marks),
        *(words(x(t), floor + 17, number(t, marks), anchor="middle", look="muted") for t in marks),
        words(middle, floor + 37, unit, anchor="middle", look="muted"),
    )


def wide(said: str, size: int = 12) -> float:
    """About how wide text is, in a sans serif; on the safe side."""
    return len(said) * size * 0.58
