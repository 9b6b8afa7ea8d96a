"""Data for PyTorch's models, and models made of their sources in this process. Imported where PyTorch is installed alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from edgeopt.contract.evaluation import Evaluation, Preprocessing
from edgeopt.engine.jobs import Source
from edgeopt.engine.models.materialize import Made, Making
from edgeopt.engine.models.materializing import make

from .runtime_models import rows

PIXELS = Preprocessing(scale=1 / 255)


def images(folder: Path) -> Evaluation:
    rng = np.random.default_rng(0)
    np.savez(folder / "images.npz", inputs=rng.integers(0, 256, (12, 4, 4, 3), np.uint8), labels=np.arange(12) % 2)
    return Evaluation(dataset_path=str(folder / "images.npz"), metric="top1", preprocessing=PIXELS)


def tensors(folder: Path) -> Evaluation:
    """Ready tensors, stored as numpy makes them: in doubles."""
    np.savez(folder / "rows.npz", inputs=rows(12).astype(np.float64), labels=np.arange(12) % 2)
    return Evaluation(dataset_path=str(folder / "rows.npz"), metric="top1")


def trained(module: Any) -> Any:
    """The module with weights and statistics that are nobody's defaults."""
    torch.manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    return module.eval()


def made(file: Path, evaluation: Evaluation, **source: Any) -> Made:
    """In this process, which has PyTorch loaded already."""
    making = Making(
        file=str(file), out=str(file.parent / "made"), source=Source(**source), evaluation=evaluation, roots=None
    )
    return make(making)
