"""OpenVINO's part of a package's infer.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

# OpenVINO's first import reports itself to its makers over the network, unless this package is absent.
sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]

import openvino  # noqa: E402


class Session:
    """The model in OpenVINO on the CPU, in the numbers that it was measured in: float32 unless the file says bfloat16, which
    is OpenVINO's default wherever the CPU has it. What is quantized in the file runs in 8 bits."""

    def __init__(self, model: Path, threads: int):
        core = openvino.Core()
        read = core.read_model(model)
        said = ["edgeopt", "float_layers"]
        numbers = "bf16" if read.has_rt_info(said) and read.get_rt_info(said).value == "bfloat16" else "f32"
        how = {"INFERENCE_PRECISION_HINT": numbers, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        self.runtime = f"openvino {openvino.__version__.partition('-')[0]}, {numbers}"
        self.model = core.compile_model(read, "CPU", how)
        self.request = self.model.create_infer_request()

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """One inference; inputs and outputs in the model's own order."""
        values = self.request.infer(dict(enumerate(arrays)))
        return [values[index] for index in range(len(self.model.outputs))]
