"""Markup that is escaped by construction: text becomes markup by `tag` alone, and `tag` escapes it."""

from __future__ import annotations

from html import escape

from ..contract.text import untrusted

# Text of files, models and callers is shown up to here, characters.
LONGEST = 600
_VOID = frozenset({"meta", "br", "hr", "line", "rect", "circle", "path", "col"})


class Markup(str):
    """Text that is markup already. Only this module makes it."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | float | None) -> Markup:
    """An element. Children that are no Markup are text: escaped, on one line, capped; None is left out. An attribute's trailing
    underscore is dropped, the others are hyphens: class_, font_size; None is left out, numbers keep one decimal."""
    given = "".join(f' {_name(key)}="{_value(value)}"' for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Markup(f"<{name}{given}/>")
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Markup and text side by side."""
    return Markup(
        "".join(child if isinstance(child, Markup) else text(child) for child in children if child is not None)
    )


def text(words: str, longest: int = LONGEST) -> Markup:
    """Text as markup."""
    return Markup(escape(untrusted(words, longest)))


def raw(own: str) -> Markup:
    """A constant of ours (a style sheet, a document type), which is markup as it stands. Never for anything recorded."""
    return Markup(own)


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-") if key != "viewBox" else key


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return escape(untrusted(value, LONGEST * 10))
    return f"{value:.1f}".removesuffix(".0")


# Between two elements: text alone is stripped at its ends.
SPACE = raw(" ")
