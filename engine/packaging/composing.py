"""The infer.py of a package: what all packages share (`infer`) with the part of one runtime (`infer_<runtime>`) in its
place. One file that needs nothing else of this project."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from ..runtimes.catalog import RUNTIMES

INFER = "infer.py"
_HERE = Path(__file__).parent
_PLACE = "from .infer_onnxruntime import Session"
_OPTIONS = "from ..runtimes.recorded_options import recorded_options"


@cache
def infer_code(format: str) -> bytes:
    """What infer.py holds in a package of a model of this format."""
    shared, own = _text("infer"), _text(f"infer_{RUNTIMES[format].module}")
    if _OPTIONS in own:
        own = _joined(own, (_HERE.parent / "runtimes" / "recorded_options.py").read_text(encoding="utf-8"))
    before, rest = shared.split(_PLACE)
    after = rest.partition("\n")[2]
    return f"{before.rstrip()}\n{_body(own, before)}\n\n{after}".encode()


def format_of(code: bytes) -> str | None:
    """The format whose packages hold this infer.py; None where it is not one that this version writes."""
    return next((format for format in RUNTIMES if infer_code(format) == code), None)


def _joined(own: str, reader: str) -> str:
    """A runtime's part with the reader of recorded options in place of its import; all imports stand first."""
    above, rest = own.split(_OPTIONS)
    after = rest.partition("\n")[2]
    body = _body(reader, above)
    imports = [line for line in body.splitlines() if line.startswith(("import ", "from "))]
    code = "\n".join(line for line in body.splitlines() if line not in imports)
    return f"{above.rstrip()}\n" + "\n".join(imports) + f"\n\n{code.strip()}\n\n{after}"


def _text(module: str) -> str:
    return (_HERE / f"{module}.py").read_text(encoding="utf-8")


def _body(own: str, before: str) -> str:
    """A module without its docstring, and without the imports that stand before it already."""
    docstring = ast.parse(own).body[0]
    lines = own.splitlines()[docstring.end_lineno :]
    there = {line for line in before.splitlines() if line.startswith(("import ", "from "))}
    return "\n".join(line for line in lines if line not in there).strip()
