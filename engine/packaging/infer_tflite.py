"""TensorFlow Lite's part of a package's infer.py."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:  # older boards have its predecessor
    from tflite_runtime.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

RUNTIME = Interpreter.__module__.partition(".")[0].replace("_", "-")


class Session:
    """The model in TensorFlow Lite's interpreter, on the CPU."""

    runtime = f"{RUNTIME} {version(RUNTIME)}"

    def __init__(self, model: Path, threads: int):
        self.interpreter = Interpreter(model_path=str(model), num_threads=threads or None)
        self.inputs = [details["index"] for details in self.interpreter.get_input_details()]
        self.outputs = [details["index"] for details in self.interpreter.get_output_details()]
        self.shapes = None

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """One inference; inputs and outputs in the model's own order."""
        shapes = [array.shape for array in arrays]
        if shapes != self.shapes:  # at first, and with every other batch
            for index, shape in zip(self.inputs, shapes, strict=True):
                self.interpreter.resize_tensor_input(index, shape)
            self.interpreter.allocate_tensors()
            self.shapes = shapes
        for index, array in zip(self.inputs, arrays, strict=True):
            self.interpreter.set_tensor(index, array)
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index) for index in self.outputs]
