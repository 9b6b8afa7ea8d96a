"""The append-only event store: SQLite in WAL mode, one row an event, each row carrying the hash of the one before and,
where the server has a key, a signature over its own hash: the last signature of a history vouches for all before it."""

from __future__ import annotations

import fcntl
import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ..contract.signing import SigningKey, flaw, sealed
from .events import Event, ends, parse
from .witness import Witness

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event(
    session TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, at TEXT NOT NULL, body TEXT NOT NULL,
    ends_job TEXT, previous TEXT NOT NULL, hash TEXT NOT NULL, signature TEXT,
    PRIMARY KEY (session, seq)) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS one_end_a_job ON event(session, ends_job) WHERE ends_job IS NOT NULL;
CREATE INDEX IF NOT EXISTS openings ON event(at) WHERE seq = 1;
"""
_BEFORE_SIGNATURES = "ALTER TABLE event ADD COLUMN signature TEXT"


class Conflict(Exception):
    """Another writer appended first, or had already recorded the end of this job: load again and judge again."""


class StoreError(Exception):
    """What is wrong with the store, in words for whoever runs it."""


class HistoryEdited(StoreError):
    """A stored event is not the one that was appended. The message ends with what can be done."""


class StoreFull(StoreError):
    """The disk has no room for another event; nothing was recorded."""


class StoreGone(StoreError):
    """The store's file is no longer where it was opened: what would be written now would be lost."""


class StoreUnusable(StoreError):
    """The store cannot be opened or read at all; the message says what the operator can do."""


class Recorded(NamedTuple):
    seq: int
    at: str
    event: Event


class Tip(NamedTuple):
    """The last event of a session that a reader has seen: where the next one must attach."""

    seq: int
    hash: str


class Resigned(NamedTuple):
    """What `sign_all` found: `broken` are the streams whose chain does not hold, which it left alone."""

    signed: int
    already: int
    broken: list[str]


class _Row(NamedTuple):
    seq: int
    at: str
    body: str
    previous: str
    hash: str
    signature: str | None


START = Tip(0, "")
_SIGN_ANEW = (
    "Nothing was changed or lost. Tell the operator: put the newest untouched copy of events.db back; or, if this history "
    "is to be trusted as it is now, a person runs `edgeopt sign`."
)


def _digest(previous: str, session: str, seq: int, at: str, body: str) -> str:
    return hashlib.sha256("\x00".join((previous, session, str(seq), at, body)).encode()).hexdigest()


def _statement(digest: str) -> bytes:
    """What a signature of an event is over. The digest covers the stream, the place in it and all that came before; the
    first words keep it from being taken for anything else that the key signs."""
    return f"edgeopt event {digest}".encode()


def _named(stream: str) -> str:
    """A stream in messages."""
    kind, _, digest = stream.partition(":")
    names = {"original": "the ledger of the original", "made": "the record of the variant"}
    return f"{names[kind]} {digest[:16]}" if kind in names else f"session {stream}"


def _remedy(stream: str) -> str:
    if ":" not in stream:
        return "It cannot be trusted: open a new session, and tell the operator."
    return "Nothing is judged by it: tell the operator to put the newest untouched copy of events.db back."


