"""Gathers what a detector found in every image of a COCO set."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ...contract.evaluation import Decoding, Preprocessing
from ..data.objects import Objects
from ..data.preprocessing import Size
from ..measure.outcomes import Outcomes
from ..problems import JobProblem
from .average_precision import THRESHOLDS, average_precision
from .decoding import category_of, decode
from .geometry import placement
from .matching import matched

Arrays = Mapping[str, np.ndarray]

# The outputs of one inference of one image and the (height, width) of the model's input, to rows x1, y1, x2, y2 in pixels of
# that input, score, position of the category: float64 (n, 6).
Decode = Callable[[Arrays, Size], np.ndarray]

# Images whose detections are also tried on another image, to see what chance would find.
_CHANCE_IMAGES = 500


def decoder(spec: Decoding, objects: Objects) -> Decode:
    """Decodes as the spec says, with the categories of this set."""
    ids = spec.category_ids or objects.categories
    known = {category: position for position, category in enumerate(objects.categories)}
    positions = np.array([known.get(category, -1) for category in ids], np.int64)
    return lambda outputs, size: decode(outputs, spec, size, positions)


def adapter_decoder(adapter: Callable[[Arrays, Size], np.ndarray], objects: Objects) -> Decode:
    """Decodes with user code, whose class k is the k-th category."""
    positions = np.arange(len(objects.categories))

    def run(outputs: Arrays, size: Size) -> np.ndarray:
        rows = adapter(outputs, size).reshape(-1, 6)
        return np.column_stack([rows[:, :5], category_of(rows[:, 5], positions)])

    return run


class Detector:
    """Decodes inference by inference; matches at the end, when all detections are known."""

    def __init__(
        self, metric: str, objects: Objects, preprocessing: Preprocessing, decode: Decode, *, clip: bool = False
    ):
        self.metric = metric
        self.clip = clip
        self.objects = objects
        self.decode = decode
        self.placements = [placement((int(h), int(w)), preprocessing) for h, w in objects.sizes]
        self.found: list[np.ndarray] = []
        self.finite: list[bool] = []
        self.first: np.ndarray | None = None
        self.varies = False

    def add(self, outputs: Arrays) -> None:
        """The next image's."""
        place = self.placements[len(self.found)]
        rows = self.decode(outputs, place.input)
        self.first = rows if self.first is None else self.first
        self.varies = self.varies or not np.array_equal(rows, self.first)
        finite = np.isfinite(rows).all(axis=1)
        rows = rows[finite]
        boxes = place.in_image(rows[:, :4])
        boxes = place.cut(boxes) if self.clip else boxes
        seen = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
        self.finite.append(bool(finite.all()))
        self.found.append(np.column_stack([boxes, rows[:, 4:]])[seen])

    def outcomes(self, unique: np.ndarray) -> Outcomes:
        objects, table = matched(self.objects, self.found, THRESHOLDS[self.metric])
        return Outcomes(
            metric=self.metric,
            labels=objects,
            decisions=table,
            correct=np.zeros(0, np.bool_),
            lead=np.zeros(0),
            finite=np.array(self.finite, np.bool_),
            unique=unique,
            varies=self.varies,
            chance=self._chance(),
        )

    def _chance(self) -> float:
        """The AP of detections that are tried on another image, stretched to its size: they know what images of this kind
        hold and where, but not this image."""
        count = min(len(self.found), _CHANCE_IMAGES)
        if count < 2:
            return 0.0
        strangers = [self._moved((image + count // 2) % count, image) for image in range(count)]
        strangers += [np.zeros((0, 6))] * (len(self.found) - count)
        objects, table = matched(self.objects, strangers, THRESHOLDS[self.metric])
        tried = (np.arange(len(self.found)) < count)[np.newaxis].astype(np.float64)
        return float(average_precision(objects, table, tried)[0])

    def _moved(self, source: int, image: int) -> np.ndarray:
        stretch = self.objects.sizes[image, ::-1] / self.objects.sizes[source, ::-1]
        rows = self.found[source].copy()
        rows[:, :4] *= np.tile(stretch, 2)
        return rows


def require_objects(objects: Objects | None, metric: str) -> Objects:
    """JobProblem BAD_FILE where the data set is no COCO set."""
    if objects is None:
        raise JobProblem(
            "BAD_FILE", f"the metric {metric} compares boxes: give the evaluation set as a COCO JSON with its images"
        )
    return objects
