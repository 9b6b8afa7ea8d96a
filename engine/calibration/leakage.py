"""Samples that the calibration set shares with the evaluation set: what is measured must not have been seen before."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.special import bdtrc

from .finding import Finding, percent
from .neighbours import Distances, Yardstick
from .sketch import Sketches

# Shared samples that are told and not refused: shares of the calibration set and of the evaluation set; and, as a multiple,
# the share of evaluation samples that have a twin in the evaluation set itself (short sentences do recur).
_OF_CALIBRATION, _OF_EVALUATION, _OWN_RATE = 0.01, 0.10, 3.0
# More than the tolerated share by an exact binomial test at this level: two short sentences of 32 may be chance.
_LEVEL = 0.01
# Closer to an evaluation sample than 99 of 100 evaluation samples are to another one: a quarter of a set is not by chance.
_TOO_MANY_CLOSE = 0.25


def leakage(
    samples: Sketches, evaluation: Sketches, distances: Distances, rule: Yardstick, sizes: tuple[int, int]
) -> list[Finding]:
    """Shared samples: identical, nearly, or so close on the whole that they must be altered copies.

    `distances` are those of the calibration samples to the nearest evaluation sample; `sizes` are the numbers of samples
    in the calibration and the evaluation set, of which fewer may have been sketched.
    """
    there = set(evaluation.digests)
    same = np.array([digest in there for digest in samples.digests])
    near = same | rule.is_near(distances)
    found = []
    if same.any() or near.sum() > 1:
        found.append(_shared(same, near, _twins(evaluation, rule), len(evaluation.digests), sizes))
    close, own = float(rule.is_close(distances).mean()), float(rule.is_close(rule.within).mean())
    if close >= max(_TOO_MANY_CLOSE, _OWN_RATE * own) and not any(finding.unfit for finding in found):
        found = [
            Finding(
                True,
                f"leakage: {percent(close)} of the samples are closer to an evaluation sample than {percent(1 - own)} of"
                " the evaluation samples are to any other: they look like shifted or cropped copies of evaluation"
                " samples. Take calibration samples that are not in the evaluation set",
            )
        ]
    return found


def _twins(evaluation: Sketches, rule: Yardstick) -> float:
    """The share of evaluation samples with a twin in their own set."""
    count = Counter(evaluation.digests)
    repeated = np.array([count[digest] > 1 for digest in evaluation.digests])
    return float((repeated | rule.is_near(rule.within)).mean())


def _shared(same: np.ndarray, near: np.ndarray, twins: float, evaluated: int, sizes: tuple[int, int]) -> Finding:
    # Of the evaluation set, this share was looked at: as many more are shared as were not.
    looked_at = evaluated / sizes[1]
    share = min(1.0, float(near.mean()) / looked_at)
    of_evaluation = min(1.0, share * sizes[0] / sizes[1])
    allowed, allowed_there = max(_OF_CALIBRATION, _OWN_RATE * twins), max(_OF_EVALUATION, _OWN_RATE * twins)
    by_chance = float(bdtrc(int(near.sum()) - 1, len(near), min(1.0, allowed * looked_at)))
    first = ", ".join(str(index) for index in np.flatnonzero(near)[:5])
    seen = "" if looked_at == 1 else f" (looking at {evaluated} of its {sizes[1]})"
    return Finding(
        by_chance < _LEVEL or (near.sum() > 1 and of_evaluation > allowed_there),
        f"leakage: {int(near.sum())} of {len(near)} samples are in the evaluation set{seen}: {int(same.sum())} identical,"
        f" {int((near & ~same).sum())} nearly (mirrored, recompressed, or with a little noise), the first at {first}. That"
        f" is {percent(share)} of the calibration set ({percent(allowed)} are tolerated) and {percent(of_evaluation)} of"
        f" the evaluation set ({percent(allowed_there)}); {percent(twins)} of the evaluation samples have a twin in their"
        " own set. Take them out, or take calibration samples from elsewhere",
    )
