"""PyTorch's part of a package's infer.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree


class Session:
    """The exported program in PyTorch, on the CPU."""

    runtime = f"pytorch {torch.__version__}"

    def __init__(self, model: Path, threads: int):
        if threads:
            torch.set_num_threads(threads)
        program = torch.export.load(model)
        # Shapes are checked by infer.py and by the program itself; guards cost as much as a third of a small model's time.
        self.module = program.module(check_guards=False)
        self.structure: Any = program.call_spec.in_spec

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """One inference; inputs and outputs in the model's own order."""
        tensors = [torch.from_numpy(array) for array in arrays]
        with torch.inference_mode():
            arguments, keywords = pytree.tree_unflatten(tensors, self.structure)
            values = self.module(*arguments, **keywords)
        return [value.numpy() for value in pytree.tree_leaves(values) if isinstance(value, torch.Tensor)]
