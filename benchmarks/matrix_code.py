"""User code of the matrix (benchmarks/matrix.py): what no built-in metric computes. It runs in edgeopt's sandboxed workers
by the operator's leave (--allow-user-code), so it imports numpy alone."""

from __future__ import annotations

import numpy as np

BLANK = 0
WINDOW = 3000
# Samples of signal for one row of logits.
STRIDE = 3


def cosine(outputs: dict[str, np.ndarray]) -> np.floating:
    """The adapter of a text encoder: (2, d) embeddings of a pair of sentences -> their cosine."""
    (embeddings,) = outputs.values()
    a, b = embeddings
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


def path(outputs: dict[str, np.ndarray]) -> np.ndarray:
    """The adapter of a basecaller: the most likely symbol of each step, (windows, steps, symbols) -> (windows * steps,)."""
    (logits,) = outputs.values()
    return logits.argmax(axis=-1).astype(np.int8).ravel()


def identity(outputs: dict[str, np.ndarray], labels: np.ndarray) -> np.ndarray:
    """The metric of a basecaller: 1 - edit distance / length of the reference, of each read.

    Labels, a row a read: the samples of signal, the length of the reference, the reference in symbols 1 to 4, zeros.
    """
    return np.array(
        [
            1 - edits(called(symbols[: samples // STRIDE]), reference[:length]) / length
            for symbols, (samples, length, *_), reference in zip(outputs["adapted"], labels, labels[:, 2:], strict=True)
        ]
    )


def called(symbols: np.ndarray) -> np.ndarray:
    """Greedy CTC: repeats become one symbol, then blanks are dropped."""
    new = np.concatenate([[True], symbols[1:] != symbols[:-1]])
    return symbols[new & (symbols != BLANK)]


def edits(one: np.ndarray, other: np.ndarray) -> int:
    """Levenshtein's distance, a row of its table at a time: what comes from the left is a running minimum."""
    places = np.arange(len(other) + 1)
    row = places
    for symbol in one:
        diagonal = np.minimum(row[1:] + 1, row[:-1] + (other != symbol))
        row = np.minimum.accumulate(np.concatenate([row[:1] + 1, diagonal]) - places) + places
    return int(row[-1])
