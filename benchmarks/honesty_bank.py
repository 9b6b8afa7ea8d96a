"""What a long benchmark has finished, a line of JSON each, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from edgeopt.engine.measure import machine

_MEASURED_WITH = ("numpy", "scipy", "onnx", "onnxruntime")


class ForeignBank(Exception):
    """The file holds results that must not be mixed with this run's."""


def this_machine() -> dict[str, str]:
    """What results of two machines are told apart by."""
    cpus = len(os.sched_getaffinity(0))
    return {"processor": machine.describe(), "CPUs": str(cpus), "host": platform.node(), "kernel": platform.release()}


def sources(modules: Iterable[str], within: tuple[str, ...]) -> list[Path]:
    """The files of these modules and of all that they import, directly or not, whose names begin as one of `within`."""
    found: dict[str, Path] = {}
    left = [*modules]
    while left:
        name = left.pop()
        if name not in found and name.startswith(within) and (file := _file(name)):
            found[name] = file
            left += _imported(name, ast.parse(file.read_bytes()))
    return [found[name] for name in sorted(found)]


def _file(name: str) -> Path | None:
    """A module's; None for what a module defines."""
    try:
        spec = find_spec(name)
    except ModuleNotFoundError:  # it is below a module that is no package
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _imported(name: str, tree: ast.Module) -> Iterator[str]:
    """What a module imports, and each `from a import b` also as the module a.b that it may be."""
    package = name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def design(code: Iterable[Path], files: Iterable[Path], settings: str) -> str:
    """A digest of what decides the results: the code (comments and docstrings apart), the libraries, the files that are
    measured, and the settings."""
    digest = hashlib.sha256(settings.encode())
    for source in sorted(code):
        digest.update(f"{source.name}\n{_undocumented(source)}\n".encode())
    for library in _MEASURED_WITH:
        digest.update(f"{library} {version(library)}\n".encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _undocumented(source: Path) -> str:
    tree = ast.parse(source.read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return ast.dump(tree)


class Bank:
    """Results by key. The first line says which machine they are of."""

    def __init__(self, path: Path, header: dict[str, Any]):
        """Opens the bank, or begins it.

        Raises:
            ForeignBank: the file is no bank, or one of another machine.
        """
        self._path = path
        self._results: dict[str, Any] = {}
        lines = self._whole_lines()
        if not lines:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._append(header)
            return
        found = self._parsed(lines[0])
        if found != header:
            different = ", ".join(
                f"{name}: {found.get(name)!r} there, {header.get(name)!r} here"
                for name in sorted(found.keys() | header.keys())
                if found.get(name) != header.get(name)
            )
            raise ForeignBank(f"{path} is of another run ({different}). Give another --bank, or move this one away.")
        self._results = {key: value for line in lines[1:] for key, value in self._parsed(line).items()}

    def __contains__(self, key: str) -> bool:
        return key in self._results

    def __getitem__(self, key: str) -> Any:
        return self._results[key]

    def below(self, prefix: str) -> list[Any]:
        """The results whose keys begin so, in the order in which they were added."""
        return [value for key, value in self._results.items() if key.startswith(prefix)]

    def add(self, key: str, value: Any) -> None:
        """Appends one result; once this returns, the machine may lose power."""
        self._append({key: value})
        self._results[key] = value

    def _append(self, line: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _whole_lines(self) -> list[str]:
        """The file's lines; one that was cut while it was written is taken out of the file."""
        if not self._path.exists():
            return []
        written = self._path.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]
        if len(whole) < len(written):
            with self._path.open("r+b") as file:
                file.truncate(len(whole))
        return whole.decode(errors="replace").splitlines()

    def _parsed(self, line: str) -> dict[str, Any]:
        try:
            parsed = json.loads(line)
        except json.JSONDecodeError as error:
            raise ForeignBank(
                f"{self._path} is not a bank of this benchmark ({error}). Give another --bank."
            ) from error
        if not isinstance(parsed, dict):
            raise ForeignBank(f"{self._path} is not a bank of this benchmark. Give another --bank.")
        return parsed
