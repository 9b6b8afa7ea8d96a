"""Installing a toolchain: a virtual environment with exactly the locked versions, there whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .catalog import RECORD, Toolchain, is_current, python_in
from .child import run_child

Say = Callable[[str], None]

_NETWORK_WORDS = (
    "Max retries exceeded",
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ProxyError",
)
_DISK_WORDS = ("No space left on device", "Disk quota exceeded")


class NotInstalled(Exception):
    """Nothing was installed, or removed; the message says why and what to do."""


def install(chain: Toolchain, folder: Path, say: Say) -> Path:
    """Installs a toolchain below `folder`, unless it is there, and returns its own folder.

    It is made under another name and tried before it gets its own: whoever finds it finds it whole. Raises NotInstalled.
    """
    place = folder / chain.name
    _check_python(chain)
    with _alone(chain, folder):
        if place.exists() and not (place / RECORD).exists():
            raise NotInstalled(
                f"{place} exists and is no toolchain: move it away, or name another folder with EDGEOPT_TOOLCHAINS."
            )
        if is_current(chain, place):
            say(f"{chain.name} {chain.version} is installed already, in {place}.")
            return place
        _check_room(chain, folder)
        with tempfile.TemporaryDirectory(prefix=_prefix(chain), dir=folder) as scratch:
            made = _make(chain, Path(scratch), say)
            if place.exists():  # an earlier version's; what runs in it now fails, and can be run again
                place.rename(Path(scratch) / "earlier")
            made.rename(place)
    say(f"{chain.name} {chain.version} is installed in {place}.")
    return place


def remove(chain: Toolchain, folder: Path) -> None:
    """Raises NotInstalled where there is nothing to remove."""
    place = folder / chain.name
    if not place.exists():
        raise NotInstalled(f"there is no toolchain {chain.name} in {folder}.")
    with _alone(chain, folder), tempfile.TemporaryDirectory(prefix=_prefix(chain), dir=folder) as scratch:
        # Away in one step: a half-deleted one must not be found under its name.
        place.rename(Path(scratch) / "removed")


def _prefix(chain: Toolchain) -> str:
    return f".{chain.name}."


@contextmanager
def _alone(chain: Toolchain, folder: Path) -> Iterator[None]:
    """Holds the folder's lock, and clears away what an installation that was killed left behind."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a")
    except OSError as error:
        raise NotInstalled(
            f"the folder {folder} cannot be written ({error.strerror}): name another with EDGEOPT_TOOLCHAINS."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise NotInstalled(
                f"another edgeopt is at work in {folder}: wait until it has finished, then try again."
            ) from None
        for litter in folder.glob(f"{_prefix(chain)}*"):
            shutil.rmtree(litter, ignore_errors=True)
        yield


def _check_python(chain: Toolchain) -> None:
    if sys.version_info[:2] > chain.newest_python:
        newest = ".".join(map(str, chain.newest_python))
        raise NotInstalled(
            f"{chain.name} has no packages for Python {platform.python_version()}: install edgeopt with Python {newest}"
            " or older, and this with it."
        )


def _check_room(chain: Toolchain, folder: Path) -> None:
    free_mb = shutil.disk_usage(folder).free >> 20
    if free_mb < chain.room_mb:
        raise NotInstalled(
            f"{chain.name} takes up to {chain.room_mb} MB while it is installed, and {folder} has {free_mb} MB free: free"
            " some space, or name a folder on another disk with EDGEOPT_TOOLCHAINS."
        )


def _make(chain: Toolchain, scratch: Path, say: Say) -> Path:
    """The finished environment, under a name of its own."""
    made, unpacking = scratch / "made", scratch / "tmp"
    unpacking.mkdir()
    # pip unpacks where there was found to be room, not in a /tmp that may be small.
    environment = {**os.environ, "TMPDIR": str(unpacking), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    say(f"Making an environment for {chain.name} {chain.version} (Python {platform.python_version()}).")
    _run([sys.executable, "-m", "venv", str(made)], environment, _silent, "its environment could not be made")
    pip = [str(python_in(made)), "-I", "-m", "pip"]
    fetch = [*pip, "install", "--no-cache-dir", "--only-binary", ":all:", "--retries", "2", "--progress-bar", "off"]
    count = sum("==" in line for line in chain.lock.read_text(encoding="utf-8").splitlines() if line[:1] not in "# ")
    follow = _Progress(count + len(chain.requirements), say)
    locked = [*fetch, "--no-deps", "--require-hashes", "-r", str(chain.lock)]
    _run(locked, environment, follow.line, "its packages could not be installed")
    if chain.requirements:
        _run([*fetch, *chain.requirements], environment, follow.line, "its packages could not be installed")
    say("Trying it.")
    _run([*pip, "check"], environment, _silent, "its packages do not go together")
    trial = [str(python_in(made)), "-I", "-c", f"import {chain.module}"]
    _run(trial, environment, _silent, f"it does not run on this machine: {chain.module} cannot be imported")
    record = {"locked": chain.locked, "version": chain.version, "python": platform.python_version()}
    (made / RECORD).write_text(json.dumps(record), encoding="utf-8")
    return made


def _run(command: list[str], environment: Mapping[str, str], follow: Say, problem: str) -> None:
    """Runs a command and hands on what it prints, a line at a time. NotInstalled, with its last words, where it fails."""
    returncode, last = run_child(command, environment, follow)
    if returncode:
        raise NotInstalled(f"nothing was installed: {problem}. {_reason(last)}")


def _reason(last: list[str]) -> str:
    said = "\n".join(last)
    if any(words in said for words in _DISK_WORDS):
        return "The disk is full: free some space, then try again."
    if any(words in said for words in _NETWORK_WORDS):
        return "The package index cannot be reached: check the network (or pip's index-url and proxy), then try again."
    if "ensurepip" in said:
        return "This Python has no ensurepip: install it (Debian, Ubuntu: apt install python3-venv), then try again."
    errors = [line for line in last if line.startswith("ERROR")] or last[-8:]
    return "The last words were:\n" + "\n".join(errors)


def _silent(_line: str) -> None:
    """What a quick command prints matters only where it fails."""


class _Progress:
    """Says how many packages of how many were fetched, as pip goes through them."""

    def __init__(self, total: int, say: Say):
        self._total, self._say, self._done = total, say, 0

    def line(self, line: str) -> None:
        what, _, package = line.strip().partition(" ")
        if what in ("Collecting", "Processing"):
            self._done = min(self._done + 1, self._total)
            self._say(f"  {self._done}/{self._total} {Path(package.split(' ')[0]).name}")
        elif line.startswith("Installing collected packages"):
            self._say("  unpacking")
