"""The file with the signing key: made once, read only where nobody else can read it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..contract.signing import NoKey, SigningKey, new_key, signing_key

MAKE_ONE = "make one with `edgeopt key FILE` or `openssl genpkey -algorithm ed25519 -out FILE`"


class BadKey(Exception):
    """The file cannot be used as a key; the message says what to change."""


def read_key(path: Path) -> SigningKey:
    """The secret in `path`.

    Raises:
        BadKey: the file cannot be read, others may read or change it, or it holds no Ed25519 key.
    """
    try:
        # Without NONBLOCK a named pipe would hold us for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadKey(f"the key file {path} cannot be read ({error.strerror}): {MAKE_ONE}") from error
    try:
        _check_private(path, os.fstat(descriptor))
        content = os.read(descriptor, 1 << 16)
    finally:
        os.close(descriptor)
    try:
        return signing_key(content)
    except NoKey as error:
        raise BadKey(f"the key file {path} cannot be used: {error}; {MAKE_ONE}") from error


def _check_private(path: Path, about: os.stat_result) -> None:
    """Raises BadKey where anybody else may read the file or change it."""
    if not stat.S_ISREG(about.st_mode):
        raise BadKey(f"the key file {path} is no regular file: {MAKE_ONE}")
    if about.st_mode & 0o077:
        mode = stat.S_IMODE(about.st_mode)
        raise BadKey(f"the key file {path} is open to others (mode {mode:04o}): run chmod 600 {path}")
    if about.st_uid not in (0, os.geteuid()):
        raise BadKey(f"the key file {path} belongs to another user, who can read it: it must be this user's or root's")


def witness_of(path: Path) -> Path:
    """Where it is remembered how long the histories were that this key signed."""
    return path.with_name(f"{path.name}.witness")


def make_key(path: Path) -> SigningKey:
    """Writes a new secret to `path`, for this user alone.

    Raises:
        BadKey: something is there already, or it cannot be written.
    """
    key = new_key()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.pem())
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise BadKey(f"the key cannot be written to {path}: {error.strerror}") from error
    return key
