"""INT8 with the layers in float that need it: static quantization that loses least, and a search for what to keep."""

from __future__ import annotations

from pathlib import Path

from ...contract.measures import Interface
from ...contract.steps import Int8Static, MixedPrecision
from ..bench import Bench
from ..data.dataset import Dataset
from ..quantization.searching import Search
from . import int8_static
from .base import Made

_RECIPE = Int8Static(technique="int8_static", keep_float="auto")


def search(
    parent: Path,
    step: MixedPrecision,
    out: Path,
    calibration: Dataset | None,
    searching: Search,
    interface: Interface,
    bench: Bench,
) -> Made:
    return int8_static.search(
        parent, _RECIPE, out, calibration, searching, interface, bench, most=step.max_float_layers
    )
