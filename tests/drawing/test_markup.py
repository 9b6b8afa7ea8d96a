"""Markup is escaped by construction, and colours can be read."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import product

import pytest
from edgeopt.drawing.markup import Markup, joined, tag
from edgeopt.drawing.theme import COLOURS, KINDS, Shade
from hypothesis import given
from hypothesis import strategies as st

from ..autopilot.simulated import calm


class Seen(HTMLParser):
    """The elements, attributes and words that a browser would find."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.words = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.words += data


@calm
@given(st.text(), st.text())
def test_no_text_becomes_an_element_or_an_attribute(inside: str, value: str):
    seen = Seen(tag("p", inside, title=value))
    ((name, attributes),) = seen.elements
    assert (name, [key for key, _ in attributes]) == ("p", ["title"])
    assert set(seen.words) <= set(inside) | {" ", "…"}


def test_markup_is_not_escaped_again_and_nothing_is_left_out_but_none():
    inner = tag("b", "a < b")
    assert inner == "<b>a &lt; b</b>"
    assert tag("p", None, inner, " & c", class_="x", width=12.0) == f'<p class="x" width="12">{inner}&amp; c</p>'
    assert isinstance(joined(inner, inner), Markup)


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


SHADES: tuple[Shade, ...] = ("light", "dark")


@pytest.mark.parametrize(("shade", "ground"), list(product(SHADES, ["ground", "raised"])))
def test_every_colour_that_says_something_can_be_read_on_its_ground(shade: Shade, ground: str):
    colours = COLOURS[shade]
    for name in ("ink", "muted", *KINDS):
        light, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)
