"""What a preprocessing leaves out: derived from the model's input where only one answer fits, else asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...contract.evaluation import Evaluation, Preprocessing
from ...contract.measures import TensorInfo
from ..problems import JobProblem
from ..runtimes.fitting import fits, shape_text
from .preprocessing import check_crop, pair, resized

# By the number of channels: ImageNet's, and MNIST's.
_EXAMPLES = {
    3: '{"scale": 0.00392156862745098, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}',
    1: '{"scale": 0.00392156862745098, "mean": [0.1307], "std": [0.3081]}',
}


def resolve(evaluation: Evaluation, inputs: Sequence[TensorInfo], sample: np.ndarray) -> Preprocessing:
    """The complete preprocessing for samples such as this one (raw, without a batch axis).

    Layout and dtype are derived from the model's input where they were left out; tensors that fit already stay as they
    are. Resolving a complete preprocessing gives it back.
    Raises JobProblem INVALID_ARGUMENT: the question to ask where pixel scaling was left open, or what does not fit.
    """
    given = evaluation.preprocessing or Preprocessing()
    if len(inputs) != 1:
        return _for_many_inputs(given, inputs)
    info = inputs[0]
    _check_steps(given, sample)
    done = given.model_copy(update={"layout": _layout(given, info, sample), "dtype": _dtype(given, info)})
    _check_channels(done, info, sample)
    _ask_for_scale(done, info, sample)
    return done


def _for_many_inputs(given: Preprocessing, inputs: Sequence[TensorInfo]) -> Preprocessing:
    if given != Preprocessing():
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"the model has {len(inputs)} inputs, which are fed ready tensors by name: leave evaluation.preprocessing out",
        )
    return given


def _is_image(sample: np.ndarray, info: TensorInfo) -> bool:
    """Pixels are bytes with two or three axes, and the model takes four."""
    return sample.dtype == np.uint8 and sample.ndim in (2, 3) and len(info.shape) == 4


def _check_steps(p: Preprocessing, sample: np.ndarray) -> None:
    """Whether the steps mean anything on such a sample."""
    image_steps = [name for name in ("resize", "center_crop", "color", "layout") if getattr(p, name) is not None]
    if image_steps and sample.ndim not in (2, 3):
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"preprocessing.{image_steps[0]} is for images, and the samples have shape {list(sample.shape)}: leave it out",
        )
    pixels = [name for name in ("resize", "color") if getattr(p, name) not in (None, "RGB")]
    if pixels and sample.dtype != np.uint8:
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"preprocessing.{pixels[0]} works on uint8 images, and the samples are {sample.dtype}: give uint8 images"
            " (height, width, channels), or do this step beforehand and leave it out",
        )
    if p.color in ("BGR", "GRAY") and (sample.ndim != 3 or sample.shape[2] != 3):
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"preprocessing.color={p.color!r} takes RGB images, and the samples have shape {list(sample.shape)}",
        )


def shape_after(p: Preprocessing, sample: np.ndarray) -> tuple[int, ...]:
    """The sample's shape after colour, resize and crop: still channels last."""
    if sample.ndim not in (2, 3):
        return sample.shape
    height, width = sample.shape[:2]
    if p.resize is not None:
        height, width = resized(sample.shape, p.resize)
    if p.center_crop is not None:
        check_crop(height, width, pair(p.center_crop))
        height, width = pair(p.center_crop)
    channels = (1,) if p.color == "GRAY" else sample.shape[2:]
    return (height, width, *channels)


