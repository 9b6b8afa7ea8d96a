"""What accuracy is measured on, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from .record import Record
from .text import untrusted

Metric = Literal["top1", "top5", "f1_macro", "map", "map50", "auc", "rmse", "mae", "spearman", "custom"]
Layout = Literal["NCHW", "NHWC"]
Pixels = Annotated[int, Field(ge=1, le=16_384)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

# Metrics of which every sample is simply right or wrong: their verdict is Tango's paired score test.
CORRECT_OR_WRONG: frozenset[str] = frozenset({"top1", "top5"})
LOWER_IS_BETTER: frozenset[str] = frozenset({"rmse", "mae"})
# Metrics of detected objects, on a COCO set.
DETECTION: frozenset[str] = frozenset({"map", "map50"})

Task = Literal["classification", "regression", "detection"]
# Of each task its metrics; besides them `custom`, which is any task's.
METRICS_OF: dict[Task, tuple[Metric, ...]] = {
    "classification": ("top1", "top5", "f1_macro", "auc"),
    "regression": ("rmse", "mae", "spearman"),
    "detection": ("map", "map50"),
}


class Preprocessing(Record):
    """Image to tensor, in this order: colour, resize (bilinear, short side or [height, width]), centre crop,
    scale, mean and std (per channel), layout, dtype. A step left out is not done."""

    resize: Pixels | tuple[Pixels, Pixels] | None = None
    center_crop: Pixels | tuple[Pixels, Pixels] | None = None
    color: Literal["RGB", "BGR", "GRAY"] | None = None
    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    mean: Annotated[list[Finite], Field(min_length=1, max_length=64)] | None = None
    std: Annotated[list[Annotated[Finite, Field(gt=0)]], Field(min_length=1, max_length=64)] | None = None
    layout: Layout | None = None
    dtype: Literal["float32", "float16", "uint8", "int8"] | None = None


BoxFormat = Literal["xyxy", "xywh", "cxcywh", "yxyx"]
Units = Literal["pixels", "normalized"]


class _Decoding(Record):
    """What is done with every kind of detector's boxes: those of at least `score_threshold`, class-wise non-maximum
    suppression at an IoU over `nms_iou` (1: none), the best `max_detections`, cut at the image's edges (`clip`).
    `multi_label`: every class of a box counts, not its best alone. `category_ids`: as `Evaluation` says; empty where classes are in the order of the set's categories."""

    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.001
    nms_iou: Annotated[float, Field(gt=0, le=1)] = 0.45
    max_detections: Annotated[int, Field(ge=1, le=100)] = 100
    multi_label: bool = False
    clip: bool = True
    category_ids: Annotated[list[int], Field(max_length=10_000)] = []


class Boxes(_Decoding):
    """Outputs by name: boxes (n, 4) and scores (n,) with classes (n,), or scores (n, classes)."""

    kind: Literal["boxes"] = "boxes"
    nms_iou: Annotated[float, Field(gt=0, le=1)] = 1.0
    boxes: str
    scores: str
    classes: str | None = None
    format: BoxFormat = "xyxy"
    units: Units = "pixels"
    activation: Literal["none", "sigmoid", "softmax"] = "none"


class Rows(_Decoding):
    """One output (n, 4 + objectness + classes), as YOLOs give it; transposed: (4 + ..., n)."""

    kind: Literal["rows"] = "rows"
    output: str | None = None
    transposed: bool = False
    objectness: bool = True
    format: BoxFormat = "cxcywh"
    units: Units = "pixels"
    activation: Literal["none", "sigmoid"] = "none"


class Grid(_Decoding):
    """One output (1 + 4 + classes, rows, columns) with a box in each cell: objectness o and classes c, activated; centre =
    (cell + center(x)) / cells, size = sigmoid(w); score = o^p * c^(1 - p), p = objectness_power (FastestDet: 0.6)."""

    kind: Literal["grid"] = "grid"
    output: str | None = None
    center: Literal["tanh", "sigmoid"] = "tanh"
    objectness_power: Annotated[float, Field(ge=0, le=1)] = 0.6


Decoding = Annotated[Boxes | Rows | Grid, Field(discriminator="kind")]


class Evaluation(Record):
    """The labelled data set, the metric and the preprocessing of a session: fixed once it is open.

    map, map50: of a COCO JSON; they need decoding or adapter. Class k is the k-th smallest category id, unless
    decoding.category_ids[k] says another (classes of absent ids are dropped); nms_iou=1: no suppression.
    adapter, metric_code: file.py:function of a file that the operator allowed. adapter(outputs of one sample, by name) gives
    what the metric reads instead; for map adapter(outputs, (height, width)) gives rows x1, y1, x2, y2, score, class in
    pixels of the model's input. metric_code, for custom: function(outputs: {name: array (samples, ...)}, labels) gives one
    number or one for each sample; higher is better. task, where it is given, must be the metric's.
    """

    dataset_path: str
    metric: Metric
    preprocessing: Preprocessing | None = None
    decoding: Decoding | None = None
    task: Task | None = None
    adapter: str | None = None
    metric_code: str | None = None


class UserCode(Record):
    """A function of a file that the operator allowed to run, by the content that was allowed."""

    path: str
    function: str
    sha256: str

    def __str__(self) -> str:
        return f"{untrusted(Path(self.path).name)}:{untrusted(self.function)}, sha256 {self.sha256[:16]}"
