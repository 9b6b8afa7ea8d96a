"""What is installed: every package and every file that the code reads, under one top-level name."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("contract", "drawing", "state", "engine", "reports", "tools", "autopilot", "evals", "server", "prompts")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def packages_on_disk() -> dict[str, Path]:
    """Dotted names and folders of everything below our parts that is a package."""
    folders = [init.parent for part in PARTS for init in (ROOT / part).rglob("__init__.py")]
    return {"edgeopt": ROOT} | {f"edgeopt.{'.'.join(f.relative_to(ROOT).parts)}": f for f in folders}


def files_below(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]


def test_every_package_is_listed():
    assert sorted(SETUPTOOLS["packages"]) == sorted(packages_on_disk())


def test_every_module_lies_in_a_package():
    for part in PARTS:
        for module in (ROOT / part).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), module.relative_to(ROOT)


def test_every_other_file_is_package_data():
    missing: list[str] = []
    for name, folder in packages_on_disk().items():
        patterns = SETUPTOOLS["package-data"].get(name, [])
        if folder == ROOT:
            assert "py.typed" in patterns
            continue
        for file in folder.iterdir():
            told = file.suffix == ".py" or any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns)
            if file.is_file() and not told:
                missing.append(f"{name}: {file.name}")
    assert missing == []


def test_no_folder_hides_files_that_no_package_owns():
    owned = set(packages_on_disk().values())
    for part in PARTS:
        for file in files_below(ROOT / part):
            assert file.parent in owned, file.relative_to(ROOT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, built as pip builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    clutter = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist", "var", "tests")
    source = shutil.copytree(ROOT, folder / "source", ignore=clutter)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(folder), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No matching distribution found for setuptools" in built.stderr or "Could not find a version" in built.stderr:
        pytest.skip("the build backend cannot be had here")
    assert built.returncode == 0, built.stderr
    (found,) = folder.glob("edgeopt-*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgeopt"}
    wanted = {f"edgeopt/{p.relative_to(ROOT).as_posix()}" for part in PARTS for p in files_below(ROOT / part)}
    assert wanted <= names
    assert {"edgeopt/__init__.py", "edgeopt/__main__.py", "edgeopt/py.typed"} <= names
    assert not [name for name in names if "/tests/" in name or "/benchmarks/" in name or "/examples/" in name]


@pytest.mark.slow
def test_what_is_installed_runs_and_takes_no_common_name(wheel: Path, tmp_path: Path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = f"""
import pathlib
import edgeopt
assert pathlib.Path(edgeopt.__file__).is_relative_to({str(tmp_path)!r}), edgeopt.__file__
taken = [name for name in {PARTS!r} if (pathlib.Path({str(tmp_path)!r}) / 'site' / name).exists()]
assert not taken, taken
from edgeopt.server.app import build
from edgeopt.server.prompts import resume_session_prompt
from edgeopt.tools.workshop import Settings
build(Settings(workspace=pathlib.Path("workspace")))
print(resume_session_prompt())
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-P", "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "get_state" in ran.stdout
