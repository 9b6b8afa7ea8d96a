"""From a detector's outputs for one image to its detections, as a typed `Decoding` describes them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.special import expit, softmax

from ...contract.evaluation import Boxes, Decoding, Grid, Rows
from ..data.preprocessing import Size
from ..problems import JobProblem
from .geometry import best_apart, corners

Arrays = Mapping[str, np.ndarray]


def decode(outputs: Arrays, spec: Decoding, size: Size, positions: np.ndarray) -> np.ndarray:
    """Detections: float64 (n, 6): x1, y1, x2, y2 in pixels of the model's input of this (height, width), score, position
    of the category; best score first. Rows that are not finite come last, whatever the spec says.

    outputs: of one inference of one image, as the model gives them. positions: int64 (classes,), the category of each class
    number, -1 for a class that counts for nothing. JobProblem INVALID_ARGUMENT where the outputs do not fit.
    """
    if isinstance(spec, Boxes):
        boxes, scores, classes = _of_boxes(outputs, spec)
    else:
        boxes, scores = _of_rows(outputs, spec) if isinstance(spec, Rows) else _of_grid(outputs, spec)
        classes = None
    if not isinstance(spec, Grid):
        boxes = corners(boxes, spec.format)
    if isinstance(spec, Grid) or spec.units == "normalized":
        boxes = boxes * [size[1], size[0], size[1], size[0]]
    if classes is None:
        boxes, scores, classes = _candidates(boxes, scores, spec, positions)
    rows = np.column_stack([boxes, scores, category_of(classes, positions)])
    return _best(rows[~(rows[:, 4] < spec.score_threshold) & (rows[:, 5] >= 0)], spec)


def category_of(classes: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """The category's position for each class number. JobProblem INVALID_ARGUMENT where there is no such class."""
    whole = np.nan_to_num(classes, nan=-1, posinf=-1, neginf=-1).astype(np.int64)
    strange = (whole != classes) | (whole < 0) | (whole >= len(positions))
    if strange.any():
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"the detector answers class {classes[strange][0]:g}, and the classes are 0 to {len(positions) - 1} (positions"
            " among the set's ascending category ids): give evaluation.decoding.category_ids, the category id of each"
            " class number (for models whose class number is the id: [0, 1, 2, ...])",
            ["evaluation.decoding.category_ids"],
        )
    return positions[whole]


def _of_boxes(outputs: Arrays, spec: Boxes) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    boxes = _named(outputs, spec.boxes)
    if boxes.shape[-1] != 4:
        raise _misfit(outputs, f"the output {spec.boxes!r} has no rows of four coordinates")
    boxes = boxes.reshape(-1, 4)
    scores = _named(outputs, spec.scores)
    if spec.classes is not None:
        classes = _named(outputs, spec.classes).reshape(-1)
        scores = scores.reshape(-1)
        if not len(boxes) == len(scores) == len(classes):
            raise _misfit(outputs, f"{spec.scores!r} and {spec.classes!r} do not have one value a box")
        return boxes, _activated(scores, spec.activation), classes
    columns = scores.shape[-1]
    if scores.ndim < 2 or scores.size != len(boxes) * columns:
        raise _misfit(outputs, f"{spec.scores!r} does not have one row a box; where its classes are, say in `classes`")
    return boxes, _activated(scores.reshape(len(boxes), columns), spec.activation), None


def _of_rows(outputs: Arrays, spec: Rows) -> tuple[np.ndarray, np.ndarray]:
    values = _one_image(outputs, spec.output, 2)
    values = values.T if spec.transposed else values
    first = 5 if spec.objectness else 4
    if values.shape[1] <= first:
        raise _misfit(outputs, f"rows of {values.shape[1]} values hold no box and classes: is transposed right?")
    scores = _activated(values[:, 4:], spec.activation)
    return values[:, :4], scores[:, :1] * scores[:, 1:] if spec.objectness else scores


def _of_grid(outputs: Arrays, spec: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Boxes as shares of the input: x1, y1, x2, y2."""
    values = _one_image(outputs, spec.output, 3)
    fields, down, across = values.shape
    if fields <= 5:
        raise _misfit(outputs, f"{fields} values a cell hold no objectness, box and classes")
    values = values.reshape(fields, -1).T
    inside = np.tanh(values[:, 1:3]) if spec.center == "tanh" else expit(values[:, 1:3])
    y, x = np.divmod(np.arange(down * across), across)
    centres = (inside + np.column_stack([x, y])) / [across, down]
    boxes = corners(np.concatenate([centres, expit(values[:, 3:5])], axis=1), "cxcywh")
    objectness, classes = np.clip(values[:, :1], 0, 1), np.clip(values[:, 5:], 0, 1)
    return boxes, objectness**spec.objectness_power * classes ** (1 - spec.objectness_power)


def _named(outputs: Arrays, name: str) -> np.ndarray:
    if name not in outputs:
        raise _misfit(outputs, f"the model has no output {name!r}")
    return outputs[name].astype(np.float64)


def _one_image(outputs: Arrays, name: str | None, axes: int) -> np.ndarray:
    """The output of this name, or the only one, without its batch axis."""
    if name is None and len(outputs) != 1:
        raise _misfit(outputs, "which of the outputs is it? Name it in `output`")
    name = name or next(iter(outputs))
    values = _named(outputs, name)
    if values.ndim == axes + 1 and len(values) == 1:
        values = values[0]
    if values.ndim != axes:
        raise _misfit(outputs, f"the output {name!r} has {values.ndim} axes; {axes + 1} with the batch are expected")
    return values


def _misfit(outputs: Arrays, what: str) -> JobProblem:
    shapes = {name: list(values.shape) for name, values in outputs.items()}
    return JobProblem(
        "INVALID_ARGUMENT",
        f"evaluation.decoding does not fit the model: {what}. Its outputs for one image: {shapes}. What no decoding"
        " describes, an adapter can decode",
        ["evaluation.decoding"],
    )


def _activated(scores: np.ndarray, activation: str) -> np.ndarray:
    if activation == "sigmoid":
        return expit(scores)
    return softmax(scores, axis=-1) if activation == "softmax" else scores


def _candidates(
    boxes: np.ndarray, scores: np.ndarray, spec: Decoding, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(boxes, scores, classes) with one class a row; a score that is not a number passes, to be seen."""
    if scores.shape[1] != len(positions):
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"the model scores {scores.shape[1]} classes, and {len(positions)} are known"
            f" ({'decoding.category_ids' if spec.category_ids else 'the categories of the data set'}): give"
            " evaluation.decoding.category_ids, the category id of each class number (any id that the set does not have"
            " for a background)",
            ["evaluation.decoding.category_ids"],
        )
    scores = np.where(positions >= 0, scores, -1.0)
    if spec.multi_label:
        row, classes = np.nonzero(~(scores < spec.score_threshold))
        return boxes[row], scores[row, classes], classes
    classes = np.argmax(scores, axis=1)
    return boxes, np.take_along_axis(scores, classes[:, np.newaxis], axis=1)[:, 0], classes


def _best(rows: np.ndarray, spec: Decoding) -> np.ndarray:
    finite = np.isfinite(rows).all(axis=1)
    sound = rows[finite]
    kept = best_apart(sound[:, :4], sound[:, 4], sound[:, 5], spec.nms_iou, spec.max_detections)
    return np.concatenate([sound[kept], rows[~finite][: spec.max_detections]])
