"""A detector that can be understood, and drawings for it to find: coloured rectangles, one cell of a grid each."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from edgeopt.contract.evaluation import Evaluation, Grid, Metric, Preprocessing
from onnx import TensorProto, helper
from PIL import Image

from .tiny_models import Axis, save

SIDE, CELLS = 64, 8
WIDTH, HEIGHT = 128, 96
CELL = (WIDTH // CELLS, HEIGHT // CELLS)
# Ids as they come in the wild: neither from 0 nor without gaps.
CATEGORIES = [3, 7]
PREPROCESSING = Preprocessing(resize=(SIDE, SIDE), scale=1 / 255)
GRID = Grid(score_threshold=0.2)


def drawings(folder: Path, images: int = 12, seed: int = 0, **changes: Any) -> str:
    """Writes a COCO set of red (category 3) and green (7) rectangles on black, up to two pixels off their cells, and
    returns the path of its JSON; `changes` replace parts of the JSON."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    annotations: list[dict[str, Any]] = []
    for image in range(images):
        pixels = rng.integers(0, 30, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        for cell in rng.choice(CELLS * CELLS, 4, replace=False):
            row, column = divmod(int(cell), CELLS)
            x, y = (np.array([column, row]) * CELL + rng.integers(0, 3, 2)).tolist()
            category = int(rng.integers(2))
            pixels[y : y + CELL[1], x : x + CELL[0]] = 0
            pixels[y : y + CELL[1], x : x + CELL[0], category] = int(rng.integers(120, 256))
            box = [x, y, min(CELL[0], WIDTH - x), min(CELL[1], HEIGHT - y)]
            annotations.append({"image_id": 10 + image, "category_id": CATEGORIES[category], "bbox": box, "iscrowd": 0})
        Image.fromarray(pixels).save(folder / "images" / f"{image}.png")
    listed = [{"id": 10 + i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in range(images)]
    content = {"images": listed, "annotations": annotations, "categories": [{"id": i, "name": "x"} for i in (7, 3)]}
    (folder / "annotations.json").write_text(json.dumps(content | changes))
    return str(folder / "annotations.json")


def detector(path: Path, *, green: float = 1.0, batch: int | str = "N") -> str:
    """`image` (batch, 3, 64, 64) to `head` (batch, 7, 8, 8): a box in the middle of each cell, as sure as it is coloured."""
    weights = np.zeros((7, 3, 1, 1), np.float32)
    weights[0, :2] = weights[5, 0] = 1
    weights[6, 1] = weights[0, 1] = green
    bias = np.array([0, *[math.atanh(0.5)] * 2, *[math.log(1 / (CELLS - 1))] * 2, 0, 0], np.float32)
    nodes = [
        helper.make_node(
            "AveragePool", ["image"], ["cells"], kernel_shape=[SIDE // CELLS] * 2, strides=[SIDE // CELLS] * 2
        ),
        helper.make_node("Conv", ["cells", "w", "b"], ["head"]),
    ]
    inputs: dict[str, tuple[int, Sequence[Axis]]] = {"image": (TensorProto.FLOAT, [batch, 3, SIDE, SIDE])}
    outputs: dict[str, tuple[int, Sequence[Axis]]] = {"head": (TensorProto.FLOAT, [batch, 7, CELLS, CELLS])}
    return save(path, nodes, inputs, outputs, {"w": weights, "b": bias})


def evaluation(dataset: str, metric: Metric = "map") -> Evaluation:
    return Evaluation(dataset_path=dataset, metric=metric, preprocessing=PREPROCESSING, decoding=GRID)
