"""Our accumulation of average precision is pycocotools' own, for any weights of the images."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from edgeopt.engine.data.objects import Objects
from edgeopt.engine.detection.average_precision import (
    THRESHOLDS,
    average_precision,
    found_in_each_image,
    of_each_image,
)
from edgeopt.engine.detection.matching import evaluated, matched
from hypothesis import given, settings
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32 - 1)
METRICS = st.sampled_from(sorted(THRESHOLDS))


def world(seed: int, images: int = 6, categories: int = 3) -> tuple[Objects, list[np.ndarray]]:
    """Objects, some of them crowds, and detections near them and elsewhere; scores are coarse, so that some are equal."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 25))
    boxes = np.column_stack([rng.uniform(0, 60, (count, 2)), rng.uniform(5, 40, (count, 2))])
    image, category = rng.integers(0, images, count), rng.integers(0, categories, count)
    found = []
    for index in range(images):
        near = boxes[image == index] + rng.normal(0, 2, (int(np.sum(image == index)), 4))
        stray = np.column_stack([rng.uniform(0, 60, (3, 2)), rng.uniform(5, 40, (3, 2))])
        corners = np.concatenate([near, near[:1], stray])
        corners[:, 2:] = corners[:, :2] + np.maximum(corners[:, 2:], 1)
        classes = np.concatenate(
            [category[image == index], category[image == index][:1], rng.integers(0, categories, 3)]
        )
        kept = rng.random(len(corners)) < 0.8
        scores = rng.integers(0, 12, len(corners)) / 12
        found.append(np.column_stack([corners, scores, classes])[kept])
    objects = Objects(
        sizes=np.full((images, 2), 100),
        categories=list(range(categories)),
        image=image,
        category=category,
        boxes=boxes,
        area=boxes[:, 2] * boxes[:, 3],
        crowd=rng.random(count) < 0.2,
    )
    return objects, found


def repeated(objects: Objects, found: list[np.ndarray], index: np.ndarray) -> tuple[Objects, list[np.ndarray]]:
    """The set in which the images are these, each as often as it is named."""
    parts = [np.flatnonzero(objects.image == image) for image in index]
    rows = np.concatenate([np.zeros(0, np.int64), *parts])
    place = np.repeat(np.arange(len(index)), [len(part) for part in parts])
    columns = {name: getattr(objects, name)[rows] for name in ("category", "boxes", "area", "crowd")}
    again = Objects(sizes=objects.sizes[index], categories=objects.categories, image=place, **columns)
    return again, [found[image] for image in index]


def by_the_library(objects: Objects, found: list[np.ndarray], thresholds: np.ndarray) -> float:
    evaluation = evaluated(objects, found, thresholds)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    seen = precision[precision > -1]
    return float(np.mean(seen)) if seen.size else 0.0


@given(SEEDS, METRICS)
@settings(max_examples=60, deadline=None)
def test_the_value_is_the_librarys(seed: int, metric: str) -> None:
    objects, found = world(seed)
    table = matched(objects, found, THRESHOLDS[metric])
    value = average_precision(*table, np.ones((1, len(found))))[0]
    assert value == pytest.approx(by_the_library(objects, found, THRESHOLDS[metric]), abs=1e-9)


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_a_weight_is_a_number_of_copies(seed: int) -> None:
    """Equal scores of different images may be ranked otherwise among copies, so here all scores differ."""
    objects, found = world(seed)
    rng = np.random.default_rng(seed)
    for rows in found:
        rows[:, 4] = rng.random(len(rows))
    drawn = rng.integers(0, len(found), (3, len(found)))
    weights = np.array([np.bincount(index, minlength=len(found)) for index in drawn], np.float64)
    values = average_precision(*matched(objects, found, THRESHOLDS["map"]), weights)
    expected = [by_the_library(*repeated(objects, found, index), THRESHOLDS["map"]) for index in drawn]
    assert values.tolist() == pytest.approx(expected, abs=1e-9)


def test_every_image_alone_is_the_set_of_that_image() -> None:
    objects, found = world(4)
    table = matched(objects, found, THRESHOLDS["map"])
    alone = [average_precision(*table, row[np.newaxis])[0] for row in np.eye(len(found))]
    assert of_each_image(*table).tolist() == pytest.approx(alone)


def test_what_is_found_is_counted_by_category_and_threshold() -> None:
    box = np.array([[10.0, 10, 20, 20]])
    objects = Objects(
        np.full((2, 2), 100), [0, 1], np.array([0]), np.array([1]), box, np.array([400.0]), np.array([False])
    )
    # IoU 0.9: found up to that threshold; the same box of another category or in another image finds nothing.
    near = np.array([[10.0, 10, 30, 28, 0.9, 1], [10.0, 10, 30, 30, 0.8, 0]])
    counts = found_in_each_image(*matched(objects, [near, near], THRESHOLDS["map"])).reshape(2, 2, -1)
    assert counts[0, 1].tolist() == [1] * 9 + [0]
    assert counts.sum() == 9


def test_nothing_found_or_nothing_to_find_is_no_precision() -> None:
    objects, found = world(1)
    nothing = [np.zeros((0, 6)) for _ in found]
    weights = np.stack([np.ones(len(found)), np.zeros(len(found))])
    assert average_precision(*matched(objects, nothing, THRESHOLDS["map"]), weights).tolist() == [0, 0]
