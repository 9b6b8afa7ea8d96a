"""Which paths may be read and written: judged after every symbolic link is resolved."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..contract.places import is_the_originals
from ..contract.text import untrusted
from .answers import refuse
from .workshop import Settings

# What the server itself keeps in the workspace, by the beginning of its name.
_OWN = ("sessions", "inspections", "events.", "question.key")


def is_below(path: Path, roots: tuple[Path, ...]) -> bool:
    """Whether the resolved `path` is one of `roots` or lies below one."""
    return any(path == root or root in path.parents for root in (r.resolve() for r in roots))


def real_path(given: str, what: str) -> Path:
    """`given` with every link and `..` resolved, whether or not anything is there.

    Raises:
        Refused: INVALID_ARGUMENT where it is no path; BAD_FILE where it cannot be followed.
    """
    if "\0" in given or len(given) > 4096:
        raise refuse("INVALID_ARGUMENT", f"The {what}'s path is not a path.")
    _must_be_printable(given, what)
    try:
        path = Path(given).expanduser().resolve()
        path.exists()
    except (OSError, RuntimeError) as error:
        reason = untrusted(str(error), 200)
        raise refuse("BAD_FILE", f"The {what}'s path cannot be followed ({reason}). Check the path.") from error
    _must_be_printable(str(path), what)  # where links lead, too
    return path


def _must_be_printable(path: str, what: str) -> None:
    """A path is shown to agents and people as it stands, in answers, reports and on terminals: INVALID_ARGUMENT for one
    that could start a new line there, or steer the terminal."""
    if not path.isprintable():
        raise refuse(
            "INVALID_ARGUMENT",
            f"The {what}'s path {untrusted(path, 300)!r} holds line breaks, control or other characters that cannot be "
            "shown. Rename the file or its folder.",
        )


def shown(path: Path) -> str:
    """A path that a caller gave, fit for a message."""
    return untrusted(str(path), 300)


def readable(settings: Settings, given: str, what: str) -> Path:
    """The real path of a model or data set that may be read.

    Raises:
        Refused: PATH_NOT_ALLOWED outside the roots; BAD_FILE where there is nothing.
    """
    path = real_path(given, what)
    if not is_below(path, settings.readable):
        roots = ", ".join(str(r) for r in settings.allow_roots) or "none"
        raise refuse(
            "PATH_NOT_ALLOWED",
            f"The {what} {shown(path)} lies outside the allowed roots ({roots}). Move it below one, or have the server "
            "started with --allow-root for its folder.",
        )
    if not path.exists():
        raise refuse("BAD_FILE", f"The {what} {shown(path)} does not exist. Check the path.")
    return path


def output(
    settings: Settings, given: str, original: Path
) -> tuple[Path, Literal["outside", "occupied", "original"] | None]:
    """Where a package may be written, and what is wrong with it otherwise.

    Raises:
        Refused: INVALID_ARGUMENT or BAD_FILE where it is no path at all.
    """
    path = real_path(given, "output folder")
    if is_the_originals(path, original):
        return path, "original"
    if not is_below(path, settings.writable) or path in settings.writable or _is_the_servers_own(settings, path):
        return path, "outside"
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        return path, "occupied"
    return path, None


def _is_the_servers_own(settings: Settings, path: Path) -> bool:
    """Whether a folder there would get in the way of the store (a folder `events.db-journal` breaks it) or of jobs."""
    workspace = settings.workspace.resolve()
    return is_below(path, (workspace,)) and path.relative_to(workspace).parts[0].startswith(_OWN)
