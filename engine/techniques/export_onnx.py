"""ONNX of a model of a training framework, computing the same."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ...contract.measures import Interface
from ...contract.steps import ExportOnnx
from ..bench import Bench
from ..data.dataset import Dataset
from ..models.formats import sniff
from .base import Made


class Exporter(Protocol):
    def export(self, parent: Path, step: ExportOnnx, out: Path, interface: Interface, bench: Bench) -> Made: ...


def run(
    parent: Path, step: ExportOnnx, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    """By the exporter of the parent's framework (`export_onnx_pytorch`, `export_onnx_tensorflow`)."""
    exporter = import_module(f".export_onnx_{sniff(parent).format}", __package__)
    return cast(Exporter, exporter).export(parent, step, out, interface, bench)
