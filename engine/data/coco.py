"""Data sets as a COCO JSON with its images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from ...contract.text import untrusted
from ..problems import JobProblem
from .files import FileSource, check_sample_file
from .images import image_size
from .objects import Objects
from .source import allowed, regular_file

# The file that makes a folder a COCO set.
ANNOTATIONS = "annotations.json"
_NAMED = 5


class _Image(BaseModel):
    id: int
    file_name: str
    width: int | None = None
    height: int | None = None


class _Category(BaseModel):
    id: int


class _Annotation(BaseModel):
    image_id: int
    category_id: int
    bbox: tuple[FiniteFloat, FiniteFloat, Annotated[FiniteFloat, Field(ge=0)], Annotated[FiniteFloat, Field(ge=0)]]
    area: Annotated[FiniteFloat, Field(ge=0)] | None = None
    iscrowd: bool = False


class _Content(BaseModel):
    """Of a COCO file what detection needs; the rest (segmentations, licences) is passed over."""

    images: Annotated[list[_Image], Field(min_length=1)]
    categories: list[_Category] = []
    annotations: list[_Annotation] = []


class CocoSource(FileSource):
    """Images, and what is to be found in them (None where the set is used without labels)."""

    def __init__(self, files: Sequence[tuple[str, Path]], objects: Objects | None):
        super().__init__("coco", files, None)
        self.objects = objects

    def digest(self) -> str:
        """Over the images' names and bytes in order, their sizes and the objects."""
        digest = hashlib.sha256(super().digest().encode())
        if self.objects is not None:
            digest.update(self.objects.digest())
        return digest.hexdigest()


def coco_file(place: Path) -> Path | None:
    """The JSON of a COCO set that lies here: the file itself, or annotations.json in the folder."""
    if place.is_dir():
        return place / ANNOTATIONS if (place / ANNOTATIONS).is_file() else None
    return place if place.suffix.lower() == ".json" else None


def open_coco(path: Path, *, labelled: bool, roots: Sequence[str] | None) -> CocoSource:
    """Reads the JSON; images are opened when they are needed. They lie beside it, or in `images` beside it.

    Category ids may be any numbers. Raises JobProblem BAD_FILE that names the images that are missing or what is wrong,
    PATH_NOT_ALLOWED for an image outside the roots.
    """
    allowed(path, roots)
    regular_file(path, "the data set")
    content = _content(path)
    if double := _doubles(image.id for image in content.images):
        raise JobProblem("BAD_FILE", f"the data set {path}: {double} images have the id of another")
    files = _files(path, content.images, roots)
    return CocoSource(files, _objects(path, content, files) if labelled else None)


def _content(path: Path) -> _Content:
    try:
        return _Content.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise JobProblem(
            "BAD_FILE",
            f"the data set {path} is not a COCO JSON of boxes: {untrusted(where) or 'the file'}: {untrusted(first['msg'])}",
        ) from error


def _files(path: Path, images: Sequence[_Image], roots: Sequence[str] | None) -> list[tuple[str, Path]]:
    found = [_place(path.parent, image.file_name, roots) for image in images]
    missing = [image.file_name for image, place in zip(images, found, strict=True) if place is None]
    if missing:
        named = [untrusted(name) for name in missing[:_NAMED]]
        raise JobProblem(
            "BAD_FILE",
            f"{len(missing)} of {len(images)} images of {path} are neither beside it nor in images/: {', '.join(named)}"
            f"{', ...' if len(missing) > _NAMED else ''}",
            named,
        )
    files = [(image.file_name, place) for image, place in zip(images, found, strict=True) if place is not None]
    for name, place in files:
        check_sample_file(place, f"the data set {path}, image {untrusted(name)}")
    return files


def _place(folder: Path, name: str, roots: Sequence[str] | None) -> Path | None:
    """The image's file with its links resolved; None where there is none. JobProblem PATH_NOT_ALLOWED."""
    if not name or "\0" in name:
        return None
    for place in (folder / name, folder / "images" / name):
        real = allowed(place, roots)
        if real.is_file():
            return real
    return None


def _objects(path: Path, content: _Content, files: Sequence[tuple[str, Path]]) -> Objects:
    categories = sorted(category.id for category in content.categories)
    if double := _doubles(categories):
        raise JobProblem("BAD_FILE", f"the data set {path}: {double} categories have the id of another")
    found = content.annotations
    if not any(not one.iscrowd for one in found):
        raise JobProblem(
            "BAD_FILE", f"the data set {path} has no annotations: there is nothing to find", ["annotations"]
        )
    image_of = {image.id: index for index, image in enumerate(content.images)}
    category_of = {category: index for index, category in enumerate(categories)}
    for index, one in enumerate(found):
        if one.image_id not in image_of or one.category_id not in category_of:
            what = f"image {one.image_id}" if one.image_id not in image_of else f"category {one.category_id}"
            raise JobProblem(
                "BAD_FILE", f"the data set {path}: annotation {index} is of {what}, which it does not list"
            )
    boxes = np.array([one.bbox for one in found], np.float64)
    return Objects(
        sizes=np.array([_size(path, *pair) for pair in zip(content.images, files, strict=True)], np.int64),
        categories=categories,
        image=np.array([image_of[one.image_id] for one in found], np.int64),
        category=np.array([category_of[one.category_id] for one in found], np.int64),
        boxes=boxes,
        area=np.array([one.bbox[2] * one.bbox[3] if one.area is None else one.area for one in found], np.float64),
        crowd=np.array([one.iscrowd for one in found], np.bool_),
    )


def _size(path: Path, image: _Image, file: tuple[str, Path]) -> tuple[int, int]:
    """The image's height and width, which must be what the JSON says: its boxes are in these pixels."""
    height, width = image_size(file[1])
    if image.height not in (None, height) or image.width not in (None, width):
        raise JobProblem(
            "BAD_FILE",
            f"the data set {path}: the image {untrusted(image.file_name)} is {width} x {height}, and the JSON says"
            f" {image.width} x {image.height}: its boxes would be at other places",
        )
    return height, width


def _doubles(ids: Iterable[int]) -> int:
    listed = list(ids)
    return len(listed) - len(set(listed))
