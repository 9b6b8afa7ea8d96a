"""The frame that chats open beside an answer of render_report; what stands in it comes with the answer."""

from __future__ import annotations

from pathlib import Path

from ..drawing.markup import raw, tag
from .style import STYLE_IN_CHAT


def frame() -> str:
    """The HTML document: the style of the page, and the script that speaks with the chat. Loads nothing."""
    script = (Path(__file__).parent / "chat.js").read_text(encoding="utf-8")
    head = tag(
        "head", tag("meta", charset="utf-8"), tag("title", "edgeopt: trade-off"), tag("style", raw(STYLE_IN_CHAT))
    )
    body = tag("body", tag("div", tag("main", "Waiting for the report ..."), id="told"), tag("script", raw(script)))
    return f'<!DOCTYPE html>\n<html lang="en">{head}{body}</html>\n'
