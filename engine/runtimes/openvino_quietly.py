"""OpenVINO without its telemetry: its first import reports itself to its makers over the network, and leaves files in the
home folder, unless the package that does so is absent."""

from __future__ import annotations

import sys

sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]

import openvino as ov  # noqa: E402

__all__ = ["ov"]
