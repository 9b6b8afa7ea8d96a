"""`edgeopt doctor`: what works on this machine, and what to install for what does not."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .. import __version__
from ..drawing import png
from ..engine.requirements import CONVERTERS
from ..engine.runtimes.catalog import RUNTIMES, installed, missing, version
from ..engine.sandbox import capabilities
from ..engine.toolchains.catalog import TOOLCHAINS, version_of
from ..state.store import StoreUnusable
from ..tools.workshop import open_store
from .machine import device_name, nvidia_gpu
from .settings import BadSettings, machine_memory_mb, settings, toolchains_folder

CORE = ("mcp", "numpy", "scipy", "onnx", "onnxruntime", "onnxsim", "pillow", "cryptography")
# Of the table, where no line of it is broken.
TABLE_WIDTH = 110


class Row(NamedTuple):
    """`install`: what a person types to have it, where it is not here."""

    what: str
    version: str | None
    does: str
    install: str


def _rows(folder: Path) -> Iterator[Row]:
    """`folder`: where the toolchains lie."""
    for format, runtime in RUNTIMES.items():
        extra = f"'edgeopt[{runtime.extra}]'" if runtime.extra else "edgeopt"
        yield Row(runtime.distribution, installed(runtime), f"runs {format} models", f"pip install {extra}")
    for converter in CONVERTERS:
        install = f"pip install 'edgeopt[{converter.extra}]'"
        yield Row(converter.distribution, version(converter.distribution), converter.does, install)
    for chain in TOOLCHAINS.values():
        yield Row(chain.name, version_of(chain, folder), f"converts {chain.purpose}", chain.command)
    for name in CORE:
        if name != RUNTIMES["onnx"].distribution:
            yield Row(name, version(name), "is of the core", "pip install edgeopt")


def _table(folder: Path) -> Table:
    table = Table("What", "Version", "What it does", "To have it", box=SIMPLE, pad_edge=False)
    for row in _rows(folder):
        install = "" if row.version else escape(row.install)
        table.add_row(row.what, row.version or "missing", row.does, install)
    return table


def _gpu() -> str:
    """Whether engines could be built here."""
    gpu = nvidia_gpu()
    if gpu is None:
        return "No NVIDIA GPU here: TensorRT engines are built and run on a machine that has one."
    if lacking := missing("tensorrt"):
        return f"{gpu}, but {lacking}."
    return f"{gpu}: TensorRT engines that are built here run on machines like this one alone."


def _workspace(workspace: Path | None, signing_key: Path | None) -> tuple[bool, str]:
    """Whether the workspace can be used, and what is there."""
    try:
        chosen = settings(workspace, signing_key=signing_key)
        if not (chosen.workspace / "events.db").exists():
            return True, f"Workspace {chosen.workspace}: not made yet."
        store = open_store(chosen)
        sessions = len(store.session_ids(1_000_000))
        store.close()
    except (BadSettings, StoreUnusable) as error:
        return False, f"Workspace: {error}."
    signed = f"signed with key {chosen.signing_key.public.id}" if chosen.signing_key else "not signed (--signing-key)"
    return True, f"Workspace {chosen.workspace}: {sessions} sessions, {signed}."


def examine(workspace: Path | None = None, signing_key: Path | None = None) -> int:
    """Prints what is here; 0 where all of the core is and the workspace can be used."""
    console = Console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(f"edgeopt {__version__}, Python {platform.python_version()}, {device_name()}")
    console.print(f"A job may use {machine_memory_mb()} MB by default (--job-memory).")
    try:
        console.print(_table(toolchains_folder()))
    except BadSettings as error:
        console.print(f"Toolchains: {error}.", markup=False)
        return 1
    console.print(_gpu(), markup=False, highlight=False)
    held = capabilities()
    console.print(f"Sandbox of workers: {', '.join(f'{k}: {v}' for k, v in held.items())}")
    if not held.get("landlock"):
        console.print(
            "No Landlock here: the original is protected by its fingerprint alone. A Linux kernel of 5.13 or later has it."
        )
    if lacks := png.lacking():
        console.print(f"Pictures as PNG, beside the SVG: {lacks}", markup=False, highlight=False)
    usable, words = _workspace(workspace, signing_key)
    console.print(words, markup=False, highlight=False)
    return 0 if usable and all(version(name) for name in CORE) else 1
