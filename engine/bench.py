"""What a task has while it works: two folders and a way to say how far it is."""

from __future__ import annotations

import json
import time
from pathlib import Path

PROGRESS_FILE = "progress.jsonl"
REPORTS_PER_SECOND = 5.0


class Bench:
    """`files` is the only folder for results, and the current one; `tmp` is scratch, deleted with the job's end. `roots`:
    where data may be read; None where nobody set bounds. `sources`: of models that were made in `tmp`, the files that they
    were made of (`models.materialize`), and `notes` what is to be said of how. `toolchains`: the folder of those that are
    installed. `device`: what the work is for, where the task says; None: this machine."""

    def __init__(self, files: Path, tmp: Path, roots: list[str] | None = None, toolchains: Path | None = None):
        self.files = files
        self.tmp = tmp
        self.roots = roots
        self.toolchains = toolchains
        self.sources: dict[str, Path] = {}
        self.notes: list[str] = []
        self.device: str | None = None
        self._allowance = REPORTS_PER_SECOND
        self._reported = time.monotonic()

    def source_of(self, path: str | Path) -> Path:
        """The file that a caller named: the model's own, or that which it was made of."""
        return self.sources.get(str(path), Path(path))

    def report(self, done: float, message: str) -> None:
        """Says that the share `done` (0 to 1) of the work is behind us and what is going on.

        Cheap enough for an inner loop: more than five reports a second, after a burst of five, are dropped.
        """
        now = time.monotonic()
        self._allowance = min(REPORTS_PER_SECOND, self._allowance + (now - self._reported) * REPORTS_PER_SECOND)
        self._reported = now
        if self._allowance < 1:
            return
        self._allowance -= 1
        # A file and not a pipe: the reader may die, come back, or be several.
        with (self.files / PROGRESS_FILE).open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"done": min(1.0, max(0.0, float(done))), "message": message}) + "\n")