class Store:
    """Events by session. Any number of processes may share one store; each may be killed at any time.

    With a `key` every event is signed, and a history is read only where the key signed its last event. A `witness`
    remembers how long histories were.
    """

    def __init__(self, folder: Path, key: SigningKey | None = None, witness: Witness | None = None):
        """Opens (or makes) the store in `folder`.

        Raises:
            StoreUnusable: the folder or a file in it cannot be used, or the histories there are signed and no key is given.
        """
        self._key, self._witness = key, witness
        # One connection is one transaction: the threads of a process take turns.
        self._turn = threading.RLock()
        self._path = folder / "events.db"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Switching to WAL ignores the busy timeout: two servers that open a new store at once need this lock.
            with (folder / "events.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._db = self._opened()
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreUnusable(
                f"the workspace {folder} cannot be written ({reason}): make it writable for this user, or name another "
                "folder with --workspace"
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error
        file = self._path.stat()
        self._file = (file.st_dev, file.st_ino)
        if key is None and (signer := self._signer()):
            self._db.close()
            raise StoreUnusable(
                f"the histories in {self._path} are signed (key {signer}): give the key with --signing-key FILE, or in "
                "EDGEOPT_SIGNING_KEY"
            )

    def _opened(self) -> sqlite3.Connection:
        new = not self._path.exists()
        db = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
        if new:
            self._path.chmod(0o600)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.executescript(_SCHEMA)
        if "signature" not in {column[1] for column in db.execute("PRAGMA table_info(event)")}:
            db.execute(_BEFORE_SIGNATURES)
        return db

    def _unusable(self, error: sqlite3.DatabaseError) -> StoreUnusable:
        if "locked" in str(error):
            remedy = "another process has held it for long: try again"
        elif "readonly" in str(error) or "unable to open" in str(error):
            remedy = "make the workspace writable for this user, or name another folder with --workspace"
        else:
            remedy = "move it away and put a copy of the whole folder back, or name another folder with --workspace"
        return StoreUnusable(f"{self._path} cannot be used as the store of histories ({error}): {remedy}")

    def _signer(self) -> str | None:
        """The id of a key that signed anything here."""
        rows = self._select("SELECT signature FROM event WHERE signature IS NOT NULL LIMIT 1")
        return rows[0][0].partition(":")[0][:16] if rows else None

    def _select(self, query: str, *values: object) -> list[Any]:
        try:
            with self._turn:
                return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error

    def _check_there(self) -> None:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != self._file:
            raise StoreGone(f"the workspace's store {self._path} was deleted or replaced while the server ran")

    def close(self) -> None:
        self._db.close()
        if self._witness:
            self._witness.close()

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
        except sqlite3.DatabaseError as error:
            raise self._unusable(error) from error

    def append(self, session_id: str, tip: Tip, events: Sequence[Event]) -> Tip:
        """Appends all of `events` after `tip`, or none.

        Raises:
            Conflict: `tip` is no longer the end of the session, or a job's end is recorded already.
            StoreFull: no room.
            StoreGone: the file was deleted.
            StoreUnusable: the file is damaged.
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
        if self._witness:
            self._witness.note(session_id, tip.seq)
        return tip

    def _insert(self, session_id: str, tip: Tip, event: Event) -> Tip:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        body = event.model_dump_json()
        new = Tip(tip.seq + 1, _digest(tip.hash, session_id, tip.seq + 1, at, body))
        seal = sealed(self._key, _statement(new.hash)) if self._key else None
        try:
            self._db.execute(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (session_id, new.seq, event.kind, at, body, ends(event), tip.hash, new.hash, seal),
            )
        except sqlite3.IntegrityError as error:
            raise Conflict(f"session {session_id}: recorded already ({error})") from error
        return new

    def load(self, session_id: str, after: Tip = START) -> tuple[list[Recorded], Tip]:
        """The events after `after`, oldest first, and the new tip.

        Raises:
            HistoryEdited: the chain of hashes does not hold, or holds what this version cannot read; with a key, also
                where the last event is not signed with it, or where events are missing that were seen before.
            StoreUnusable: the file is damaged.
        """
        least = max(after.seq, self._witness.seen(session_id) if self._witness else 0)
        rows = self._rows(session_id, after.seq)
        tip = Tip(rows[-1].seq, rows[-1].hash) if rows else START
        if tip.seq < least:
            raise HistoryEdited(
                f"{_named(session_id)} ends with event {tip.seq}, and it had {least}: its last events were deleted, or an "
                f"older copy of the store was put back. {_SIGN_ANEW}"
            )
        if after != START and rows.pop(0).hash != after.hash:
            raise HistoryEdited(f"event {after.seq} of {_named(session_id)} was exchanged. {_remedy(session_id)}")
        self._check_chain(session_id, after, rows)
        if self._key and rows:
            self._check_signed(self._key, session_id, rows)
        return [self._recorded(session_id, row) for row in rows], tip

    def _rows(self, session_id: str, first: int) -> list[_Row]:
        """The rows from that number on; a reader's own last one is among them, to see that it is still there."""
        query = "SELECT seq, at, body, previous, hash, signature FROM event WHERE session = ? AND seq >= ? ORDER BY seq"
        return [_Row(*row) for row in self._select(query, session_id, first)]

    @staticmethod
    def _check_chain(session_id: str, tip: Tip, rows: list[_Row]) -> None:
        for row in rows:
            whole = row.seq == tip.seq + 1 and row.previous == tip.hash
            if not whole or row.hash != _digest(row.previous, session_id, row.seq, row.at, row.body):
                raise HistoryEdited(
                    f"event {row.seq} of {_named(session_id)} is not the one that was recorded. {_remedy(session_id)}"
                )
            tip = Tip(row.seq, row.hash)

    @staticmethod
    def _check_signed(key: SigningKey, session_id: str, rows: list[_Row]) -> None:
        """A signature vouches for every event before it too, so the last one is enough. If it is none of ours, the first
        event that nothing of ours vouches for is named; rather one with a foreign signature than one with none."""
        alien: list[tuple[_Row, str]] = []
        for row in reversed(rows):
            wrong = flaw(key.public, _statement(row.hash), row.signature)
            if wrong is None:
                break
            alien.insert(0, (row, wrong))
        if not alien:
            return
        row, wrong = next((found for found in alien if found[0].signature is not None), alien[0])
        raise HistoryEdited(
            f"event {row.seq} of {_named(session_id)} {wrong}, and this server's key is {key.public.id}: it was recorded "
            f"without that key, or before it was in force, or forged. {_SIGN_ANEW}"
        )

    @staticmethod
    def _recorded(session_id: str, row: _Row) -> Recorded:
        try:
            return Recorded(row.seq, row.at, parse(row.body))
        except ValidationError as error:
            raise HistoryEdited(
                f"event {row.seq} of {_named(session_id)} was written by another version of edgeopt. {_remedy(session_id)}"
            ) from error

    def session_ids(self, limit: int) -> list[str]:
        """The sessions, newest first."""
        # Other streams than sessions live here too: the ledgers of originals.
        query = "SELECT session FROM event WHERE seq = 1 AND kind = 'SessionOpened' ORDER BY at DESC LIMIT ?"
        return [row[0] for row in self._select(query, limit)]

    def sign_all(self) -> Resigned:
        """Signs the last event of every stream whose chain holds, as it is now, and begins the witness anew: for a person
        who says that these histories are to be trusted. Without a key: ValueError."""
        key = self._key
        if key is None:
            raise ValueError("signing needs a key")
        signed, already, broken = 0, 0, []
        if self._witness:
            self._witness.forget()
        with self._turn, self._transaction():
            for (stream,) in self._db.execute("SELECT DISTINCT session FROM event").fetchall():
                rows = self._rows(stream, 0)
                try:
                    self._check_chain(stream, START, rows)
                except HistoryEdited:
                    broken.append(_named(stream))
                    continue
                last = rows[-1]
                statement = _statement(last.hash)
                if flaw(key.public, statement, last.signature) is None:
                    already += 1
                else:
                    change = "UPDATE event SET signature = ? WHERE session = ? AND seq = ?"
                    self._db.execute(change, (sealed(key, statement), stream, last.seq))
                    signed += 1
                if self._witness:
                    self._witness.note(stream, last.seq)
        return Resigned(signed, already, broken)
