"""What is to be found in the images of a COCO set."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from .source import add_array


@dataclass(frozen=True)
class Objects:
    """sizes: int64 (images, 2), height and width in pixels. categories: the category ids, ascending.

    Of every object: image and category, their positions (int64); boxes, float64 (objects, 4): x, y, width, height in pixels;
    area (float64); crowd (bool): such a region may be detected or not.
    """

    sizes: np.ndarray
    categories: list[int]
    image: np.ndarray
    category: np.ndarray
    boxes: np.ndarray
    area: np.ndarray
    crowd: np.ndarray

    def digest(self, image: int | None = None) -> bytes:
        """sha256 over the objects, of one image or of all: the same for the same objects, whatever their ids."""
        of = np.ones(len(self.image), np.bool_) if image is None else self.image == image
        digest = hashlib.sha256(repr(self.categories).encode())
        if image is None:
            add_array(digest, "image", self.image)
        for name in ("category", "boxes", "area", "crowd"):
            add_array(digest, name, getattr(self, name)[of])
        return digest.digest()
