"""What a model is fed whose file does not say: read off the data, where only one answer fits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...contract.evaluation import Evaluation, Preprocessing
from ...contract.measures import TensorInfo
from .dataset import open_source
from .resolving import shape_after


def guessed(names: Sequence[str], evaluation: Evaluation, roots: Sequence[str] | None, floats: str) -> list[TensorInfo]:
    """Inputs of these names, with a dynamic batch, for the samples of the evaluation set.

    Images (uint8, two axes or three) become `floats` with channels first, as PyTorch has them, unless the preprocessing says
    otherwise; other samples are taken as they are stored, in `floats` where they are real numbers. Raises JobProblem
    BAD_FILE where the data has no such arrays.
    """
    named = [TensorInfo(name=name, dtype=floats, shape=[]) for name in names]
    batch = open_source(evaluation.dataset_path, named, True, roots).read(0, 1)
    samples = list(batch.values()) if len(named) == 1 else [batch[name] for name in names]
    given = evaluation.preprocessing or Preprocessing()
    return [_input(name, np.asarray(sample[0]), given, floats) for name, sample in zip(names, samples, strict=True)]


def _input(name: str, sample: np.ndarray, given: Preprocessing, floats: str) -> TensorInfo:
    shape = shape_after(given, sample)
    pixels = sample.dtype == np.uint8 and sample.ndim in (2, 3)
    if (pixels or given.layout is not None) and given.layout != "NHWC":
        channels = shape[2] if len(shape) == 3 else 1
        shape = (channels, *shape[:2])
    elif pixels and len(shape) == 2:
        shape = (*shape, 1)
    stored = floats if pixels or sample.dtype.kind == "f" else sample.dtype.name
    return TensorInfo(name=name, dtype=given.dtype or stored, shape=[None, *shape])


def stored_arrays(dataset: str) -> set[str]:
    """The names of the arrays in an .npz; none for other data sets, or where it cannot be read (whoever reads it says why)."""
    path = Path(dataset)
    if path.suffix.lower() != ".npz" or not path.is_file():
        return set()
    try:
        with np.load(path, allow_pickle=False) as file:
            return set(file.files)
    except (ValueError, OSError, EOFError):
        return set()
