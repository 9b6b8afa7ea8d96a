"""COCO sets: a JSON and its images, wherever they lie, whatever the ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.contract.measures import TensorInfo
from edgeopt.engine.data.dataset import Dataset, open_dataset
from edgeopt.engine.problems import JobProblem
from PIL import Image

from .detectors import CATEGORIES, HEIGHT, PREPROCESSING, SIDE, WIDTH, drawings

IMAGE = [TensorInfo(name="image", dtype="float32", shape=[None, 3, SIDE, SIDE])]
AS_IMAGE = PREPROCESSING.model_copy(update={"layout": "NCHW", "dtype": "float32"})


def opened(path: Path | str, *, labelled: bool = True, roots: list[str] | None = None) -> Dataset:
    return open_dataset(str(path), AS_IMAGE, IMAGE, labelled=labelled, roots=roots)


def refused(path: Path | str, words: str, code: str = "BAD_FILE", roots: list[str] | None = None) -> JobProblem:
    with pytest.raises(JobProblem, match=words) as error:
        opened(path, roots=roots)
    assert error.value.problem.code == code
    return error.value


def edited(path: str, change: Any) -> str:
    content = json.loads(Path(path).read_text())
    change(content)
    Path(path).write_text(json.dumps(content))
    return path


def test_images_in_order_with_what_is_in_them(tmp_path: Path) -> None:
    data = opened(drawings(tmp_path, images=5))
    assert (data.info.kind, data.info.samples, data.info.classes) == ("coco", 5, 2)
    assert data.labels is None and data.objects is not None
    assert data.objects.categories == CATEGORIES
    assert data.objects.sizes.tolist() == [[HEIGHT, WIDTH]] * 5
    assert np.bincount(data.objects.image).tolist() == [4] * 5
    assert data.feeds(0, 2)["image"].shape == (2, 3, SIDE, SIDE)
    pixels = np.asarray(Image.open(tmp_path / "images" / "3.png"))
    assert np.array_equal(data.raw(3, 4)["inputs"][0], pixels)


def test_the_folder_names_the_same_set_and_images_may_lie_beside_the_json(tmp_path: Path) -> None:
    path = drawings(tmp_path / "a")
    assert opened(tmp_path / "a").info == opened(path).info
    for image in (tmp_path / "a" / "images").iterdir():
        image.rename(tmp_path / "a" / image.name)
    assert opened(path).info.samples == 12


def test_a_set_without_labels_calibrates(tmp_path: Path) -> None:
    data = opened(drawings(tmp_path, images=3, annotations=[], categories=[]), labelled=False)
    assert (data.info.samples, data.info.classes, data.objects) == (3, None, None)
    refused(tmp_path, "has no annotations")


def test_missing_images_are_named(tmp_path: Path) -> None:
    path = drawings(tmp_path)
    for gone in ("0.png", "7.png"):
        (tmp_path / "images" / gone).unlink()
    problem = refused(path, "2 of 12 images .* are neither beside it nor in images/: 0.png, 7.png").problem
    assert problem.missing == ["0.png", "7.png"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("images"), "images: Field required"),
        (lambda c: c.update(images=[]), "images: List should have at least 1"),
        (lambda c: c["images"][1].update(id=10), "1 images have the id of another"),
        (lambda c: c["images"][1].update(width=3), "128 x 96, and the JSON says 3 x 96"),
        (lambda c: c["images"][1].update(file_name="../annotations.json"), "is no sample"),
        (lambda c: c["categories"].append({"id": 7}), "1 categories have the id of another"),
        (lambda c: c["annotations"][2].update(image_id=99), "annotation 2 is of image 99, which it does not list"),
        (lambda c: c["annotations"][2].update(category_id=1), "annotation 2 is of category 1"),
        (lambda c: c["annotations"][2].update(bbox=[1, 2, 3]), "annotations.2.bbox"),
        (
            lambda c: c["annotations"][2].update(bbox=[1, 2, -3, 4]),
            "annotations.2.bbox.2: .* greater than or equal to 0",
        ),
        (lambda c: c["annotations"][2].update(bbox=[1, 2, float("nan"), 4]), "annotations.2.bbox.2: .* finite"),
        (lambda c: [one.update(iscrowd=1) for one in c["annotations"]], "nothing to find"),
    ],
)
def test_what_is_wrong_in_the_json_is_said(tmp_path: Path, change: Any, words: str) -> None:
    refused(edited(drawings(tmp_path), change), words)


def test_what_is_no_json_is_said(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text('{"images": [')
    refused(tmp_path, "is not a COCO JSON of boxes: the file: Invalid JSON")


def test_images_outside_the_roots_are_not_read(tmp_path: Path) -> None:
    path = drawings(tmp_path / "inside")
    outside = tmp_path / "secret.png"
    (tmp_path / "inside" / "images" / "2.png").rename(outside)
    roots = [str(tmp_path / "inside")]
    (tmp_path / "inside" / "images" / "2.png").symlink_to(outside)
    refused(path, "leads to .*secret.png, outside", "PATH_NOT_ALLOWED", roots)
    (tmp_path / "inside" / "images" / "2.png").unlink()
    edited(path, lambda c: c["images"][2].update(file_name="../secret.png"))
    refused(path, "outside the allowed roots", "PATH_NOT_ALLOWED", roots)
    edited(path, lambda c: c["images"][2].update(file_name=str(outside)))
    refused(path, "outside the allowed roots", "PATH_NOT_ALLOWED", roots)


def test_the_digest_is_of_pixels_and_objects_not_of_ids(tmp_path: Path) -> None:
    path = drawings(tmp_path)
    first = opened(path).info.digest

    def renumbered(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["id"] += 100
        for index, one in enumerate(content["annotations"]):
            one.update(image_id=one["image_id"] + 100, id=index)

    assert opened(edited(path, renumbered)).info.digest == first
    moved = opened(edited(path, lambda c: c["annotations"][0]["bbox"].__setitem__(0, 1.25))).info.digest
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "images" / "4.png")
    assert len({first, moved, opened(path).info.digest}) == 3


def test_a_crowd_is_no_object_to_find(tmp_path: Path) -> None:
    data = opened(edited(drawings(tmp_path), lambda c: c["annotations"][0].update(iscrowd=1)))
    assert data.objects is not None and data.objects.crowd.sum() == 1
