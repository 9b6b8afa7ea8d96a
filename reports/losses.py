"""What a variant gets wrong that the original had right: its samples and its classes, as the validation recorded them."""

from __future__ import annotations

from collections.abc import Sequence

from ..contract.evaluation import DETECTION
from ..contract.measures import ClassDrop, Flip, Validation
from ..drawing.markup import Markup, tag
from ..state.session import Session
from .words import Rows

# Variants that are listed, the newest; samples that are named of one kind of flip.
VARIANTS, NAMED = 12, 24


def losses(session: Session) -> Markup | None:
    """A foldable part for each variant that loses samples or classes; None where none does."""
    parts = [
        part
        for record in list(session.variants.values())[-VARIANTS:]
        if record.validation and (part := _of(record.artifact.title, record.validation))
    ]
    if not parts:
        return None
    said = "Samples that the original has right and a variant has wrong; those recorded, in which the variant is surest of its error."
    return tag("section", tag("h2", "What flips"), tag("p", said, class_="note"), *parts)


def _of(title: str, v: Validation) -> Markup | None:
    if not v.flips and not v.classes:
        return None
    changed = f", {v.changed_decisions} of {v.samples} decisions change" if v.changed_decisions is not None else ""
    heading = f"{title} ({v.verdict}): {len(v.flips)} {'sample' if len(v.flips) == 1 else 'samples'} recorded{changed}"
    return tag(
        "details",
        tag("summary", heading),
        _classes(v.classes) if v.classes else None,
        _flips(v.metric, v.flips) if v.flips else None,
        open="open" if v.status != "PASS" else None,
    )


def _classes(classes: Sequence[ClassDrop]) -> Markup:
    header = ["Class that loses", "Right before", "Right after", "Samples", ""]
    rows = [
        [f"{c.label}", f"{c.baseline:.1%}", f"{c.optimized:.1%}", f"{c.samples}", "provably ruined" if c.ruined else ""]
        for c in classes
    ]
    return _table(header, rows)


def _flips(metric: str, flips: Sequence[Flip]) -> Markup:
    if metric in DETECTION:
        header = ["Image", "Objects", "AP before", "AP after"]
        rows = [[f"{f.sample}", f"{f.label:g}", f"{f.baseline:.3f}", f"{f.variant:.3f}"] for f in flips]
    else:
        header = ["Class", "Taken for", "Samples", "Which"]
        rows = [
            [f"{label:g}", f"{taken:g}", f"{len(which)}", _which(which)] for (label, taken), which in _grouped(flips)
        ]
    return _table(header, rows)


def _table(header: list[str], rows: Rows) -> Markup:
    top = tag("tr", *(tag("th", name, scope="col") for name in header))
    lines = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    return tag("div", tag("table", tag("thead", top), tag("tbody", *lines)), class_="scroll")


def _grouped(flips: Sequence[Flip]) -> list[tuple[tuple[float, float], list[int]]]:
    """The samples by what they are and what they are taken for, the commonest first."""
    found: dict[tuple[float, float], list[int]] = {}
    for flip in flips:
        found.setdefault((flip.label, flip.variant), []).append(flip.sample)
    return sorted(found.items(), key=lambda item: -len(item[1]))


def _which(samples: list[int]) -> str:
    return ", ".join(map(str, samples[:NAMED])) + (", …" if len(samples) > NAMED else "")
