"""Which paths may be read and written: judged after every symbolic link is resolved."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .answers import refuse
from .workshop import Settings


def is_below(path: Path, roots: tuple[Path, ...]) -> bool:
    """Whether the resolved `path` is one of `roots` or lies below one."""
    return any(path == root or root in path.parents for root in (r.resolve() for r in roots))


def readable(settings: Settings, given: str, what: str) -> Path:
    """The real path of a model or data set that may be read.

    Raises:
        Refused: PATH_NOT_ALLOWED outside the roots; BAD_FILE where there is nothing.
    """
    if "\0" in given or len(given) > 4096:
        raise refuse("INVALID_ARGUMENT", f"The {what}'s path is not a path.")
    try:
        path = Path(given).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise refuse("BAD_FILE", f"The {what}'s path cannot be resolved ({error}).") from error
    if not is_below(path, settings.readable):
        roots = ", ".join(str(r) for r in settings.allow_roots) or "none"
        raise refuse(
            "PATH_NOT_ALLOWED",
            f"The {what} {path} lies outside the allowed roots ({roots}). Move it below one, or have the server started "
            "with --allow-root for its folder.",
        )
    if not path.exists():
        raise refuse("BAD_FILE", f"The {what} {path} does not exist. Check the path.")
    return path


def output(
    settings: Settings, given: str, original: Path
) -> tuple[Path, Literal["outside", "occupied", "original"] | None]:
    """Where a package may be written, and what is wrong with it otherwise."""
    path = Path(given).expanduser().resolve()
    if path == original or original in path.parents or (path.is_dir() and path == original.parent):
        return path, "original"
    if not is_below(path, settings.writable) or path in settings.writable:
        return path, "outside"
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        return path, "occupied"
    return path, None
