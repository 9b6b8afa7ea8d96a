"""The techniques of OPTIMIZE: one module each, named like the technique. Adding one is adding a file."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def technique(name: str) -> ModuleType:
    """The module that runs a technique; imported only now, for each brings its own frameworks. It is a
    `base.Technique`, a `base.SearchingTechnique`, a `base.TimedTechnique` or a `base.TrainedTechnique`."""
    return import_module(f"{__name__}.{name}")
