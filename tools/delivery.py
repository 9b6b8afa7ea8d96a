"""Putting a finished package where the caller wants it: whole or not at all."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from pathlib import Path

from ..contract.measures import Artifact, FileDigest, Package
from ..contract.text import untrusted
from ..engine.jobs import Packaged


class DeliveryFailed(Exception):
    """The package could not be put in its place; `code` is what the job's failure is recorded as."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


def _digests(folder: Path) -> list[FileDigest]:
    """Every file below `folder`, with its digest; DeliveryFailed where a worker left anything but regular files."""
    found: list[FileDigest] = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise DeliveryFailed("BAD_ANSWER", f"The package holds {path.name!r}, which is no regular file.")
        if path.is_file():
            with path.open("rb") as f:
                digest = hashlib.file_digest(f, "sha256").hexdigest()
            found.append(FileDigest(name=str(path.relative_to(folder)), sha256=digest, bytes=path.stat().st_size))
    return found


def deliver(made: Path, place: Path, answer: Packaged, variant: Artifact) -> Package:
    """Copies the folder `made`, which must hold the file of `variant`, beside `place`, then renames it there in one step.

    A server that died after the rename and before recording it finds the same package there, and records it.

    Raises:
        DeliveryFailed: the place was taken meanwhile, or holds no room.
    """
    files = _digests(made)
    if {f.name: f.sha256 for f in files} != {f.name: f.sha256 for f in answer.files}:
        raise DeliveryFailed("BAD_ANSWER", "The package's files are not those that the worker verified.")
    if (Path(variant.path).name, variant.sha256) not in {(f.name, f.sha256) for f in files}:
        message = f"The package does not hold the recorded file of {variant.variant_id}: it was changed meanwhile."
        raise DeliveryFailed("VARIANT_CHANGED", message)
    words = untrusted(answer.verification, 500)
    package = Package(path=str(place), files=files, verified=answer.verified, verification=words)
    if place.is_dir() and any(place.iterdir()):
        if _digests(place) == files:
            return package
        raise DeliveryFailed("PATH_NOT_ALLOWED", f"The folder {place} has been filled meanwhile. Name a new one.")
    if place.parent.resolve() != place.parent:
        raise DeliveryFailed(
            "PATH_NOT_ALLOWED", f"A link has been put on the way to {place} meanwhile. Name a new folder."
        )
    # A name of its own: two calls that wait for the job, in one server or two, may deliver at once.
    stage = place.with_name(f".{place.name}.edgeopt-{secrets.token_hex(4)}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(stage, ignore_errors=True)
        shutil.copytree(made, stage)
        stage.rename(place)
    except OSError as error:
        shutil.rmtree(stage, ignore_errors=True)
        if place.is_dir() and _digests(place) == files:  # another server delivered the same package meanwhile
            return package
        raise DeliveryFailed("DISK_SPACE", f"The package could not be written to {place}: {error}.") from error
    return package
