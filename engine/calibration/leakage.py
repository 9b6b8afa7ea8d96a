"""Samples that the calibration set shares with the evaluation set: what is measured must not have been seen before."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass

import numpy as np
from scipy.special import bdtrc

from .finding import Finding, percent
from .neighbours import Points, Yardstick, nearest
from .sketch import Sketches

# Shared samples that are told and not refused: as a share of the calibration set, and of the evaluation set.
_OF_CALIBRATION, _OF_EVALUATION = 0.02, 0.10
# Closer to evaluation samples than 99 of 100 of these are to one another: told, as neighbouring frames of a film are; and
# refused. To know how close they are takes a hundred.
_CLOSE, _ALL_CLOSE, _HUNDRED = 0.25, 0.75, 100
# Short sentences and simple features recur. Only more than this multiple of what recurs within a set is held against it,
# and only where it is more by an exact binomial test at this level.
_OWN_RATE, _LEVEL = 3.0, 0.01
# A calibration set that holds each leaked sample twice must not pass for one of many recurring samples: its own
# recurrence counts up to here.
_CREDIT = 0.05

_MEND = "Take them out, or take calibration samples from elsewhere"


@dataclass(frozen=True)
class Overlap:
    """Which calibration samples have a like in the evaluation set (`ours`) and in their own set (`again`), which
    evaluation samples have one in the calibration set (`theirs`) and in their own (`own`)."""

    ours: np.ndarray
    again: np.ndarray
    theirs: np.ndarray
    own: np.ndarray

    @property
    def beyond_chance(self) -> bool:
        """An evaluation sample that a thousand calibration samples resemble counts once."""
        shared = int(min(self.ours.sum(), self.theirs.sum()))
        among_ours = float(self.again.mean()) * min(1.0, len(self.own) / len(self.ours))
        among_theirs = float(self.own.sum() + 0.5) / (len(self.own) + 1)
        chance = min(1.0, _OWN_RATE * max(among_theirs, min(_CREDIT, among_ours)))
        return shared > 1 and bool(bdtrc(shared - 1, len(self.ours), chance) < _LEVEL)


def leakage(
    samples: Sketches, evaluation: Sketches, points: tuple[Points, Points], rule: Yardstick, sizes: tuple[int, int]
) -> list[Finding]:
    """Shared samples, identical or nearly; or so many so close to evaluation samples that they must be altered ones.

    `points`: of the calibration and the evaluation set; `sizes`: how many samples these have, of which fewer may have
    been sketched.
    """
    same, near, close = overlaps(samples, evaluation, points, rule)
    found = [_shared(same, near, sizes)] if near.ours.any() else []
    altered = len(close.own) >= _HUNDRED and close.ours.mean() >= _CLOSE and close.beyond_chance
    if altered and not any(finding.unfit for finding in found):
        found.append(_altered(close))
    return found


def overlaps(
    samples: Sketches, evaluation: Sketches, points: tuple[Points, Points], rule: Yardstick
) -> tuple[Overlap, Overlap, Overlap]:
    """The samples that are identical; that are those, or nearly; that are those, or close as altered ones are."""
    same = Overlap(
        np.isin(samples.digests, evaluation.digests),
        _recur(samples.digests),
        np.isin(evaluation.digests, samples.digests),
        _recur(evaluation.digests),
    )
    ours, theirs = points
    nearby = (nearest(ours, theirs), nearest(ours, ours, itself=True), nearest(theirs, ours), rule.within)
    near, close = (
        Overlap(*(exact | (away < radius) for exact, away in zip(astuple(same), nearby, strict=True)))
        for radius in (rule.near, rule.close)
    )
    return same, near, close


def too_many(near: Overlap, close: Overlap) -> bool:
    """Whether so much of a set that was looked at whole is shared, or so close, that the rest is not to be trusted either."""
    shared = near.beyond_chance and (near.ours.mean() >= _OF_CALIBRATION or near.theirs.mean() >= _OF_EVALUATION)
    return shared or (len(close.own) >= _HUNDRED and close.ours.mean() >= _ALL_CLOSE and close.beyond_chance)


def _shared(same: Overlap, near: Overlap, sizes: tuple[int, int]) -> Finding:
    looked_at = len(near.own) / sizes[1]  # as many more are shared as were not looked at
    share = min(1.0, float(near.ours.mean()) / looked_at)
    of_theirs = min(1.0, float(near.theirs.mean()) * sizes[0] / len(near.ours))
    unfit = near.beyond_chance and (share >= _OF_CALIBRATION or of_theirs >= _OF_EVALUATION)
    seen = "" if looked_at == 1 else f" (looking at {len(near.own)} of its {sizes[1]})"
    first = ", ".join(map(str, np.flatnonzero(near.ours)[:5]))
    at = f", the first at {first}" if len(near.ours) == sizes[0] else ""
    return Finding(
        unfit,
        f"leakage: {near.ours.sum()} of {len(near.ours)} samples are in the evaluation set{seen}: {same.ours.sum()}"
        f" identical, {(near.ours & ~same.ours).sum()} nearly (mirrored, recompressed, or with a little noise){at}. That"
        f" is {percent(share)} of the calibration set and {percent(of_theirs)} of the evaluation set, in which"
        f" {percent(float(near.own.mean()))} recur. {_MEND}",
    )


def _altered(close: Overlap) -> Finding:
    share = float(close.ours.mean())
    return Finding(
        share >= _ALL_CLOSE,
        f"leakage: {percent(share)} of the samples ({percent(_ALL_CLOSE)} are refused) are closer to an evaluation sample"
        f" than {percent(1 - float(close.own.mean()))} of these are to one another: shifted or cropped evaluation samples,"
        f" or frames of the same films? {_MEND}",
    )


def _recur(digests: list[str]) -> np.ndarray:
    count = Counter(digests)
    return np.array([count[digest] > 1 for digest in digests])
