"""`edgeopt doctor`: what works on this machine, and what to install for what does not."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .. import __version__
from ..engine.sandbox import capabilities
from ..state.store import StoreUnusable
from ..tools.workshop import open_store
from .machine import device_name
from .settings import BadSettings, machine_memory_mb, settings

CORE = ("mcp", "numpy", "scipy", "onnx", "onnxruntime", "onnxsim", "pillow", "cryptography")
EXTRAS = {
    "torch": "torch",
    "tensorflow": "tensorflow",
    "ai-edge-litert": "tflite",
    "openvino": "openvino",
    "nncf": "openvino",
    "tensorrt": "tensorrt",
}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


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
    console.print(f"edgeopt {__version__}, Python {platform.python_version()}, {device_name()}")
    console.print(f"A job may use {machine_memory_mb()} MB by default (--job-memory).")
    table = Table("What", "Version", "Remark")
    missing = [name for name in CORE if _version(name) is None]
    for name in CORE:
        table.add_row(name, _version(name) or "missing", "" if _version(name) else "pip install edgeopt")
    for name, extra in EXTRAS.items():
        version = _version(name)
        remark = "not used by this version yet" if version else f"optional, for a later version: edgeopt\\[{extra}]"
        table.add_row(name, version or "not installed", remark)
    console.print(table)
    held = capabilities()
    sandbox = ", ".join(f"{k}: {v}" for k, v in held.items())
    console.print(f"Sandbox of workers: {sandbox}")
    if not held.get("landlock"):
        console.print(
            "No Landlock here: the original is protected by its fingerprint alone. A Linux kernel of 5.13 or later has it."
        )
    usable, words = _workspace(workspace, signing_key)
    console.print(words, markup=False, highlight=False)
    return 1 if missing or not usable else 0
