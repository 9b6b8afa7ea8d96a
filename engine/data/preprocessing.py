"""Image to tensor: the steps of a `Preprocessing`.

The order is fixed, and a package's own code repeats this arithmetic from the JSON of the same `Preprocessing`:
colour, resize, centre crop, scale (x * scale), mean and std ((x - mean) / std, per channel), layout, dtype.
Arithmetic is in float32; scale and std are float32 values, in this order, so that results agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from ...contract.evaluation import Preprocessing
from ..problems import JobProblem

Size = tuple[int, int]

# ITU-R BT.601 luma in 16-bit fixed point: the weights and rounding of Pillow's own RGB to L.
_LUMA = np.array([19595, 38470, 7471], np.uint32)


def apply(batch: np.ndarray | Sequence[np.ndarray], preprocessing: Preprocessing) -> np.ndarray:
    """Samples as the model takes them.

    `batch` is an array with the batch axis first, or a sequence of single samples whose sizes may differ as long as
    resize and crop make them equal. Images are (height, width, channels) or (height, width), RGB where coloured.
    """
    p = preprocessing
    if p.resize is not None or p.center_crop is not None or p.color in ("BGR", "GRAY"):
        batch = [_spatial(image, p) for image in batch]
    x = batch if isinstance(batch, np.ndarray) else _stack(batch)
    if p.layout is not None and x.ndim == 3:
        x = x[..., np.newaxis]
    if p.scale is not None or p.mean is not None or p.std is not None:
        x = x.astype(np.float32)
    if p.scale is not None:
        x = x * np.float32(p.scale)
    if p.mean is not None:
        x = x - np.array(p.mean, np.float32)
    if p.std is not None:
        x = x / np.array(p.std, np.float32)
    if p.layout == "NCHW":
        x = x.transpose(0, 3, 1, 2)
    if p.dtype is not None and x.dtype != p.dtype:
        x = _cast(x, p.dtype)
    return np.ascontiguousarray(x)


def _spatial(image: np.ndarray, p: Preprocessing) -> np.ndarray:
    """Colour, resize and centre crop of one image (height, width, channels)."""
    if p.color == "BGR":
        image = image[..., ::-1]
    elif p.color == "GRAY":
        image = ((image.astype(np.uint32) @ _LUMA + 0x8000) >> 16).astype(np.uint8)[..., np.newaxis]
    if p.resize is not None:
        image = _resize(image, resized(image.shape, p.resize))
    if p.center_crop is not None:
        image = _crop(image, pair(p.center_crop))
    return image


def resized(shape: Sequence[int], size: int | Size) -> Size:
    """Height and width after a resize: as given, or with the short side as given and the long side in proportion."""
    if not isinstance(size, int):
        return size
    height, width = shape[:2]
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _resize(image: np.ndarray, size: Size) -> np.ndarray:
    """Bilinear with Pillow, which filters when it shrinks. Channels are resized together or, if odd in number, singly."""
    if tuple(image.shape[:2]) == size:
        return image
    width_first = size[1], size[0]
    if image.ndim == 3 and image.shape[2] == 3:
        return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(width_first, Image.Resampling.BILINEAR))
    planes = image[..., np.newaxis] if image.ndim == 2 else image
    done = [
        np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., c])).resize(width_first, Image.Resampling.BILINEAR))
        for c in range(planes.shape[2])
    ]
    return done[0] if image.ndim == 2 else np.stack(done, axis=-1)


def _crop(image: np.ndarray, size: Size) -> np.ndarray:
    height, width = image.shape[:2]
    check_crop(height, width, size)
    top, left = round((height - size[0]) / 2), round((width - size[1]) / 2)
    return image[top : top + size[0], left : left + size[1]]


def check_crop(height: int, width: int, size: Size) -> None:
    """JobProblem INVALID_ARGUMENT where the crop is larger than the image."""
    if height < size[0] or width < size[1]:
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"preprocessing.center_crop={list(size)} is larger than an image of {height} x {width};"
            " give a preprocessing.resize before it or a smaller crop",
        )


def pair(size: int | Size) -> Size:
    """(height, width) of a size given as one number or two."""
    return (size, size) if isinstance(size, int) else size


def _stack(samples: Sequence[np.ndarray]) -> np.ndarray:
    shapes = {sample.shape for sample in samples}
    if len(shapes) > 1:
        raise JobProblem(
            "BAD_FILE",
            f"the images differ in size (among them {sorted(shapes)[0]} and {sorted(shapes)[-1]}); give a"
            " preprocessing.resize of [height, width], or one short side and a center_crop",
        )
    return np.stack(list(samples))


def _cast(x: np.ndarray, dtype: str) -> np.ndarray:
    """To an integer: rounded half to even and clipped to its range."""
    if np.issubdtype(np.dtype(dtype), np.integer):
        limits = np.iinfo(dtype)
        x = np.clip(np.rint(x), limits.min, limits.max)
    return x.astype(dtype)
