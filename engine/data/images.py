"""Image files to arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..problems import JobProblem

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})

# Modes whose samples have 8 bits: conversion to RGB keeps them. Deeper ones would be clipped without a word.
_EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})


def read_image(path: Path) -> np.ndarray:
    """A JPEG or PNG file as uint8 RGB (height, width, 3), as stored (no EXIF rotation). JobProblem BAD_FILE names the file."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            _check(image, path)
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise JobProblem("BAD_FILE", f"the image {path} cannot be read: {error}") from error


def image_size(path: Path) -> tuple[int, int]:
    """Height and width, as `read_image` would give them; only the file's head is read. JobProblem BAD_FILE."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            _check(image, path)
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise JobProblem("BAD_FILE", f"the image {path} cannot be read: {error}") from error


def _check(image: Image.Image, path: Path) -> None:
    width, height = image.size
    limit = Image.MAX_IMAGE_PIXELS or 2**26
    if width * height > limit:
        raise JobProblem("BAD_FILE", f"the image {path} has {width} x {height} pixels, over the limit of {limit}")
    if image.mode not in _EIGHT_BIT:
        raise JobProblem(
            "BAD_FILE", f"the image {path} has samples of more than 8 bits (mode {image.mode}): convert it to 8 bits"
        )
