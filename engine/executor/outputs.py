"""Reads what a worker wrote, as the hostile input that it is: regular files only, no links, a limit of size."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from ...contract.text import untrusted

LOG_TAIL = 2000
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_STACK = re.compile(r"\(most recent call (last|first)\)|^\s+File \"")
_BETWEEN_TRACEBACKS = re.compile(r"^(During handling of the above exception|The above exception was the direct cause)")


class UnsafeOutput(Exception):
    """A worker's file that is not for us to read; the message says why."""


def read_output(path: Path, limit: int) -> bytes:
    """The whole file. UnsafeOutput if it is absent, no regular file, or longer than `limit` bytes."""
    with _open(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UnsafeOutput(f"{path.name} is longer than {limit} bytes")
    return content


def read_tail(path: Path, size: int) -> bytes:
    """The last `size` bytes of a file. UnsafeOutput as above."""
    with _open(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read(size)


def log_tail(log: bytes) -> str:
    """The last lines of a log on one line of at most 2,000 characters: no control characters, no stack frames; the
    exceptions themselves stay."""
    kept: list[str] = []
    in_stack = False
    for line in re.split(r"[\r\n]+", _COLOUR.sub("", log.decode("utf-8", "replace"))):
        in_stack = bool(_STACK.search(line)) or (in_stack and line.startswith(" "))
        if not in_stack and line.strip() and not _BETWEEN_TRACEBACKS.match(line):
            kept.append(untrusted(line, LOG_TAIL))
    joined = " | ".join(kept)
    return joined if len(joined) <= LOG_TAIL else "…" + joined[1 - LOG_TAIL :]


def _open(path: Path) -> BinaryIO:
    # Without NONBLOCK a named pipe would hold us for ever.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise UnsafeOutput(f"{path.name} cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeOutput(f"{path.name} is no regular file")
    return os.fdopen(descriptor, "rb")
