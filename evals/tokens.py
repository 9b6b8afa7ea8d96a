"""What a text costs a model. With tiktoken and its o200k vocabulary at hand it is counted; else it is estimated, and said so."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

# Characters a token of o200k: 3.4 in refusals, 2.4 in JSON full of digests, as gpt-tokenizer counts them (docs/evals.md).
CHARACTERS_A_TOKEN = 3.0
VOCABULARY = "o200k_base"


@cache
def counter() -> tuple[Callable[[str], int], str]:
    """A function that counts tokens, and how it does so. Nothing is downloaded: tiktoken counts where its vocabulary is in
    the folder that TIKTOKEN_CACHE_DIR names."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    if folder and Path(folder).is_dir() and any(Path(folder).iterdir()):
        try:
            import tiktoken  # pyright: ignore[reportMissingImports]

            encoding = tiktoken.get_encoding(VOCABULARY)
        except (ImportError, OSError, ValueError):
            return _estimated, _how()
        return lambda text: len(encoding.encode(text, disallowed_special=())), VOCABULARY
    return _estimated, _how()


def _estimated(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS_A_TOKEN)


def _how() -> str:
    return f"estimated, {CHARACTERS_A_TOKEN:g} characters a token"
