"""NVIDIA's tensorrt module. By its name, since type checkers, where it is not installed, find our modules of that name."""

from __future__ import annotations

from importlib import import_module
from typing import Any

trt: Any = import_module("tensorrt")
