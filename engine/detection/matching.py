"""Which detections find which objects: pycocotools' matching, one image at a time, as a table."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..data.objects import Objects
from .average_precision import FALSE, IGNORED, STATES, TRUE


def matched(objects: Objects, found: Sequence[np.ndarray], thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(objects, matched) as `average_precision` takes them.

    found: for each image float64 (detections, 6): x1, y1, x2, y2 in its pixels, score, and the position of the category.
    """
    to_find = np.zeros((len(objects.sizes), len(objects.categories)), np.int64)
    np.add.at(to_find, (objects.image[~objects.crowd], objects.category[~objects.crowd]), 1)
    evaluation = evaluated(objects, found, thresholds)
    rows = [_rows(one) for one in evaluation.evalImgs if one is not None and one["dtScores"]]
    table = np.concatenate(rows) if rows else np.zeros((0, STATES + len(thresholds)))
    return to_find, table


def evaluated(objects: Objects, found: Sequence[np.ndarray], thresholds: np.ndarray) -> COCOeval:
    """pycocotools' evaluation of boxes, with images and categories by their positions: matched, not yet accumulated."""
    with contextlib.redirect_stdout(io.StringIO()):  # it reports on the standard output
        evaluation = COCOeval(_coco(objects, _objects(objects)), _coco(objects, _detections(found)), "bbox")
        evaluation.params.iouThrs = thresholds
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
    return evaluation


def _coco(objects: Objects, annotations: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    content: Any = {
        "images": [{"id": image} for image in range(len(objects.sizes))],
        "categories": [{"id": category} for category in range(len(objects.categories))],
        "annotations": annotations,
    }
    coco.dataset = content
    coco.createIndex()
    return coco


def _objects(objects: Objects) -> list[dict[str, Any]]:
    """Numbered from 1: pycocotools takes an object with the id 0 for none."""
    columns = (objects.image, objects.category, objects.boxes, objects.area, objects.crowd)
    return [
        _annotation(number, image, category, box) | {"area": float(area), "iscrowd": int(crowd)}
        for number, (image, category, box, area, crowd) in enumerate(zip(*columns, strict=True), 1)
    ]


def _detections(found: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    rows = [(image, row) for image, rows in enumerate(found) for row in rows]
    return [
        _annotation(number, image, row[5], np.concatenate([row[:2], row[2:4] - row[:2]]))
        | {"area": float(np.prod(row[2:4] - row[:2])), "iscrowd": 0, "score": float(row[4])}
        for number, (image, row) in enumerate(rows, 1)
    ]


def _annotation(number: int, image: int, category: float, box: np.ndarray) -> dict[str, Any]:
    return {"id": number, "image_id": int(image), "category_id": int(category), "bbox": box.tolist()}


def _rows(one: Mapping[str, Any]) -> np.ndarray:
    """The detections of one category in one image."""
    hits, ignored = np.asarray(one["dtMatches"]) > 0, np.asarray(one["dtIgnore"], np.bool_)
    states = np.where(ignored, IGNORED, np.where(hits, TRUE, FALSE)).T
    place = np.broadcast_to([one["image_id"], one["category_id"]], (len(states), 2))
    return np.column_stack([place, one["dtScores"], states])
