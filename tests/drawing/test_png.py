"""The picture as PNG: of the size that was drawn, with its words, by a library that may be absent."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from edgeopt.drawing import png
from edgeopt.drawing.scatter import as_svg
from edgeopt.drawing.svg import WIDTH, frame, words
from PIL import Image

from .test_scatter import ALL_KINDS, finished


@pytest.fixture
def renders() -> Iterator[None]:
    if what := png.lacking():
        pytest.skip(what)
    yield


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


@pytest.mark.usefixtures("renders")
def test_the_picture_is_light_and_twice_as_wide_as_drawn():
    drawn = pixels(png.as_png(as_svg(finished(*ALL_KINDS).picture())))
    assert drawn.shape[1] == png.ZOOM * WIDTH
    assert (drawn[0, 0] == 255).all()
    assert (drawn == (0, 0x65, 0xA8)).all(axis=-1).any()  # the kept variant, in its colour of the light shade


@pytest.mark.usefixtures("renders")
def test_words_are_drawn():
    with_words = frame("t", "d", 40, words(10, 20, "edge"), standalone=True)
    without = frame("t", "d", 40, standalone=True)
    assert (pixels(png.as_png(with_words)) != pixels(png.as_png(without))).any()


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert png.lacking() == "pip install 'edgeopt[report]'"
