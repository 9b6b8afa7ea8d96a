"""The techniques of OPTIMIZE: one module each, named like the technique. Adding one is adding a file."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ...contract.steps import BUILT
from ..problems import JobProblem


def technique(name: str) -> ModuleType:
    """The module that runs a technique; imported only now, for each brings its own frameworks. It is a
    `base.Technique`, or a `base.TrainedTechnique`.

    Raises JobProblem UNAVAILABLE for one that this version does not have.
    """
    if name not in BUILT:
        raise JobProblem("UNAVAILABLE", f"the technique {name!r} is not built in this version; built: {sorted(BUILT)}")
    return import_module(f"{__name__}.{name}")
