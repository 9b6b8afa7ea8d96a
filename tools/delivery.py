"""Putting a finished package where the caller wants it: whole or not at all, and signed where the server has a key."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from ..contract.measures import Artifact, FileDigest, Package
from ..contract.signing import SigningKey
from ..contract.text import untrusted
from ..engine.digests import SIGNATURE, SIGNER, SUMS, sums
from ..engine.jobs import Packaged

_ADDED_BY_THE_WORKER = ("files", "verification")


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


def deliver(
    made: Path,
    place: Path,
    answer: Packaged,
    variant: Artifact,
    metadata: dict[str, Any],
    key: SigningKey | None = None,
) -> Package:
    """Copies the folder `made`, which must hold the file of `variant` and say `metadata` of it, beside `place`, signs it
    there, then renames it in one step.

    A server that died after the rename and before recording it finds the same package there, and records it.

    Raises:
        DeliveryFailed: the place was taken meanwhile, or holds no room.
    """
    files = _digests(made)
    if {f.name: f.sha256 for f in files} != {f.name: f.sha256 for f in answer.files}:
        raise DeliveryFailed("BAD_ANSWER", "The package's files are not those that the worker verified.")
    recorded = {(Path(path).name, sha256) for path, sha256 in variant.files}
    if not recorded <= {(f.name, f.sha256) for f in files}:
        message = f"The package does not hold the recorded files of {variant.variant_id}: they were changed meanwhile."
        raise DeliveryFailed("VARIANT_CHANGED", message)
    seal = _seal(made, files, metadata, key) if key else {}
    files = sorted([*files, *(_digest_of(name, content) for name, content in seal.items())], key=lambda f: f.name)
    words = untrusted(answer.verification, 400) + (f"; signed with key {key.public.id}" if key else "")
    package = Package(path=str(place), files=files, verified=answer.verified, verification=words)
    if place.is_dir() and any(place.iterdir()):
        if _same(_digests(place), files):
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
        for name, content in seal.items():
            (stage / name).write_bytes(content)
        stage.rename(place)
    except OSError as error:
        shutil.rmtree(stage, ignore_errors=True)
        if place.is_dir() and _same(_digests(place), files):  # another server delivered the same package meanwhile
            return package
        raise DeliveryFailed("DISK_SPACE", f"The package could not be written to {place}: {error}.") from error
    return package


def _same(some: list[FileDigest], others: list[FileDigest]) -> bool:
    return {f.name: f.sha256 for f in some} == {f.name: f.sha256 for f in others}


def _digest_of(name: str, content: bytes) -> FileDigest:
    return FileDigest(name=name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def _seal(made: Path, files: list[FileDigest], metadata: dict[str, Any], key: SigningKey) -> dict[str, bytes]:
    """The files that sign the package: what the key vouches for is written by a worker, so it is looked at first.

    Raises:
        DeliveryFailed: SHA256SUMS or metadata.json does not say what this server knows.
    """
    listed = sums(f for f in files if f.name != SUMS).encode()
    if (made / SUMS).read_bytes() != listed:
        raise DeliveryFailed("BAD_ANSWER", f"The package's {SUMS} does not list its files: it is not signed.")
    try:
        said = json.loads((made / "metadata.json").read_bytes())
        about = {name: value for name, value in said.items() if name not in _ADDED_BY_THE_WORKER}
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise DeliveryFailed("BAD_ANSWER", f"The package's metadata.json cannot be read ({error}).") from error
    if about != metadata:
        raise DeliveryFailed("BAD_ANSWER", "The package's metadata.json is not what the server gave: it is not signed.")
    return {SIGNATURE: key.sign(listed), SIGNER: key.public.pem()}
