"""What the tools work with: the settings, the event store, the executor and the sessions that have been read."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio

from ..contract.evaluation import Evaluation
from ..contract.measures import Stamp
from ..contract.signing import SigningKey
from ..engine.executor.base import Executor
from ..state.events import CallRefused, Event
from ..state.session import Session, fold
from ..state.store import START, Conflict, Store, Tip
from ..state.witness import Witness
from .answers import Refused, refuse
from .fingerprints import Fingerprints

log = logging.getLogger(__name__)
SESSION_ID = re.compile(r"s_[0-9a-f]{32}")


@dataclass(frozen=True)
class FixedEvaluation:
    """What the models of these paths (shell patterns; none: every model) are judged by. Its own paths are absolute."""

    evaluation: Evaluation
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Policy:
    """What the operator fixed; a caller cannot loosen it."""

    max_tolerance: float = 0.02
    evidence: Literal["proven", "point"] = "proven"
    decisions: Literal["chat", "terminal", "none"] = "chat"
    look_budget: int | None = None
    evaluations: tuple[FixedEvaluation, ...] = ()


@dataclass(frozen=True)
class Settings:
    """How this server was started. `witness`: the file that remembers how long signed histories were. `toolchains`: the
    folder of the converters that are installed apart."""

    workspace: Path
    allow_roots: tuple[Path, ...] = ()
    output_roots: tuple[Path, ...] = ()
    host_is: str | None = None
    policy: Policy = Policy()
    user_code: dict[Path, str] = field(default_factory=dict)
    allow_pickle: bool = False
    job_memory_mb: int = 4096
    job_minutes: float = 120
    toolchains: Path | None = None
    max_wait_s: float = 50
    signing_key: SigningKey | None = None
    witness: Path | None = None
    key_file: Path | None = None

    @property
    def secrets(self) -> list[str]:
        """The files that no worker may read: who has them can forge signatures, or a person's answers."""
        files = (self.key_file, self.workspace / "question.key")
        return [str(file) for file in files if file is not None]

    @property
    def readable(self) -> tuple[Path, ...]:
        """The folders below which models and data may be read."""
        return (*self.allow_roots, self.workspace)

    @property
    def writable(self) -> tuple[Path, ...]:
        """The folders below which packages may be written."""
        return (*self.output_roots, self.workspace)


def open_store(settings: Settings) -> Store:
    """The store of the workspace.

    Raises:
        StoreUnusable.
    """
    witness = None
    if settings.signing_key and settings.witness:
        try:
            witness = Witness(settings.witness, settings.workspace)
        except (sqlite3.Error, OSError) as error:
            log.warning(
                "%s cannot be written (%s): deleted ends of histories will not be noticed", settings.witness, error
            )
    return Store(settings.workspace, settings.signing_key, witness)


@dataclass
class Workshop:
    """One a server process. Sessions are folded once and then continued from their last event."""

    settings: Settings
    store: Store
    executor: Executor
    device_name: str
    threads: anyio.CapacityLimiter
    fingerprints: Fingerprints = field(default_factory=Fingerprints)
    _seen: dict[str, tuple[Session, Tip]] = field(default_factory=dict)

    def load(self, session_id: str) -> tuple[Session, Tip]:
        """The session as recorded now, and where its next event attaches.

        Raises:
            Refused: UNKNOWN_SESSION.
        """
        session, tip = self._seen.get(session_id, (None, START))
        recorded, tip = self.store.load(session_id, tip) if SESSION_ID.fullmatch(session_id) else ([], START)
        if session is None and not recorded:
            raise refuse(
                "UNKNOWN_SESSION",
                "There is no such session here. list_sessions (in a terminal: edgeopt sessions) shows those that there are.",
            )
        session = fold(recorded, session)
        self._seen[session_id] = (session, tip)
        return session, tip

    def record(self, session_id: str, tip: Tip, *events: Event) -> Session:
        """Appends events and returns the session with them; Conflict where another writer was first."""
        self.store.append(session_id, tip, events)
        return self.load(session_id)[0]

    def record_refusal(self, session: Session, tool: str, refused: Refused) -> None:
        """Puts a refusal into the session's history, wherever that history has got to by now."""
        refusal = refused.refusal
        event = CallRefused(tool=tool, code=refusal.code, message=refusal.message[:300])
        while True:
            _, tip = self.load(session.session_id)
            try:
                self.record(session.session_id, tip, event)
            except Conflict:
                continue
            return

    def folder(self, session_id: str) -> Path:
        return self.settings.workspace / "sessions" / session_id

    def job_folder(self, session_id: str, job_id: str) -> Path:
        return self.folder(session_id) / "jobs" / job_id

    def stamp(self, target_device: str) -> Stamp:
        """Where measurements of this server are taken, as seen by a session for `target_device`."""
        on_target = self.settings.host_is == target_device
        label = f"Target measurement ({target_device})" if on_target else "Host Estimate (not target hardware)"
        return Stamp(where="target" if on_target else "host_estimate", label=label, device=self.device_name)

    def disk_free_mb(self) -> float:
        return shutil.disk_usage(self.settings.workspace).free / 2**20


def local_owner() -> str:
    """The owner of what is opened over stdio: this user of this machine."""
    return f"uid:{os.getuid()}"
