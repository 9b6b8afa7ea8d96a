"""A command run to its end, what it prints handed on line by line."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

_LAST_LINES = 40


def run_child(
    command: list[str], environment: Mapping[str, str], follow: Callable[[str], None], folder: Path | None = None
) -> tuple[int, list[str]]:
    """The exit status and the last lines, standard error among them. `follow` gets each line with its end; `folder`: where
    the command works."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command,
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last.append(line.rstrip())
            follow(line)
    return process.returncode, list(last)
