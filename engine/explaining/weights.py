"""The zeros in a model's weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from ..models import onnx_file
from ..models.tensors import tensors

# Larger models are left unread: all of their weights would be in memory at once.
MOST_BYTES = 500 * 2**20
# Biases and constants of shapes are no weights.
LEAST_ELEMENTS = 16


def zeros(model: Path) -> float | None:
    """The share of weights that are exactly zero: float or int8 tensors of two axes or more. None where there are none,
    or where the file is over 500 MB. uint8 weights have their zero elsewhere, and are left out."""
    read = onnx_file.read(model)
    if sum(file.stat().st_size for file in onnx_file.files(read, model)) > MOST_BYTES:
        return None
    total = empty = 0
    for tensor in tensors(onnx_file.load(model)):
        if len(tensor.dims) < 2 or math.prod(tensor.dims) < LEAST_ELEMENTS:
            continue
        values = numpy_helper.to_array(tensor)
        if values.dtype.kind == "f" or values.dtype == np.int8:
            total += values.size
            empty += values.size - int(np.count_nonzero(values))
    return empty / total if total else None
