"""A picture as PNG, for where SVG is not shown: by resvg (the extra `report`), with the machine's fonts."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache

from .markup import Markup

# For screens with two pixels a point.
ZOOM = 2
# What resvg may take for the generic sans serif of our pictures: it does not look for one by itself.
FAMILIES = ("Arial", "Liberation Sans", "DejaVu Sans", "Noto Sans", "Roboto", "Helvetica")
_WORD = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><text y="15" font-family="sans-serif">{}</text></svg>'


def lacking() -> str | None:
    """What is to be installed before pictures can be made; None where they can."""
    if importlib.util.find_spec("resvg_py") is None:
        return "pip install 'edgeopt[report]'"
    return None if _family() else f"a font: {', '.join(FAMILIES)}"


def as_png(picture: Markup) -> bytes:
    """The picture in its light colours. To be asked for where nothing is `lacking`."""
    return _render(picture, _family() or FAMILIES[0])


@cache
def _family() -> str | None:
    """One that this machine has: without it the words would be left out of the picture, and nobody told."""
    return next((f for f in FAMILIES if _render(_WORD.format("edge"), f) != _render(_WORD.format(""), f)), None)


def _render(svg: str, family: str) -> bytes:
    resvg = importlib.import_module("resvg_py")
    return resvg.svg_to_bytes(svg_string=svg, zoom=ZOOM, background="#ffffff", sans_serif_family=family)
