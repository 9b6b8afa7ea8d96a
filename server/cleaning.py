"""Removing what failed and interrupted jobs left behind."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ..state.events import JobFailed
from ..state.store import HistoryEdited
from ..tools.recording import reconcile
from ..tools.workshop import Workshop


def leftovers(shop: Workshop) -> list[Path]:
    """Folders that no variant, package or running job needs: those of failed jobs, and of inspections that are over."""
    found: list[Path] = []
    for session_id in shop.store.session_ids(1_000_000):
        try:
            session = reconcile(shop, session_id, reading=True)
        except HistoryEdited:
            continue  # evidence: nothing of a session whose history was edited is thrown away
        failed = [job_id for job_id, end in session.ended.items() if isinstance(end, JobFailed)]
        found += [f for f in (shop.job_folder(session_id, job_id) for job_id in failed) if f.exists()]
    inspections = shop.settings.workspace / "inspections"
    if inspections.is_dir():
        found += [f for f in inspections.iterdir() if shop.executor.poll(f).state in ("over", "waiting", "absent")]
    return found


def _megabytes(folder: Path) -> float:
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20


def clean_workspace(shop: Workshop, *, yes: bool) -> None:
    """Says what would go, asks on a terminal, removes it."""
    found = leftovers(shop)
    if not found:
        print("Nothing to clean.")
        return
    print(f"{len(found)} folders of failed or interrupted jobs, {sum(map(_megabytes, found)):.1f} MB.")
    if not yes and not (sys.stdin.isatty() and input("Remove them? [y/N] ").strip().lower() == "y"):
        raise SystemExit("edgeopt: nothing was removed. Say --yes to remove them.")
    for folder in found:
        shutil.rmtree(folder)
    print("Removed.")
