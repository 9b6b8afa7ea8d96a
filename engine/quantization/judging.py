"""How near a quantized model's outputs are to the float model's, on samples that calibration did not use."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from onnx import ModelProto

from .running import Tapped, output_names
from .samples import Feeds


class Closeness(NamedTuple):
    """`decibels`: the signal-to-noise ratio of the outputs, the mean over them where there are several. `agreement`: the
    share of samples on which the largest score is the same one; None where no output is a row of scores."""

    decibels: float
    agreement: float | None

    def __str__(self) -> str:
        same = "" if self.agreement is None else f", the same decision on {100 * self.agreement:.4g} %"
        return f"{self.decibels:.1f} dB{same}"


class Judge:
    """Runs the float model once and keeps its outputs, which are small, for every quantized one that is compared. `feeds`
    gives the same samples each time it is called."""

    def __init__(self, reference: ModelProto, feeds: Callable[[], Iterable[Feeds]]):
        self._names = output_names(reference)
        self._feeds = feeds
        self._expected = list(Tapped(reference, self._names, optimized=True).each(feeds()))

    def closeness(self, quantized: ModelProto) -> Closeness:
        """In integers, as ONNX Runtime runs the model here."""
        found = Tapped(quantized, self._names, optimized=True).each(self._feeds())
        signal, noise = np.zeros(len(self._names)), np.zeros(len(self._names))
        same: list[bool] = []
        for expected, actual in zip(self._expected, found, strict=True):
            for at, name in enumerate(self._names):
                if expected[name].dtype.kind != "f":
                    continue
                signal[at] += float(np.sum(np.square(expected[name], dtype=np.float64)))
                # Boxes may be more or fewer than they were: that sample counts as lost.
                alike = actual[name].shape == expected[name].shape
                gap = actual[name] - expected[name] if alike else expected[name]
                noise[at] += float(np.sum(np.square(gap, dtype=np.float64)))
            same += _decisions(expected[self._names[0]], actual[self._names[0]])
        ratios = [_decibels(s, n) for s, n in zip(signal, noise, strict=True) if s > 0]
        return Closeness(float(np.mean(ratios)) if ratios else math.inf, float(np.mean(same)) if same else None)


def _decisions(expected: np.ndarray, actual: np.ndarray) -> Iterator[bool]:
    if expected.ndim == 2 and expected.shape[1] > 1 and expected.shape == actual.shape:
        yield from (expected.argmax(axis=1) == actual.argmax(axis=1)).tolist()


# Beyond float32's own digits more says nothing.
_MOST = 140.0


def _decibels(signal: float, noise: float) -> float:
    if not math.isfinite(noise):
        return -_MOST
    return min(_MOST, 10 * math.log10(signal / noise)) if noise else _MOST
