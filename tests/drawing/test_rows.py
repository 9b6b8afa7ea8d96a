"""Bars and percentiles: every row is there, within the frame, with its number in words."""

from __future__ import annotations

from xml.etree import ElementTree

from edgeopt.contract.measures import Latency
from edgeopt.drawing import bars, percentiles
from edgeopt.drawing.bars import Bar
from edgeopt.drawing.percentiles import Row
from edgeopt.drawing.svg import WIDTH
from edgeopt.drawing.theme import KINDS
from hypothesis import given
from hypothesis import strategies as st

from ..autopilot.simulated import calm

SVG = "{http://www.w3.org/2000/svg}"
LABEL = "Host Estimate (not target hardware): a machine"
NUMBERS = st.floats(0, 1e6, allow_subnormal=False)


def latency(values: list[float], bound: bool = False) -> Latency:
    p50, mean, p95, p99 = values
    return Latency(mean=mean, p50=p50, p95=p95, p99=p99, std=0, n=200, p99_is_bound=bound)


def boxes(drawing: str) -> list[tuple[float, float]]:
    """Where each bar or box begins and ends."""
    found = ElementTree.fromstring(drawing).iter(f"{SVG}rect")
    return [(float(r.get("x", 0)), float(r.get("x", 0)) + float(r.get("width", 0))) for r in found]


@calm
@given(st.lists(NUMBERS, min_size=1, max_size=8), st.sampled_from(KINDS))
def test_bars_are_as_long_as_their_numbers(values: list[float], kind: str):
    drawing = bars.as_svg([Bar(f"layer {n}", v, f"{v:.3g}", kind) for n, v in enumerate(values)], "Layers", LABEL)
    drawn = boxes(drawing)
    assert len(drawn) == len(values)
    assert all(0 < start < end <= WIDTH for start, end in drawn)
    longest = max(values)
    for value, (start, end) in zip(values, drawn, strict=True):
        full = max(e - s for s, e in drawn)
        assert abs((end - start) - max(1.5, full * value / (longest or 1))) < 0.2 or longest == 0
    told = ElementTree.fromstring(drawing).findtext(f"{SVG}desc") or ""
    assert LABEL in told and all(f"layer {n}: " in told for n in range(len(values)))


@calm
@given(st.lists(st.lists(st.floats(1e-4, 1e4), min_size=4, max_size=4).map(sorted), min_size=1, max_size=6))
def test_percentiles_lie_within_the_frame_in_their_order(rows: list[list[float]]):
    drawing = percentiles.as_svg([Row(f"v{n}", latency(r), "kept", str(n // 2)) for n, r in enumerate(rows)], LABEL)
    *drawn, _key = boxes(drawing)
    assert len(drawn) == len(rows)
    assert all(0 < start < end <= WIDTH for start, end in drawn)
    assert LABEL in (ElementTree.fromstring(drawing).findtext(f"{SVG}desc") or "")


def test_a_p99_of_too_few_runs_is_marked():
    for bound, sign in ((False, "P99*"), (True, "P99 ")):
        drawing = percentiles.as_svg([Row("v1", latency([1, 2, 3, 4], bound), "kept", "v1")], LABEL)
        assert f"{sign}" in drawing
    assert "P99*" not in drawing
