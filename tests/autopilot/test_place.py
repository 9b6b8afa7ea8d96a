"""The autopilot is a client: what it knows of the house are the words that every client reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import edgeopt.autopilot
import pytest

FOLDER = Path(edgeopt.autopilot.__file__).parent


def imported(module: str) -> Iterator[str]:
    """What a module imports: names as they are written, `..contract` for the package's own."""
    for node in ast.walk(ast.parse((FOLDER / module).read_text())):
        if isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ",".join(alias.name for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("module", [path.name for path in FOLDER.glob("*.py")])
def test_of_ours_it_imports_the_contract_and_the_drawings_alone(module: str):
    above = [name for name in imported(module) if name.startswith("..")]
    assert [name for name in above if not name.startswith(("..contract.", "..drawing.", "..__version__"))] == []
    assert not any(name.startswith("edgeopt") for name in imported(module))


@pytest.mark.parametrize("module", ["policy.py", "history.py"])
def test_what_decides_does_no_io(module: str):
    tops = {name.split(".")[0] for name in imported(module)}
    assert not tops & {"os", "sys", "time", "random", "subprocess", "anyio", "mcp", "rich", "pathlib"}
