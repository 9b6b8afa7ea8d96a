"""The tutorial's commands, in its order, in an empty folder; what it shows of their output is what comes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"
MARK = "=== end of a block ==="


def blocks() -> list[tuple[str, list[str]]]:
    """Each block of commands, with the lines that the page shows of their output."""
    fenced = re.findall(r"^```(sh|text)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in fenced] == ["sh", "text"] * (len(fenced) // 2)
    return [(fenced[n][1], fenced[n + 1][1].splitlines()) for n in range(0, len(fenced), 2)]


def appears(shown: str, line: str) -> bool:
    """Whether a line is what the page shows, where '…' stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.split("…"))
    return re.fullmatch(pattern, line, re.IGNORECASE) is not None


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path: Path):
    script = "set -euo pipefail\n" + "".join(f"{commands}\necho '{MARK}'\n" for commands, _ in blocks())
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200"}
    outcome = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1800, check=False
    )
    assert outcome.returncode == 0, f"{outcome.stdout[-3000:]}\n{outcome.stderr[-3000:]}"
    outputs = outcome.stdout.split(f"{MARK}\n")
    for (_, shown), output in zip(blocks(), outputs, strict=False):
        lines = iter(line.strip() for line in output.splitlines())
        for expected in shown:
            assert any(appears(expected, line) for line in lines), f"{expected!r} does not follow in:\n{output}"
