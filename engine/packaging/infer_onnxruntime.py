"""ONNX Runtime's part of a package's infer.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime


class Session:
    """The model in ONNX Runtime."""

    runtime = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, model: Path, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.inputs = [node.name for node in self.session.get_inputs()]

    def run(self, arrays: list[np.ndarray]) -> list:
        """One inference; inputs and outputs in the model's own order."""
        return list(self.session.run(None, dict(zip(self.inputs, arrays, strict=True))))
