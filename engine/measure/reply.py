"""A measuring process' side of `fresh_process.ask`. Nothing heavy: what it imports is in the memory that is reported."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class BrokenModel(Exception):
    """The model's outputs are such that its figures would mean nothing."""


def reply(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Reads the task (JSON, stdin), works, and writes the answer or the problem to the file named on the command line."""
    task = json.load(sys.stdin)
    try:
        said = {"answer": work(task)}
    except BrokenModel as broken:
        said = {"problem": str(broken)}
    Path(sys.argv[1]).write_text(json.dumps(said))
