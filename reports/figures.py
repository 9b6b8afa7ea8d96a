"""The pictures of a session, each from what is recorded; None where nothing of the kind is."""

from __future__ import annotations

from ..contract.measures import BY_POINT
from ..drawing import bars, percentiles
from ..drawing.markup import Markup
from ..drawing.pareto import Picture, fate, picture
from ..state.events import SensitivityAnalyzed
from ..state.session import BASELINE, Session, VariantRecord
from .words import MB

# The newest variants that a picture can hold and be read.
MOST = 16
LAYERS = 20


def tradeoff_picture(session: Session) -> Picture:
    """Accuracy against latency of the newest variants.

    Raises:
        ValueError: the baseline is not measured.
    """
    opened = session.opened
    return picture(
        list(session.variants.values())[-MOST:],
        title=f"{opened.model_name} on {opened.target_device}"
        + ("" if opened.evidence == "proven" else f" ({BY_POINT})"),
        metric=opened.evaluation.metric,
        baseline=session.baseline,
        tolerance=session.tolerance,
        tolerance_kind=opened.tolerance_kind,
        reference=session.first_accuracy,
    )


def latency(session: Session) -> Markup | None:
    """Each comparison's two models together, as they were measured; before the first one the profile of the baseline."""
    rows: list[percentiles.Row] = []
    for record in [r for r in session.variants.values() if r.comparison][-MOST // 2 :]:
        c, name = record.comparison, record.artifact.variant_id
        if c is None:
            continue
        rows.append(percentiles.Row("baseline, same run", c.baseline.latency_ms, "original", name))
        rows.append(percentiles.Row(record.artifact.title, c.variant.latency_ms, kind(record), name))
    if not rows and session.baseline:
        rows.append(percentiles.Row("baseline, profile", session.baseline.latency_ms, "original", BASELINE))
    return percentiles.as_svg(rows, label(session)) if rows else None


def size(session: Session) -> Markup | None:
    """The files of the original and of the newest variants."""
    if session.baseline is None:
        return None
    original = session.baseline.file_size_bytes
    shown = [bars.Bar("baseline", original / MB, megabytes(original), "original")]
    for record in list(session.variants.values())[-MOST:]:
        bytes_ = record.artifact.size_bytes
        ratio = f", {original / bytes_:.2f}x smaller" if 0 < bytes_ < original else ""
        shown.append(bars.Bar(record.artifact.title, bytes_ / MB, f"{megabytes(bytes_)}{ratio}", kind(record)))
    return bars.as_svg(shown, "Size of the files", session.opened.model_name)


def sensitivity(event: SensitivityAnalyzed, metric: str) -> Markup | None:
    """The layers that suffer most from being quantized alone."""
    if not event.layers:
        return None
    shown = [
        bars.Bar(
            f"{layer.name} ({layer.op})",
            layer.score,
            f"{layer.score:.3g}"
            + (f", loses {layer.accuracy_drop:+.4f} {metric}" if layer.accuracy_drop is not None else ""),
            "inconclusive",
        )
        for layer in event.layers[:LAYERS]
    ]
    return bars.as_svg(shown, f"Layers of {event.parent_id} by what quantizing each alone costs", "on calibration data")


def kind(record: VariantRecord) -> str:
    """The mark of the trade-off picture; what is not judged yet looks open."""
    return fate(record.kept, record.validation.status) if record.validation else "inconclusive"


def label(session: Session) -> str:
    """What must stand beside every number of this session."""
    return f"{session.baseline.label}: {session.baseline.device}" if session.baseline else "not measured"


def megabytes(size_bytes: int) -> str:
    """A file's size, in the unit in which it is a number."""
    return f"{size_bytes / MB:.2f} MB" if size_bytes >= MB / 10 else f"{size_bytes / 1024:.1f} kB"
