"""What accuracy is measured on, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .record import Record

Metric = Literal["top1", "top5", "f1_macro", "map", "map50", "auc", "rmse", "mae", "spearman", "custom"]
Layout = Literal["NCHW", "NHWC"]
Pixels = Annotated[int, Field(ge=1, le=16_384)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

# Metrics of which every sample is simply right or wrong: their verdict is Tango's paired score test.
CORRECT_OR_WRONG: frozenset[str] = frozenset({"top1", "top5"})
LOWER_IS_BETTER: frozenset[str] = frozenset({"rmse", "mae"})
MEASURABLE: frozenset[str] = frozenset({"top1", "top5", "f1_macro", "rmse", "mae"})


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


class Evaluation(Record):
    """The labelled data set, the metric and the preprocessing of a session: fixed once it is open."""

    dataset_path: str
    metric: Metric
    preprocessing: Preprocessing | None = None
    task: Literal["classification", "regression", "detection"] | None = None
    adapter: str | None = None
    metric_code: str | None = None