def _layout(p: Preprocessing, info: TensorInfo, sample: np.ndarray) -> str | None:
    """The layout to bring the sample into; None leaves its axes as they are."""
    after, wanted = shape_after(p, sample), info.shape[1:]
    last = (*after, 1) if len(after) == 2 else after
    first = last[-1:] + last[:-1]
    can = {
        "NHWC": len(last) == 3 and fits(last, wanted),
        "NCHW": len(last) == 3 and fits(first, wanted),
        None: fits(after, wanted),
    }
    pixels = _is_image(sample, info)
    if p.layout is not None:
        choices = [p.layout] if pixels else [p.layout, None]
    else:
        choices = ["NCHW", "NHWC", None] if pixels else [None, "NCHW", "NHWC"]
        if pixels and can["NHWC"] and can["NCHW"]:
            raise JobProblem(
                "INVALID_ARGUMENT",
                f"images of shape {list(after)} fit the input {shape_text(info.shape)} with their channels first or last:"
                ' which does the model take? Pass evaluation.preprocessing={"layout": "NCHW"} or "NHWC"',
            )
    for choice in choices:
        if can[choice]:
            return choice
    raise JobProblem("INVALID_ARGUMENT", _misfit(p, info, sample, after))


def _misfit(p: Preprocessing, info: TensorInfo, sample: np.ndarray, after: tuple[int, ...]) -> str:
    text = (
        f"the model's input {info.name!r} takes {info.dtype} {shape_text(info.shape)}, but a sample of the data is"
        f" {sample.dtype} {list(sample.shape)}"
    )
    if after != sample.shape:
        text += f", {list(after)} after colour, resize and crop"
    if p.layout is not None:
        text += f", and layout {p.layout!r} does not make it fit"
    if not _is_image(sample, info):
        return text
    text += "; uint8 images are stored as (height, width, channels)"
    spatial = [axis for axis in info.shape[1:] if axis not in (1, 3)]
    if len(spatial) == 2 and None not in spatial:
        text += f'; to resize them pass evaluation.preprocessing={{"resize": {spatial}}}'
    if 1 in info.shape[1:] and after[-1] == 3:
        text += '; for one channel pass {"color": "GRAY"}'
    return text


def _dtype(p: Preprocessing, info: TensorInfo) -> str | None:
    """The dtype to give the tensor. None, or another float than the model's, leaves it to the runner's adapter."""
    if p.dtype is None:
        return info.dtype if info.dtype in ("float32", "float16", "uint8", "int8") else None
    if p.dtype != info.dtype and not (p.dtype.startswith("float") and info.dtype.startswith("float")):
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"preprocessing.dtype={p.dtype!r}, but the model's input {info.name!r} takes {info.dtype}: leave dtype out",
        )
    return p.dtype


def _check_channels(p: Preprocessing, info: TensorInfo, sample: np.ndarray) -> None:
    """mean and std need to know the channel axis, and one value a channel (or one for all)."""
    per_channel = {name: values for name in ("mean", "std") if (values := getattr(p, name)) is not None}
    if not per_channel:
        return
    after = shape_after(p, sample)
    channels = after[2] if len(after) == 3 else 1
    for name, values in per_channel.items():
        if len(values) == 1:
            continue
        if p.layout is None:
            raise JobProblem(
                "INVALID_ARGUMENT",
                f"preprocessing.{name} is per channel and needs samples as (height, width, channels); these have shape"
                f" {list(sample.shape)} and fit the model's input as they are: normalise them beforehand or store images",
            )
        if len(values) != channels:
            raise JobProblem(
                "INVALID_ARGUMENT",
                f"preprocessing.{name} has {len(values)} values, and the images have {channels} channels"
                f" (model's input {info.name!r}: {shape_text(info.shape)})",
            )


def _ask_for_scale(p: Preprocessing, info: TensorInfo, sample: np.ndarray) -> None:
    """Pixels into a float model: whether they are divided by 255 cannot be seen, and a wrong guess looks like a bad model."""
    if not _is_image(sample, info) or p.scale is not None:
        return
    in_pixels = max((abs(value) for value in p.mean or ()), default=0.0) > 1.0
    if info.dtype == "uint8" or in_pixels:
        return
    example = _EXAMPLES.get((*shape_after(p, sample), 1)[2], '{"scale": 0.00392156862745098}')
    raise JobProblem(
        "INVALID_ARGUMENT",
        f"the data set holds uint8 images and the model takes {info.dtype}: are pixels scaled by 1/255, and with which"
        f" mean and std? Pass evaluation.preprocessing, as {example}; scale=1 if the model takes values of 0 to 255",
        ["evaluation.preprocessing.scale"],
    )
