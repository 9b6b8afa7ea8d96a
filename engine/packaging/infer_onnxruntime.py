"""ONNX Runtime's part of a package's infer.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from ..runtimes.recorded_options import recorded_options  # in a package, the text of that module stands here


class Session:
    """The model in ONNX Runtime, with the session options that its file carries."""

    runtime = f"onnxruntime {onnxruntime.__version__}"

    def __init__(self, model: Path, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        recorded = recorded_options(model)
        if level := recorded.get("level"):
            options.graph_optimization_level = getattr(
                onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level.upper()}"
            )
        self.session = onnxruntime.InferenceSession(
            str(model),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=recorded.get("disabled_optimizers"),
        )
        self.inputs = [node.name for node in self.session.get_inputs()]

    def run(self, arrays: list[np.ndarray]) -> list:
        """One inference; inputs and outputs in the model's own order."""
        return list(self.session.run(None, dict(zip(self.inputs, arrays, strict=True))))
