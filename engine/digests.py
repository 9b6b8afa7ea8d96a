"""What a finished file is known by."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..contract.measures import FileDigest


def file_digest(path: Path, name: str | None = None) -> FileDigest:
    """SHA-256 and size in bytes of a file, under its own name unless another is given."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileDigest(name=name or path.name, sha256=sha256, bytes=path.stat().st_size)
