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
MEASURABLE: frozenset[str] = frozenset({"top1", "top5", "f1_macro", "auc", "rmse", "mae", "spearman", "custom"})


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
    """The labelled data set, the metric and the preprocessing of a session: fixed once it is open.

    metric_code, for the metric custom: file.py:function of a file that the operator allowed. It is called with all samples,
    function(outputs: {name: array (samples, ...)}, labels), and gives one number or one for each sample; higher is better.
    """

    dataset_path: str
    metric: Metric
    preprocessing: Preprocessing | None = None
    task: Literal["classification", "regression", "detection"] | None = None
    adapter: str | None = None
    metric_code: str | None = None


class UserCode(Record):
    """A function of a file that the operator allowed to run, by the content that was allowed."""

    path: str
    function: str
    sha256: str

    def __str__(self) -> str:
        return f"{untrusted(Path(self.path).name)}:{untrusted(self.function)}, sha256 {self.sha256[:16]}"
