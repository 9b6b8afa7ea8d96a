"""Accuracy against latency: the points that are measured, and which of them nothing else beats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ..contract.measures import Artifact, Comparison, Measurement, Validation

Kind = Literal["original", "kept", "reverted", "failed", "inconclusive"]
# Each kind has a mark of its own in the text picture, as each has a shape in the drawing.
MARKS: dict[Kind, str] = {"original": "O", "kept": "#", "reverted": "o", "failed": "x", "inconclusive": "?"}
WORDS: dict[Kind, str] = {
    "original": "original",
    "kept": "kept",
    "reverted": "passed, reverted",
    "failed": "FAIL",
    "inconclusive": "INCONCLUSIVE",
}
LOWER_IS_BETTER = frozenset({"rmse", "mae"})


@dataclass(frozen=True)
class Point:
    """One model. Milliseconds and the metric's own unit, each with a 95 % interval; the original has none: the intervals are
    of the paired differences from it."""

    name: str
    label: str
    kind: Kind
    latency: float
    accuracy: float
    latency_ci: tuple[float, float] | None = None
    accuracy_ci: tuple[float, float] | None = None


@dataclass(frozen=True)
class Picture:
    """What is drawn. `bar`: the accuracy that the tolerance still allows. `left_out`: what is not measured on both axes.
    `where`: the label without which no number is shown."""

    title: str
    metric: str
    where: str
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    bar: float
    left_out: tuple[str, ...]
    lower_is_better: bool = False


class Tried(Protocol):
    """A variant and what is known of it, whoever keeps the record."""

    @property
    def artifact(self) -> Artifact: ...
    @property
    def comparison(self) -> Comparison | None: ...
    @property
    def validation(self) -> Validation | None: ...
    @property
    def kept(self) -> bool: ...


def picture(
    tried: Iterable[Tried],
    *,
    title: str,
    metric: str,
    baseline: Measurement | None,
    tolerance: float,
    tolerance_kind: Literal["relative", "absolute"],
    reference: float | None = None,
) -> Picture:
    """The picture of a session. `reference`: the accuracy that the tolerance refers to, where that is not the baseline's.

    Raises:
        ValueError: the baseline is not measured.
    """
    if baseline is None or baseline.accuracy is None:
        raise ValueError("there is no picture before the baseline is measured")
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    latency, accuracy = baseline.latency_ms.mean, baseline.accuracy.value
    original = Point("original", "original", "original", latency, accuracy)
    known = list(tried)
    drawn = [point for one in known if (point := _point(one, latency, sign))]
    names = {point.name for point in drawn}
    points = (original, *drawn)
    demanded = accuracy if reference is None else reference
    allowed = tolerance * (abs(demanded) if tolerance_kind == "relative" else 1.0)
    return Picture(
        title=title,
        metric=metric,
        where=f"{baseline.label}: {baseline.device}",
        points=points,
        front=front(points, sign),
        bar=demanded - sign * allowed,
        left_out=tuple(
            f"{one.artifact.title}: not measured on both axes" for one in known if one.artifact.variant_id not in names
        ),
        lower_is_better=sign < 0,
    )


def _point(one: Tried, latency: float, sign: float) -> Point | None:
    """A variant; its latency is the original's over the speedup, which were measured in one run."""
    c, v = one.comparison, one.validation
    if c is None or v is None:
        return None
    (slowest, fastest), (least, most) = c.speedup.ci95, v.ci95_relative_drop
    unit = sign * abs(v.baseline)
    ends = sorted((v.baseline - least * unit, v.baseline - most * unit))
    return Point(
        name=one.artifact.variant_id,
        label=one.artifact.title,
        kind=fate(one.kept, v.status),
        latency=latency / c.speedup.value,
        accuracy=v.optimized,
        latency_ci=(latency / fastest, latency / slowest),
        accuracy_ci=(ends[0], ends[1]),
    )


def fate(kept: bool, status: Literal["PASS", "FAIL", "INCONCLUSIVE"]) -> Kind:
    """How a validated variant is marked."""
    if kept:
        return "kept"
    return {"PASS": "reverted", "FAIL": "failed", "INCONCLUSIVE": "inconclusive"}[status]  # pyright: ignore[reportReturnType]


def front(points: Sequence[Point], sign: float = 1.0) -> tuple[Point, ...]:
    """The points that no other beats in latency and accuracy both, fastest first. `sign`: -1 where a lower metric is better."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency, -sign * p.accuracy)):
        if not found or sign * point.accuracy > sign * found[-1].accuracy:
            found.append(point)
    return tuple(found)


def as_text(shown: Picture, width: int = 60, height: int = 12) -> str:
    """The picture for a terminal: latency to the right, accuracy upwards, the bar dotted; marks as in its last line."""
    xs = [p.latency for p in shown.points]
    ys = [*(p.accuracy for p in shown.points), shown.bar]
    rows = [[" "] * width for _ in range(height)]
    bar = _cell(shown.bar, min(ys), max(ys), height)
    rows[height - 1 - bar] = ["."] * width
    crowded: list[str] = []
    for point in shown.points:
        across = _cell(point.latency, 0.0, max(xs), width)
        up = height - 1 - _cell(point.accuracy, min(ys), max(ys), height)
        name = "" if point.kind == "original" else f" {point.name}"
        if not _written(rows, up, across, f"{MARKS[point.kind]}{name}"):
            crowded.append(
                f"{MARKS[point.kind]} {point.name} is at {point.latency:.4g} ms, {point.accuracy:.4g}, among others"
            )
    margins = {0: f"{max(ys):.4g}", height - 1: f"{min(ys):.4g}", height - 1 - bar: f"{shown.bar:.4g}"}
    lines = [f"{margins.get(n, ''):>8} |{''.join(row).rstrip()}" for n, row in enumerate(rows)]
    used = {point.kind for point in shown.points}
    legend = ", ".join(f"{MARKS[kind]} {WORDS[kind]}" for kind in MARKS if kind in used)
    return "\n".join(
        [
            f"{shown.metric} against latency (Pareto front: {', '.join(p.name for p in shown.front)})",
            *lines,
            f"{'':>8} +{'-' * width}",
            f"{'':>8}  0{f'{max(xs):.4g} ms':>{width - 1}}",
            f"{legend}; ..... the least that the tolerance allows. {shown.where}.",
            *crowded,
            *shown.left_out,
        ]
    )


def _cell(value: float, low: float, high: float, cells: int) -> int:
    return round((value - low) / ((high - low) or 1.0) * (cells - 1))


def _written(rows: list[list[str]], up: int, at: int, text: str) -> bool:
    """Puts a mark where it belongs and its name on whichever side has room; a line higher or lower where others stand there."""
    if at + len(text) > len(rows[0]):
        mark, _, name = text.partition(" ")
        text = f"{name} {mark}" if name else mark
        at = max(0, at - len(text) + 1)
    for line in (up, up - 1, up + 1):
        if 0 <= line < len(rows) and set(rows[line][at : at + len(text) + 1]) <= {" ", "."}:
            rows[line][at : at + len(text)] = text
            return True
    return False
