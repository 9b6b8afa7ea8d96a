"""`edgeopt toolchain`: installing, listing and removing the converters that live in environments of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from ..autopilot.live import Waiting
from ..engine.toolchains.catalog import TOOLCHAINS, Toolchain, version_of
from ..engine.toolchains.installing import NotInstalled, install, remove
from .cli import fail
from .settings import BadSettings, toolchains_folder

_COUNTED = re.compile(r"(\d+)/(\d+) (.+)")


def install_toolchain(name: str) -> None:
    chain, folder = _named(name), _folder()
    try:
        # Packages differ by a factor of thousands in size: a time left would be a guess.
        with Waiting(Console(stderr=True), f"installing {name}", estimates=False) as waiting:
            install(chain, folder, _told_to(waiting))
    except NotInstalled as error:
        fail(str(error))


def remove_toolchain(name: str) -> None:
    chain, folder = _named(name), _folder()
    try:
        remove(chain, folder)
    except NotInstalled as error:
        fail(str(error))
    print(f"{name} is removed.")


def print_toolchains() -> None:
    folder = _folder()
    print(f"Toolchains in {folder}:")
    for chain in TOOLCHAINS.values():
        version = version_of(chain, folder)
        state = f"{version} is installed" if version else f"not installed ({chain.room_mb} MB): {chain.command}"
        print(f"  {chain.name:<13} {chain.purpose:<25} {state}")


def _named(name: str) -> Toolchain:
    if name not in TOOLCHAINS:
        fail(f"there is no toolchain {name!r}: {' or '.join(TOOLCHAINS)}.", 2)
    return TOOLCHAINS[name]


def _folder() -> Path:
    try:
        return toolchains_folder()
    except BadSettings as error:
        fail(str(error), 2)


def _told_to(waiting: Waiting) -> Callable[[str], None]:
    """What is fetched moves the live line where there is one; all else, and all where there is none, is printed."""

    def say(line: str) -> None:
        counted = _COUNTED.fullmatch(line.strip())
        if counted and waiting.live:
            done, total, package = counted.groups()
            waiting.goes_on(int(done) / int(total), f"{done} of {total} packages, {package}")
        else:
            print(line, flush=True)

    return say
