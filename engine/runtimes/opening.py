"""Which runtime opens a model: the one of its format."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from ..models.formats import sniff
from .catalog import RUNTIMES
from .session import NotLoadable, Session


class RuntimeModule(Protocol):
    def open_session(self, path: Path, threads: int, cores: Sequence[int] = ()) -> Session: ...


def open_session(path: str | Path, threads: int, cores: Sequence[int] = ()) -> Session:
    """Loads a model on the CPU with `threads` threads, each on a core of its own where `cores` are given.

    Raises NotLoadable; ModuleNotFoundError where the runtime is not installed (`catalog.missing` has words for it).
    """
    found = sniff(Path(path))
    if found.format not in RUNTIMES:
        raise NotLoadable(f"no runtime opens a {found.what}")
    return load_runtime(found.format).open_session(Path(path), threads, cores)


def load_runtime(format: str) -> RuntimeModule:
    """The module of a format's runtime, and with it the runtime itself."""
    return cast(RuntimeModule, import_module(f".{RUNTIMES[format].module}", __package__))
