"""The append-only event store: SQLite in WAL mode, one row an event, each row carrying the hash of the one before."""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from .events import Event, ends, parse

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event(
    session TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, at TEXT NOT NULL, body TEXT NOT NULL,
    ends_job TEXT, previous TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY (session, seq)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS one_end_a_job ON event(session, ends_job) WHERE ends_job IS NOT NULL;
CREATE INDEX IF NOT EXISTS openings ON event(at) WHERE seq = 1;
"""


class Conflict(Exception):
    """Another writer appended first, or had already recorded the end of this job: load again and judge again."""


class HistoryEdited(Exception):
    """A stored event is not the one that was appended."""


class StoreFull(Exception):
    """The disk has no room for another event; nothing was recorded."""


class StoreGone(Exception):
    """The store's file is no longer where it was opened: what would be written now would be lost."""


class Recorded(NamedTuple):
    seq: int
    at: str
    event: Event


class Tip(NamedTuple):
    """The last event of a session that a reader has seen: where the next one must attach."""

    seq: int
    hash: str


START = Tip(0, "")


def _digest(previous: str, session: str, seq: int, at: str, body: str) -> str:
    return hashlib.sha256("\x00".join((previous, session, str(seq), at, body)).encode()).hexdigest()


class Store:
    """Events by session. Any number of processes may share one store; each may be killed at any time."""

    def __init__(self, folder: Path):
        """Opens (or makes) the store in `folder`."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / "events.db"
        # One connection is one transaction: the threads of a process take turns.
        self._turn = threading.RLock()
        # Switching to WAL ignores the busy timeout: two servers that open a new store at once need this lock.
        with (folder / "events.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new = not path.exists()
            self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
            if new:
                path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        file = path.stat()
        self._path, self._file = path, (file.st_dev, file.st_ino)

    def _check_there(self) -> None:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != self._file:
            raise StoreGone(f"the workspace's store {self._path} was deleted or replaced while the server ran")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if "full" in str(error) or "disk I/O" in str(error):
                raise StoreFull(f"the workspace's disk has no room for another event ({error})") from error
            raise

    def append(self, session_id: str, tip: Tip, events: Sequence[Event]) -> Tip:
        """Appends all of `events` after `tip`, or none.

        Raises:
            Conflict: `tip` is no longer the end of the session, or a job's end is recorded already.
            StoreFull: no room.
            StoreGone: the file was deleted.
        """
        self._check_there()
        with self._turn, self._transaction():
            row = self._db.execute(
                "SELECT seq, hash FROM event WHERE session = ? ORDER BY seq DESC LIMIT 1", (session_id,)
            ).fetchone()
            if (Tip(row[0], row[1]) if row else START) != tip:
                raise Conflict(f"session {session_id} has moved on")
            for event in events:
                tip = self._insert(session_id, tip, event)
        return tip

    def _insert(self, session_id: str, tip: Tip, event: Event) -> Tip:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        body = event.model_dump_json()
        new = Tip(tip.seq + 1, _digest(tip.hash, session_id, tip.seq + 1, at, body))
        try:
            self._db.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (session_id, new.seq, event.kind, at, body, ends(event), tip.hash, new.hash),
            )
        except sqlite3.IntegrityError as error:
            raise Conflict(f"session {session_id}: recorded already ({error})") from error
        return new

    def load(self, session_id: str, after: Tip = START) -> tuple[list[Recorded], Tip]:
        """The events after `after`, oldest first, and the new tip.

        Raises:
            HistoryEdited: the chain of hashes does not hold, or holds what this version cannot read.
        """
        with self._turn:
            rows: list[tuple[int, str, str, str, str]] = self._db.execute(
                "SELECT seq, at, body, previous, hash FROM event WHERE session = ? AND seq > ? ORDER BY seq",
                (session_id, after.seq),
            ).fetchall()
        found: list[Recorded] = []
        tip = after
        for seq, at, body, previous, digest in rows:
            whole = seq == tip.seq + 1 and previous == tip.hash
            if not whole or digest != _digest(previous, session_id, seq, at, body):
                raise HistoryEdited(f"event {seq} of session {session_id} is not the one that was recorded")
            try:
                found.append(Recorded(seq, at, parse(body)))
            except ValidationError as error:
                raise HistoryEdited(
                    f"event {seq} of session {session_id} was written by another version of edgeopt"
                ) from error
            tip = Tip(seq, digest)
        return found, tip

    def session_ids(self, limit: int) -> list[str]:
        """The sessions, newest first."""
        with self._turn:
            # Other streams than sessions live here too: the ledgers of originals.
            query = "SELECT session FROM event WHERE seq = 1 AND kind = 'SessionOpened' ORDER BY at DESC LIMIT ?"
            rows = self._db.execute(query, (limit,))
            return [row[0] for row in rows.fetchall()]
