"""What a text costs a model, in tokens of o200k; where rs-bpe, whose wheel carries that vocabulary, is not here, an estimate that
says it is one."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

# Of o200k: 3.4 in refusals, 2.4 in JSON full of digests (docs/evals.md).
CHARACTERS_A_TOKEN = 3.0
VOCABULARY = "o200k"


@cache
def counter() -> tuple[Callable[[str], int], str]:
    """A function that counts tokens, and how it does so."""
    try:
        from rs_bpe.bpe import openai  # pyright: ignore[reportMissingImports]
    except ImportError:
        return _estimated, f"estimated, {CHARACTERS_A_TOKEN:g} characters a token"
    return openai.o200k_base().count, VOCABULARY


def _estimated(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_A_TOKEN)
