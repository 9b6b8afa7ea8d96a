"""The workshop of a command that works on a workspace without serving it."""

from __future__ import annotations

from pathlib import Path

import anyio

from ..engine.executor.local import LocalExecutor
from ..state.store import StoreUnusable
from ..tools.workshop import Workshop, open_store
from .machine import device_name
from .settings import BadSettings, settings


def open_workshop(workspace: Path | None, signing_key: Path | None = None) -> Workshop:
    """The workshop of `workspace`, which must be there already."""
    try:
        chosen = settings(workspace, signing_key=signing_key)
    except BadSettings as error:
        raise SystemExit(f"edgeopt: {error}") from error
    if not (chosen.workspace / "events.db").exists():
        raise SystemExit(f"edgeopt: there is no workspace at {chosen.workspace}. Name it with --workspace.")
    try:
        store = open_store(chosen)
    except StoreUnusable as error:
        raise SystemExit(f"edgeopt: {error}") from error
    return Workshop(chosen, store, LocalExecutor(), device_name(), anyio.CapacityLimiter(1))
