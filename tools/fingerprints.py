"""Digests of files and folders, remembered for as long as the file is provably the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..state.request import FileState

# The change time moves with every write and cannot be set back by the file's owner, unlike the modification time.
_Identity = tuple[int, int, int, int, int]


class Fingerprints:
    """SHA-256 of contents, hashed again only when inode, size, modification or change time differ."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Identity, str]] = {}

    def file(self, path: Path) -> str:
        """The digest of one file; OSError where it cannot be read."""
        if not path.is_file():  # a pipe that was put in its place would be waited for without end
            raise FileNotFoundError(f"{path} is no regular file")
        stat = path.stat()
        identity = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        known = self._known.get(path)
        if known and known[0] == identity:
            return known[1]
        with path.open("rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
        self._known[path] = (identity, digest)
        return digest

    def path(self, path: Path) -> str:
        """The digest of a file, or of a folder's relative names and contents."""
        if not path.is_dir():
            return self.file(path)
        whole = hashlib.sha256()
        for member in sorted(p for p in path.rglob("*") if p.is_file()):
            whole.update(f"{member.relative_to(path)}\0{self.file(member)}\n".encode())
        return whole.hexdigest()

    def state(self, path: str | None, digest: str | None) -> FileState:
        """Whether what lies at `path` is still what had this digest."""
        if path is None or digest is None:
            return "intact"
        try:
            return "intact" if self.path(Path(path)) == digest else "changed"
        except OSError:
            return "gone"
