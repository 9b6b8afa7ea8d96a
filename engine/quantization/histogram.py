"""The distribution of a stream of values in constant memory, without knowing its range beforehand.

Bins are a power of two wide and begin at multiples of their width. When the range grows, neighbouring bins are merged into
the bins of twice the width that they lie in; so no value is ever in a wrong bin, and what was counted in pieces, in
whatever order, is exactly what counting everything at once with the last width gives. (A negative value that vanishes beside
the width, by 2**126, counts as 0.)
"""

from __future__ import annotations

import math

import numpy as np

# Bins at most; a range that varies fills at least half of them. 8 to 16 of them make one of 256 steps of quantization.
BINS = 4096
# Values that are binned at a time: what is made of them stays in a core's second-level cache.
_CHUNK = 1 << 15
# float32 has 24 bits: a bin's number must fit for the arithmetic to be exact, and its width must have an inverse.
_DIGITS, _LEAST_EXPONENT = 23, -120


class Histogram:
    """`lowest` and `highest`: of the values themselves, exactly. Bin i of `counts` holds the values from
    (first + i) * width up to the next edge; `ignored` values were not finite."""

    def __init__(self) -> None:
        self.lowest, self.highest = math.inf, -math.inf
        self.exponent, self.first = _LEAST_EXPONENT, 0
        self.counts = np.zeros(BINS, np.int64)
        self.ignored = 0

    @property
    def width(self) -> float:
        return math.ldexp(1.0, self.exponent)

    @property
    def centres(self) -> np.ndarray:
        """(BINS,) float64: the middle of each bin."""
        return (self.first + np.arange(BINS) + 0.5) * self.width

    def filled(self, share: float) -> float:
        """How much of the range, with 0 in it, the usual values fill: this share of them, the rest cut on both sides."""
        whole = max(self.highest, 0.0) - min(self.lowest, 0.0)
        below = np.cumsum(self.counts)
        ends = np.searchsorted(below, below[-1] * np.array([(1 - share) / 2, (1 + share) / 2]))
        low, high = (self.first + ends + [0, 1]) * self.width
        return (max(high, 0.0) - min(low, 0.0)) / whole if whole else 1.0

    def add(self, values: np.ndarray, stride: int = 1) -> None:
        """Counts float32 values of any shape, every `stride`-th of them; the ends of the range are those of all."""
        flat = np.ravel(values)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            finite = flat[np.isfinite(flat)]
            self.ignored += flat.size - finite.size
            self.add(finite, stride)
            return
        self._cover(min(low, self.lowest), max(high, self.highest))
        flat = flat[::stride]
        inverse, first = np.float32(math.ldexp(1.0, -self.exponent)), np.float32(self.first)
        scaled, index = np.empty(_CHUNK, np.float32), np.empty(_CHUNK, np.intp)
        for at in range(0, flat.size, _CHUNK):
            part = flat[at : at + _CHUNK]
            real, whole = scaled[: part.size], index[: part.size]
            np.multiply(part, inverse, out=real)
            np.floor(real, out=real)
            np.subtract(real, first, out=real)
            np.copyto(whole, real, casting="unsafe")
            self.counts += np.bincount(whole, minlength=BINS)

    def _cover(self, low: float, high: float) -> None:
        """Makes the bins those of this range, which holds the old one."""
        counted = self.lowest <= self.highest
        self.lowest, self.highest = low, high
        exponent = _exponent(low, high)
        first = math.floor(math.ldexp(low, -exponent))
        if counted and (exponent, first) != (self.exponent, self.first):
            old = np.flatnonzero(self.counts)
            new = ((old + self.first) >> (exponent - self.exponent)) - first
            self.counts = np.bincount(new, weights=self.counts[old], minlength=BINS).astype(np.int64)
        self.exponent, self.first = exponent, first


def _exponent(low: float, high: float) -> int:
    """The smallest of a width by which the range fits the bins."""
    _, digits = math.frexp(max(abs(low), abs(high)))
    _, span = math.frexp((high - low) / BINS)
    exponent = max(_LEAST_EXPONENT, digits - _DIGITS, span - 1 if high > low else _LEAST_EXPONENT)
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
        exponent += 1
    return exponent
