"""What remembers how far each history went: signatures cannot show that the last events were deleted, or that an older
copy of the store was put back. It lies beside the signing key, out of reach of who can write to the workspace."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS seen(store TEXT, stream TEXT, seq INTEGER, PRIMARY KEY (store, stream)) WITHOUT ROWID"
)
_NOTE = "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)"


class Witness:
    """The number of events that each stream of each store was ever seen to have: it only grows. Any number of
    processes may share one."""

    def __init__(self, file: Path, store: Path):
        """Opens (or makes) the file, for one store. sqlite3.Error or OSError where it cannot be written."""
        self._store = str(store.resolve())
        self._turn = threading.Lock()
        file.touch(mode=0o600)
        self._db = sqlite3.connect(file, timeout=30, isolation_level=None, check_same_thread=False)
        # It may lag behind the store after a power cut: it says "at least so many".
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(_SCHEMA)

    def seen(self, stream: str) -> int:
        """How many events this stream had at least. Ask before the store is read, for others write meanwhile."""
        with self._turn:
            query = "SELECT seq FROM seen WHERE store = ? AND stream = ?"
            row = self._db.execute(query, (self._store, stream)).fetchone()
        return row[0] if row else 0

    def note(self, stream: str, seq: int) -> None:
        """Remembers that the stream has this many events."""
        with self._turn:
            self._db.execute(_NOTE, (self._store, stream, seq))

    def forget(self) -> None:
        """Begins anew for this store: a person says that what is there now is what counts."""
        with self._turn:
            self._db.execute("DELETE FROM seen WHERE store = ?", (self._store,))

    def close(self) -> None:
        self._db.close()
