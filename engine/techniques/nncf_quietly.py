"""NNCF, loaded after OpenVINO has been kept from the telemetry that both would send."""

from __future__ import annotations

from ..runtimes.openvino_quietly import ov  # noqa: F401

# isort: split
import nncf

__all__ = ["nncf"]
