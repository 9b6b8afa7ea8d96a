"""From outputs to boxes: every kind of decoding, suppression, and the way back to the image."""

from __future__ import annotations

import numpy as np
import pytest
from edgeopt.contract.evaluation import Boxes, BoxFormat, Decoding, Grid, Preprocessing, Rows
from edgeopt.engine.data.preprocessing import apply
from edgeopt.engine.detection.decoding import decode
from edgeopt.engine.detection.geometry import best_apart, corners, overlap, placement
from edgeopt.engine.problems import JobProblem
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = (100, 200)
BOX = {"xyxy": [20, 10, 60, 30], "xywh": [20, 10, 40, 20], "cxcywh": [40, 20, 40, 20], "yxyx": [10, 20, 30, 60]}
SHARES = {form: np.array(box) / [[200, 100][(i + (form == "yxyx")) % 2] for i in range(4)] for form, box in BOX.items()}


def decoded(spec: Decoding, positions: tuple[int, ...] = (0, 1, 2), /, **outputs: np.ndarray) -> list[list[float]]:
    rows = decode(outputs, spec, SIZE, np.array(positions))
    return np.round(rows, 4).tolist()


def refused(spec: Decoding, words: str, **outputs: np.ndarray) -> None:
    with pytest.raises(JobProblem, match=words) as error:
        decoded(spec, **outputs)
    assert error.value.problem.code == "INVALID_ARGUMENT"


@pytest.mark.parametrize("form", BOX)
@pytest.mark.parametrize("units", ["pixels", "normalized"])
def test_boxes_in_every_format(form: BoxFormat, units: str) -> None:
    boxes = np.array([[BOX[form] if units == "pixels" else SHARES[form]]], np.float32)
    spec = Boxes(boxes="b", scores="s", classes="c", format=form, units=units)  # pyright: ignore[reportArgumentType]
    out = decoded(spec, b=boxes, s=np.array([[0.5]]), c=np.array([[2]]), other=np.zeros(3))
    assert out == [[20, 10, 60, 30, 0.5, 2]]


def test_outputs_without_a_batch_axis_and_class_numbers_that_are_ids() -> None:
    """As torchvision gives them: labels are category ids, one of them a category that the set does not have."""
    spec = Boxes(boxes="b", scores="s", classes="c")
    boxes = np.array([BOX["xyxy"], BOX["xyxy"]], np.float32)
    out = decoded(spec, (-1, 4, -1, 9), b=boxes, s=np.array([0.5, 0.75]), c=np.array([3, 2]))
    assert [row[4:] for row in out] == [[0.5, 9]]


def test_logits_with_a_class_for_nothing() -> None:
    """As DETR gives them: the last class is no object, and its share is no score."""
    logits = np.log(np.array([[[0.1, 0.2, 0.7], [0.6, 0.1, 0.3]]]))
    spec = Boxes(boxes="b", scores="s", format="cxcywh", units="normalized", activation="softmax")
    out = decoded(spec, (0, 1, -1), b=np.full((1, 2, 4), 0.5), s=logits)
    assert [row[4:] for row in out] == [[0.6, 0], [0.2, 1]]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("objectness", [False, True])
def test_rows_as_yolos_give_them(transposed: bool, objectness: bool) -> None:
    scores = [0.5, 0.25, 0.75, 0.5] if objectness else [0.25, 0.75, 0.5]
    rows = np.array([[*BOX["cxcywh"], *scores], [*BOX["cxcywh"], *([0.0] * len(scores))]])
    tensor = (rows.T if transposed else rows)[np.newaxis]
    out = decoded(Rows(transposed=transposed, objectness=objectness), y=tensor)
    assert out == [[20, 10, 60, 30, 0.375 if objectness else 0.75, 1]]


def test_every_class_of_a_box_may_count() -> None:
    rows = np.array([[*BOX["cxcywh"], 0.25, 0.75, 0.0]])
    assert [row[4:] for row in decoded(Rows(objectness=False, multi_label=True), y=rows)] == [[0.75, 1], [0.25, 0]]


def test_logits_are_made_probabilities() -> None:
    rows = np.array([[*BOX["cxcywh"], 0.0, 0.0, -50.0, -50.0]])
    assert decoded(Rows(activation="sigmoid"), y=rows)[0][4:] == [0.25, 0]


