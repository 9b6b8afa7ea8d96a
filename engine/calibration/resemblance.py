"""Whether the values of a calibration sample hang together as those of evaluation samples do: in noise they do not.

Images and signals: how much neighbouring values correlate. Features: whether samples vary along the directions along which
evaluation samples vary. Token ids: whether they, and their successions, are those of evaluation samples. Each is one
number a sample, less in noise; none depends on brightness, gain or unit, which are a matter of ranges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from ...contract.text import untrusted
from .finding import Finding, percent
from .neighbours import deviation
from .sketch import Look, Sketches
from .views import LAGS

# Shares of the set that are out of place: refused, told. Of honest samples, `_USUAL` are.
_UNFIT, _NOTABLE, _USUAL = 0.25, 0.15, 0.025
# How far below the middle of the evaluation set a sample must be, whatever the spread there.
_CORRELATION, _AGREEMENT, _KNOWN = 0.3, 0.6, 0.3
_SURE = 0.9999
# Of the variance of a column: below this, directions are rounding.
_RIDGE = 0.01
# Evaluation samples that a covariance is estimated from.
_FEWEST = 16


@dataclass(frozen=True)
class Contrast:
    """One number of each sample in both sets. What is out of place is below all but a few evaluation samples and by
    `margin` below their middle."""

    reading: str
    what: str
    ours: np.ndarray
    theirs: np.ndarray
    margin: float

    @property
    def out_of_place(self) -> float:
        """The share of the set; 0 where it may be chance: of honest samples, the share below the lowest but one of n others
        is Beta(2, n - 1) distributed, whatever the numbers are (Wilks, "Determination of sample sizes for setting
        tolerance limits", 1941)."""
        ours, theirs = self.ours[np.isfinite(self.ours)], self.theirs[np.isfinite(self.theirs)]
        if len(theirs) < 2:
            return 0.0
        limit = min(np.quantile(theirs, _USUAL), np.median(theirs) - self.margin)
        share = float(np.sum(ours < limit)) / len(self.ours)
        return share if share > betaincinv(2, len(theirs) - 1, _SURE) else 0.0

    def __str__(self) -> str:
        middle, usual = (float(np.nanmedian(values)) for values in (self.ours, self.theirs))
        return f"{self.what} {middle:.2f} in the middle, {usual:.2f} in the evaluation set"


def resemblance(samples: Sketches, evaluation: Sketches) -> list[Finding]:
    """One finding at most: what is out of place in one respect is in others."""
    contrasts = [
        contrast
        for ours, theirs in zip(samples.looks, evaluation.looks, strict=True)
        for contrast in _contrasts(ours, theirs, f" of {untrusted(ours.view.name)}" if len(samples.looks) > 1 else "")
    ]
    if not contrasts:
        return []
    worst = max(contrasts, key=lambda contrast: contrast.out_of_place)
    if worst.out_of_place < _NOTABLE:
        return []
    return [
        Finding(
            worst.out_of_place >= _UNFIT,
            f"{worst.reading}: {percent(worst.out_of_place)} of the samples are unlike the evaluation set's"
            f" ({percent(_UNFIT)} are refused): {worst}. Take samples from the source of the evaluation set",
        )
    ]


def _contrasts(ours: Look, theirs: Look, of: str) -> list[Contrast]:
    if ours.view.kind == "codes":
        return [
            Contrast("foreign", f"share of the {what}{of} that other evaluation samples hold", here, there, _KNOWN)
            for what, here, there in zip(
                ("values", "successions of two values"), _known(ours, theirs, 1), _known(theirs, theirs, 2), strict=True
            )
        ]
    found = [
        Contrast("noise", f"correlation of values{of} {lag} apart", here, there, _CORRELATION)
        for lag, here, there in zip(LAGS, ours.lagged, theirs.lagged, strict=False)
    ]
    if ours.view.kind == "series" and len(theirs.vectors) >= _FEWEST:
        here, there = _agreement(np.array(ours.vectors, np.float64), np.array(theirs.vectors, np.float64))
        found.append(
            Contrast("noise", f"agreement of the values{of} with one another (1 is usual)", here, there, _AGREEMENT)
        )
    return found


def _known(look: Look, evaluation: Look, samples: int) -> list[np.ndarray]:
    """Of the codes and of the pairs of codes of each sample, the share that this many evaluation samples hold."""
    found = []
    for which in (0, 1):
        values, count = np.unique(np.concatenate([words[which] for words in evaluation.words]), return_counts=True)
        lengths = np.array([len(words[which]) for words in look.words])
        held = np.isin(np.concatenate([words[which] for words in look.words]), values[count >= samples])
        found.append(
            np.bincount(np.repeat(np.arange(len(lengths)), lengths), held, len(lengths)) / np.maximum(lengths, 1)
        )
    return found


def _agreement(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How little of each sample lies along directions in which evaluation samples hardly vary: its length, by its length
    in Mahalanobis' metric. Each half of the evaluation set judges the other, so that both sets are judged alike."""
    scale = deviation(theirs)
    columns = scale > 0
    if not columns.any():
        return np.ones(len(ours)), np.ones(len(theirs))
    ours, theirs = ((values[:, columns] - theirs.mean(axis=0)[columns]) / scale[columns] for values in (ours, theirs))
    found = np.zeros(len(ours)), np.zeros(len(theirs))
    for half in (0, 1):
        variances, directions = np.linalg.eigh(np.cov(theirs[half::2], rowvar=False).reshape(len(scale[columns]), -1))
        whiten = directions / np.sqrt(np.maximum(variances, 0) + _RIDGE)
        for values, into, start in ((ours, found[0], half), (theirs, found[1], 1 - half)):
            into[start::2] = _length(values[start::2]) / np.maximum(_length(values[start::2] @ whiten), 1e-30)
    usual = float(np.median(found[1]))
    return found[0] / usual, found[1] / usual


def _length(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows, axis=1)
