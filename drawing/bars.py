"""Bars: one number a row, from zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Markup, tag
from .svg import WIDTH, frame, scale, wide, words
from .theme import KINDS

ROW = 26
NAMES_END = 300


@dataclass(frozen=True)
class Bar:
    """`value` is not negative; `said` stands behind the bar; `kind` is one of the theme's."""

    name: str
    value: float
    said: str
    kind: str = "kept"


def as_svg(bars: Sequence[Bar], title: str, where: str) -> Markup:
    """Horizontal bars in the given order, the longest as wide as there is room. `where`: the label of what was measured."""
    room = max((wide(bar.said) for bar in bars), default=0) + 16
    x = scale(0.0, max((bar.value for bar in bars), default=1.0) or 1.0, 0.0, max(80.0, WIDTH - NAMES_END - room))
    told = "; ".join(f"{bar.name}: {bar.said}" for bar in bars)
    return frame(
        title,
        f"{where}. {told}",
        ROW * len(bars) + 12,
        *(part for n, bar in enumerate(bars) for part in _row(bar, 6 + n * ROW, x(bar.value))),
    )


def _row(bar: Bar, top: float, length: float) -> list[Markup]:
    if bar.kind not in KINDS:
        raise ValueError(f"{bar.kind} is no kind of the theme")
    return [
        words(NAMES_END - 12, top + 16, _short(bar.name), anchor="end"),
        tag("rect", x=NAMES_END, y=top + 4, width=max(1.5, length), height=ROW - 9, rx=2, class_=f"fill-{bar.kind}"),
        words(NAMES_END + length + 8, top + 16, bar.said, look="muted"),
    ]


def _short(name: str, most: int = 40) -> str:
    """The end of a name tells more than its beginning: node names are paths."""
    return name if len(name) <= most else "…" + name[-most + 1 :]
