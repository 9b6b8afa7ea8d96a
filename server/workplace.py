"""The workshop of a command that works on a workspace without serving it."""

from __future__ import annotations

from pathlib import Path

import anyio

from ..engine.executor.local import LocalExecutor
from ..state.store import Store
from ..tools.workshop import Workshop
from .machine import device_name
from .settings import BadSettings, settings


def open_workshop(workspace: Path | None) -> Workshop:
    """The workshop of `workspace`, which must be there already."""
    try:
        chosen = settings(workspace)
    except BadSettings as error:
        raise SystemExit(f"edgeopt: {error}") from error
    if not (chosen.workspace / "events.db").exists():
        raise SystemExit(f"edgeopt: there is no workspace at {chosen.workspace}. Name it with --workspace.")

    return Workshop(chosen, Store(chosen.workspace), LocalExecutor(), device_name(), anyio.CapacityLimiter(1))
