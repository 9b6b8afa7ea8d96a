"""The picture: every variant is on it, the front is what nothing beats, the drawing is XML that stands alone."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from edgeopt.autopilot.history import History
from edgeopt.drawing.pareto import MARKS, Point, as_text, front
from edgeopt.drawing.scatter import as_svg, mark
from edgeopt.drawing.svg import ticks
from hypothesis import given
from hypothesis import strategies as st

from ..autopilot.simulated import Drawn, Server, calm, play
from ..state import worlds

SVG = "{http://www.w3.org/2000/svg}"


def finished(*draws: Drawn, **changes: object) -> History:
    """The history of a run with these variants, the original being at 2 ms and 0.9."""
    server = Server(worlds.begun(**changes), list(draws))
    play(server)
    return server.history


def words(drawing: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


ALL_KINDS = (Drawn(1.5), Drawn(3.0, "FAIL"), Drawn(2.0, "INCONCLUSIVE"), Drawn(1.1), Drawn(None))


def test_each_variant_is_where_it_was_measured():
    shown = finished(*ALL_KINDS).picture()
    points = {point.name: point for point in shown.points}
    assert {name: point.kind for name, point in points.items()} == {
        "original": "original",
        "v1": "kept",
        "v2": "failed",
        "v3": "inconclusive",
        "v4": "reverted",
    }
    assert (points["original"].latency, points["original"].accuracy) == (2.0, 0.9)
    fast = points["v2"]
    assert fast.latency == pytest.approx(2 / 3)
    assert fast.latency_ci == pytest.approx((2 / 3 / 1.01, 2 / 3 / 0.99))
    assert fast.accuracy == pytest.approx(0.9 * 0.91)
    assert fast.accuracy_ci == pytest.approx((0.9 * 0.90, 0.9 * 0.92))
    assert shown.bar == pytest.approx(0.9 * 0.98)
    assert shown.left_out[0].startswith("v5 ")
    assert all(words.endswith(": not measured on both axes") for words in shown.left_out)
    assert [point.name for point in shown.front] == ["v2", "v3", "v1"]


def test_where_less_is_better_the_bar_is_above():
    evaluation = worlds.opened().evaluation.model_copy(update={"metric": "rmse"})
    shown = finished(Drawn(2.0), evaluation=evaluation).picture()
    assert shown.bar == pytest.approx(0.9 * 1.02)


def test_without_a_baseline_there_is_no_picture():
    with pytest.raises(ValueError, match="baseline"):
        Server(worlds.begun(), []).history.picture()


def test_the_drawing_holds_each_variant_and_stands_alone():
    history = finished(*ALL_KINDS)
    drawing = as_svg(history.picture())
    told = words(drawing)
    for variant, trial in history.trials.items():
        assert any(f"{variant} {trial.artifact.technique}" in text for text in told)
    for kind in ("original", "kept", "passed, reverted", "FAIL", "INCONCLUSIVE"):
        assert kind in told
    assert any("Host Estimate" in text for text in told)
    for foreign in ("href", "url(", "<script", "@import", "<image"):
        assert foreign not in drawing


def test_whoever_cannot_see_it_is_told_what_is_on_it():
    history = finished(*ALL_KINDS)
    told = ElementTree.fromstring(as_svg(history.picture())).findtext(f"{SVG}desc") or ""
    for trial in history.trials.values():
        assert trial.validation is None or f"{trial.artifact.title}: " in told
    assert "Host Estimate" in told


def test_the_marks_do_not_rest_on_colour():
    grey = {mark(kind, 0, 0).replace(kind, "any") for kind in MARKS}
    assert len(grey) == len(MARKS) == len(set(MARKS.values()))


def test_names_of_models_do_not_break_the_xml():
    shown = finished(Drawn(2.0), model_name="a<b>&'c\"").picture()
    assert any("a<b>&'c\"" in text for text in words(as_svg(shown)))


SPEEDS = st.floats(0.01, 100)
STATUS = st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"])


@calm
@given(st.lists(st.builds(Drawn, SPEEDS, STATUS), min_size=1, max_size=6))
def test_whatever_was_measured_is_drawn_within_the_frame(draws: list[Drawn]):
    history = finished(*draws)
    shown = history.picture()
    root = ElementTree.fromstring(as_svg(shown))
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    for text in root.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x", 0)) <= width
        assert 0 <= float(text.get("y", 0)) <= height
    told = as_text(shown)
    assert all(variant in told for variant in history.trials)
    assert max(len(line) for line in told.splitlines() if "|" in line) <= 8 + 2 + 60


POINTS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12)


@calm
@given(POINTS, st.sampled_from([1.0, -1.0]))
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]], sign: float):
    points = [Point(str(n), str(n), "kept", float(x), float(y)) for n, (x, y) in enumerate(pairs)]
    found = front(points, sign)

    def beats(one: Point, other: Point) -> bool:
        no_worse = one.latency <= other.latency and sign * one.accuracy >= sign * other.accuracy
        return no_worse and (one.latency, one.accuracy) != (other.latency, other.accuracy)

    unbeaten = {(p.latency, p.accuracy) for p in points if not any(beats(other, p) for other in points)}
    assert {(p.latency, p.accuracy) for p in found} == unbeaten


@calm
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_enclose_what_they_are_for(low: float, span: float):
    marks = ticks(low, low + span)
    step = marks[1] - marks[0]
    assert marks[0] <= low and marks[-1] >= low + span
    assert 2 <= len(marks) <= 12
    assert all(after > before for before, after in pairwise(marks))
    assert step > 0