def test_a_grid_has_a_box_in_each_cell() -> None:
    head = np.zeros((1, 8, 2, 4))
    head[0, :, 1, 2] = [0.64, np.arctanh(0.5), 0.0, 0.0, -np.log(3), 0, 0.25, 0]
    out = decoded(Grid(objectness_power=0.5), head=head)
    # Centre (2.5 / 4, 1 / 2) of 200 x 100, half as wide and a quarter as high as the input; sqrt(0.64 * 0.25).
    assert out == [[75, 37.5, 175, 62.5, 0.4, 1]]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Boxes(boxes="boxes", scores="y"), "no output 'boxes'.*'y': \\[1, 3, 7\\]"),
        (Boxes(boxes="y", scores="y"), "no rows of four"),
        (Rows(output="z"), "no output 'z'"),
        (Rows(transposed=True), "is transposed right"),
        (Rows(objectness=False, category_ids=[1, 2]), "scores 3 classes, and 2 are known \\(decoding.category_ids"),
        (Grid(output="y"), "1 values a cell hold no objectness"),
    ],
)
def test_what_does_not_fit_is_said_with_the_shapes(spec: Decoding, words: str) -> None:
    values = np.zeros((1, 3, 7))
    with pytest.raises(JobProblem, match=words):
        decoded(spec, (0,) * (len(spec.category_ids) or 3), y=values)


def test_a_class_beyond_the_known_ones_is_a_question() -> None:
    spec = Boxes(boxes="b", scores="s", classes="c")
    refused(spec, "answers class 3.*category_ids", b=np.ones((1, 4)), s=np.ones(1), c=np.array([3]))
    refused(spec, "answers class 0.5", b=np.ones((1, 4)), s=np.ones(1), c=np.array([0.5]))


def test_several_outputs_must_be_named() -> None:
    refused(Rows(), "which of the outputs", y=np.zeros((1, 9)), z=np.zeros((1, 9)))


def test_what_is_no_number_is_not_hidden() -> None:
    rows = decode({"y": np.full((1, 8), np.nan)}, Rows(objectness=False), SIZE, np.arange(4))
    assert len(rows) == 1 and np.isnan(rows[0, 4])


def all_pairs(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float) -> list[int]:
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        rivals = [k for k in kept if classes[k] == classes[index]]
        if all(overlap(boxes[k], boxes[index][np.newaxis])[0] <= iou for k in rivals):
            kept.append(int(index))
    return kept


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([0.1, 0.45, 0.7, 1.0]))
@settings(max_examples=60, deadline=None)
def test_suppression_keeps_the_best_of_what_overlaps(seed: int, count: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    boxes = corners(np.column_stack([rng.uniform(0, 20, (count, 2)), rng.uniform(0, 20, (count, 2))]), "xywh")
    scores, classes = rng.integers(0, 8, count) / 8, rng.integers(0, 2, count)
    expected = all_pairs(boxes, scores, classes, iou)
    assert best_apart(boxes, scores, classes, iou, 100).tolist() == expected
    assert best_apart(boxes, scores, classes, iou, 3).tolist() == expected[:3]


@pytest.mark.parametrize(
    "steps",
    [
        {},
        {"resize": (60, 50)},
        {"resize": 48},
        {"center_crop": (40, 60)},
        {"resize": 64, "center_crop": 50},
        {"resize": (64, 64), "center_crop": (33, 47)},
    ],
)
@pytest.mark.parametrize("size", [(80, 120), (120, 81)])
def test_a_box_comes_back_to_where_it_was_drawn(steps: dict[str, object], size: tuple[int, int]) -> None:
    """The brightest pixels of the prepared image are found where the rectangle was drawn, to the precision of pixels."""
    p = Preprocessing.model_validate(steps)
    drawn = np.array([size[1] * 0.4, size[0] * 0.35, size[1] * 0.6, size[0] * 0.65]).round()
    x1, y1, x2, y2 = drawn.astype(int)
    image = np.zeros((*size, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    place = placement(size, p)
    prepared = apply(image[np.newaxis], p)[0]
    assert prepared.shape[:2] == place.input
    bright = np.argwhere(prepared[..., 0] > 127)
    seen = np.array([[*bright.min(axis=0)[::-1], *(bright.max(axis=0) + 1)[::-1]]], np.float64)
    pixel = 1 / min(place.scale)
    assert np.abs(place.in_image(seen)[0] - drawn).max() <= max(1.0, pixel)
