"""The colours and line styles of every picture: classes, with literal colours, so that programs without CSS variables see them.

Each colour has at least 4.5:1 against its ground, in light and in dark (a test computes it); no meaning rests on colour alone.
"""

from __future__ import annotations

from typing import Literal

Shade = Literal["light", "dark"]
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Liberation Sans', sans-serif"

# The hues are those of Okabe and Ito, which hold for colour-blind eyes, made dark or light enough to read.
COLOURS: dict[Shade, dict[str, str]] = {
    "light": {
        "ground": "#ffffff",
        "raised": "#f5f6f8",
        "grid": "#e3e6eb",
        "ink": "#15181e",
        "muted": "#555d6b",
        "original": "#15181e",
        "kept": "#0065a8",
        "reverted": "#1c6799",
        "failed": "#bd4b00",
        "inconclusive": "#8a6200",
        "passed": "#00734f",
    },
    "dark": {
        "ground": "#101318",
        "raised": "#191d24",
        "grid": "#2c323c",
        "ink": "#e9ecf1",
        "muted": "#a2abb9",
        "original": "#e9ecf1",
        "kept": "#5eb6f5",
        "reverted": "#56a5dc",
        "failed": "#ff9557",
        "inconclusive": "#e8b83f",
        "passed": "#3fcf9b",
    },
}
KINDS = ("original", "kept", "reverted", "failed", "inconclusive", "passed")


def rules(shade: Shade) -> str:
    """The classes of the pictures in one shade."""
    c = COLOURS[shade]
    rules = [
        f".ground{{fill:{c['ground']}}}",
        f".ink{{fill:{c['ink']}}}",
        f".muted{{fill:{c['muted']}}}",
        f".grid{{stroke:{c['grid']}}}",
        f".axis{{stroke:{c['muted']}}}",
        f".front{{stroke:{c['muted']}}}",
        f".outside{{fill:{c['failed']}}}",
    ]
    for kind in KINDS:
        rules.append(f".fill-{kind}{{fill:{c[kind]}}}.line-{kind}{{stroke:{c[kind]};fill:none}}")
    # Words that may lie on a line, and shapes that a line must not show through.
    rules.append(f".halo{{paint-order:stroke;stroke:{c['ground']};stroke-width:4px;stroke-linejoin:round}}")
    rules.append(f".hollow{{fill:{c['ground']}}}")
    return "".join(rules)


# What every picture needs; a page that holds pictures has it once.
SHAPES = ".front{fill:none;stroke-width:2;stroke-dasharray:8 3}.outside{opacity:.07}"
PICTURES = f"{SHAPES}{rules('light')}@media screen and (prefers-color-scheme:dark){{{rules('dark')}}}"
