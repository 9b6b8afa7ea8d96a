"""What a finished file is known by, and a folder of them: its SHA256SUMS, which the server may sign."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ..contract.measures import FileDigest

SUMS = "SHA256SUMS"
# Over the bytes of SHA256SUMS, as openssl signs and verifies them; and the public key, which says by whom.
SIGNATURE, SIGNER = f"{SUMS}.sig", f"{SUMS}.pub"


def sums(files: Iterable[FileDigest]) -> str:
    """The content of SHA256SUMS over these files, as `sha256sum -c` reads it."""
    return "".join(f"{file.sha256}  {file.name}\n" for file in files)


def file_digest(path: Path, name: str | None = None) -> FileDigest:
    """SHA-256 and size in bytes of a file, under its own name unless another is given."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return FileDigest(name=name or path.name, sha256=sha256, bytes=path.stat().st_size)
