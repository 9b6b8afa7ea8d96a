"""OpenVINO's part of a package's infer.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

# OpenVINO's first import reports itself to its makers over the network, unless this package is absent.
sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]

import openvino  # noqa: E402


class Session:
    """The model in OpenVINO on the CPU, in float32 as it was measured: the default is bfloat16 where the CPU has it. What
    is quantized in the file runs in 8 bits."""

    runtime = f"openvino {openvino.__version__.partition('-')[0]}, f32"

    def __init__(self, model: Path, threads: int):
        how = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        self.model = openvino.Core().compile_model(model, "CPU", how)
        self.request = self.model.create_infer_request()

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """One inference; inputs and outputs in the model's own order."""
        values = self.request.infer(dict(enumerate(arrays)))
        return [values[index] for index in range(len(self.model.outputs))]
