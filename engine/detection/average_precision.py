"""COCO's average precision of detections that are matched already, for many weightings of the images at once.

Matching, which looks at one image at a time, is done once (`matching.py`, by pycocotools). What is left is a sum over images,
so that a bootstrap over images is a matter of weights: an image that is drawn twice counts twice. For weights of 1 the
value is pycocotools' own (tests/engine/test_average_precision.py).
"""

from __future__ import annotations

import numpy as np

THRESHOLDS = {"map": np.linspace(0.5, 0.95, 10), "map50": np.array([0.5])}

# The states of a detection at one IoU threshold.
FALSE, TRUE, IGNORED = 0.0, 1.0, 2.0

# Columns of a table of matched detections; the states at each threshold follow.
IMAGE, CATEGORY, SCORE, STATES = 0, 1, 2, 3

_RECALLS = np.linspace(0.0, 1.0, 101)
_MOST_CELLS = 2_000_000


def average_precision(objects: np.ndarray, matched: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AP for each row of weights: float64 (rows,), 0 where a row has no object to find.

    objects: (images, categories), the objects to find, crowds not counted. matched: (detections, 3 + thresholds): image,
    category, score, then the state at each IoU threshold. weights: (rows, images), how often each image counts. The mean
    over thresholds, over the categories that have objects, of precision interpolated at 101 recalls.
    Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and its evaluation code.
    """
    total, categories = np.zeros(len(weights)), np.zeros(len(weights))
    order = np.lexsort((matched[:, IMAGE], -matched[:, SCORE], matched[:, CATEGORY]))
    ranked = matched[order]
    present = np.flatnonzero(objects.any(axis=0))
    edges = np.searchsorted(ranked[:, CATEGORY], [present, present + 1])
    for category, first, last in zip(present, *edges, strict=True):
        wanted = weights @ objects[:, category]
        there = wanted > 0
        categories += there
        if first < last and there.any():
            total[there] += _of_category(ranked[first:last], wanted[there], weights[there])
    return np.divide(total, categories, out=np.zeros(len(weights)), where=categories > 0)


def _of_category(ranked: np.ndarray, wanted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AP of one category, its detections in descending order of score, in blocks of rows that fit in memory."""
    block = max(1, _MOST_CELLS // len(ranked))
    parts = [_of_rows(ranked, wanted[at : at + block], weights[at : at + block]) for at in range(0, len(wanted), block)]
    return np.concatenate(parts)


def _of_rows(ranked: np.ndarray, wanted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    states = ranked[:, STATES:]
    counts = weights[:, ranked[:, IMAGE].astype(np.int64)]
    # Where nothing is ignored, which is nearly everywhere, all thresholds count the same detections.
    shared = None if (states == IGNORED).any() else np.cumsum(counts, axis=1)
    total = np.zeros(len(weights))
    for state in states.T:
        hits = np.flatnonzero(state == TRUE)
        if hits.size:
            seen = np.cumsum(counts * (state != IGNORED), axis=1) if shared is None else shared
            total += _interpolated(np.cumsum(counts[:, hits], axis=1), seen[:, hits], wanted)
    return total / states.shape[1]


def _interpolated(found: np.ndarray, seen: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Mean precision at 101 recalls: (rows,). At each true detection (columns, best score first), `found` of `seen`
    detections so far are true, and `wanted` objects are to be found.

    Only true detections matter: between them recall stands still and precision falls.
    """
    precision = np.divide(found, seen, out=np.zeros(found.shape), where=seen > 0)
    best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(_RECALLS, found / wanted[:, np.newaxis], side="right")
    newly = np.diff(reached, axis=1, prepend=0)
    return np.sum(best_from_here * newly, axis=1) / len(_RECALLS)


def of_each_image(objects: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """AP of every image alone: float64 (images,), 0 where it has no object."""
    order = np.argsort(matched[:, IMAGE], kind="stable")
    ranked = matched[order]
    edges = np.searchsorted(ranked[:, IMAGE], [np.arange(len(objects)), np.arange(1, len(objects) + 1)])
    values = np.zeros(len(objects))
    for image, first, last in zip(range(len(objects)), *edges, strict=True):
        own = ranked[first:last].copy()
        own[:, IMAGE] = 0
        values[image] = average_precision(objects[image : image + 1], own, np.ones((1, 1)))[0]
    return values


def found_in_each_image(objects: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """How many objects of each category were found at each threshold: int64 (images, categories x thresholds)."""
    thresholds = matched.shape[1] - STATES
    found = np.zeros((*objects.shape, thresholds), np.int64)
    where = matched[:, IMAGE].astype(np.int64), matched[:, CATEGORY].astype(np.int64)
    np.add.at(found, where, (matched[:, STATES:] == TRUE).astype(np.int64))
    return found.reshape(len(objects), -1)
