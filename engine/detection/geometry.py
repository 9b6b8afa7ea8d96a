"""Boxes: their formats, their overlap, and where they lie in the image that the model's input was made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...contract.evaluation import BoxFormat, Preprocessing
from ..data.preprocessing import Size, pair, resized


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the model's input: x in the input is x in the image * `scale` - `offset`, likewise y.

    image and input: (height, width) in pixels; scale and offset: (x, y).
    """

    image: Size
    input: Size
    scale: tuple[float, float]
    offset: tuple[float, float]

    def in_image(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) x1, y1, x2, y2 in pixels of the input as pixels of the image."""
        return ((boxes.reshape(-1, 2, 2) + self.offset) / self.scale).reshape(-1, 4)

    def cut(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes in pixels of the image, cut at its edges."""
        height, width = self.image
        return np.clip(boxes, 0, [width, height, width, height])


def placement(image: Size, preprocessing: Preprocessing) -> Placement:
    """The inverse of resize and centre crop for an image of this size."""
    height, width = image
    if preprocessing.resize is not None:
        height, width = resized(image, preprocessing.resize)
    scale = (width / image[1], height / image[0])
    if preprocessing.center_crop is None:
        return Placement(image, (height, width), scale, (0.0, 0.0))
    crop = pair(preprocessing.center_crop)
    return Placement(image, crop, scale, (float(round((width - crop[1]) / 2)), float(round((height - crop[0]) / 2))))


def corners(boxes: np.ndarray, form: BoxFormat) -> np.ndarray:
    """Boxes (n, 4) in this format as x1, y1, x2, y2."""
    if form == "yxyx":
        return boxes[:, [1, 0, 3, 2]]
    if form == "xyxy":
        return boxes
    first, size = boxes[:, :2], boxes[:, 2:]
    low = first - size / 2 if form == "cxcywh" else first
    return np.concatenate([low, low + size], axis=1)


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of one box (4,) with others (n, 4), all x1, y1, x2, y2: (n,). 0 where both are empty."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    union = _area(box) + _area(others) - shared
    return np.divide(shared, union, out=np.zeros(len(others)), where=union > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def best_apart(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float, most: int) -> np.ndarray:
    """Greedy non-maximum suppression within each class: indices of at most `most` boxes, best score first.

    A box goes where it overlaps a better one of its class by more than `iou`.
    """
    order = np.argsort(-scores, kind="stable")
    if iou >= 1:
        return order[:most]
    kept: list[int] = []
    while order.size and len(kept) < most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        close = (classes[rest] == classes[best]) & (overlap(boxes[best], boxes[rest]) > iou)
        order = rest[~close]
    return np.array(kept, np.int64)
