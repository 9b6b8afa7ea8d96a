"""The command line: what it prints, how it ends, and that a person never sees a traceback for a mistake of theirs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import edgeopt
import pytest
from edgeopt.engine.requirements import CONVERTERS
from edgeopt.engine.runtimes.catalog import RUNTIMES, installed
from edgeopt.engine.toolchains.catalog import TOOLCHAINS
from edgeopt.state.events import JobFailed

from ..tools import planted
from ..tools.finished import Finished


def edgeopt_says(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "edgeopt", *map(str, arguments)]
    env = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL, env=env
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


# Packages


def test_a_whole_package_is_verified(finished: Finished):
    done = edgeopt_says("verify", finished.package)
    assert done.returncode == 0, done.stdout
    assert "verified" in done.stdout and "NOT" not in done.stdout


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: flip(p / "net_simplify_fp32.onnx"), "were changed"),
        (lambda p: (p / "more.txt").write_text(""), "does not list"),
        (lambda p: (p / "preprocessing.json").unlink(), "are missing"),
        (lambda p: (p / "SHA256SUMS").unlink(), "no SHA256SUMS"),
        (shutil.rmtree, "not a folder"),
    ],
)
def test_a_package_that_was_touched_is_not(
    finished: Finished, tmp_path: Path, spoil: Callable[[Path], object], words: str
):
    package = Path(shutil.copytree(finished.package, tmp_path / "package"))
    spoil(package)
    done = edgeopt_says("verify", package)
    assert done.returncode == 1
    assert "NOT VERIFIED" in done.stdout
    assert words in done.stdout


# Sessions


def test_sessions_and_reports_are_printed(finished: Finished):
    done = edgeopt_says("sessions", "--workspace", finished.workspace)
    assert done.returncode == 0
    assert finished.session_id in done.stdout
    done = edgeopt_says("report", finished.session_id, EDGEOPT_WORKSPACE=str(finished.workspace))
    assert done.returncode == 0
    for words in ("Model Optimization Report", "Tradeoff Analysis", "Host Estimate (not target hardware)", "simplify"):
        assert words in done.stdout


def test_what_cannot_be_read_is_said_in_a_line(tmp_path: Path):
    planted.failing(tmp_path)
    other = planted.failing(tmp_path, session_id=planted.OTHER)
    workspace = tmp_path / "workspace"
    with sqlite3.connect(workspace / "events.db") as db:
        db.execute("UPDATE event SET at = 'long ago' WHERE seq = 2 AND session = ?", (planted.SESSION,))
    db.close()
    done = edgeopt_says("sessions", "--workspace", workspace)
    assert done.returncode == 0
    assert any(line.startswith(planted.SESSION) and "TRUST" in line for line in done.stdout.splitlines())
    assert any(line.startswith(other) and "TRUST" not in line for line in done.stdout.splitlines())
    for session, words in ((planted.SESSION, "not the one that was recorded"), ("s_nope", "no such session")):
        done = edgeopt_says("report", session, "--workspace", workspace)
        assert done.returncode == 1
        assert words in done.stderr
    for command in (["sessions"], ["clean", "--yes"], ["report", other], ["decide", other]):
        done = edgeopt_says(*command, "--workspace", tmp_path / "nowhere")
        assert done.returncode == 1
        assert "edgeopt: " in done.stderr
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("command", "status"),
    [(["serve"], 2), (["sessions"], 1), (["report", "s_1"], 1), (["clean", "--yes"], 1), (["doctor"], 1)],
)
def test_a_store_that_is_none_is_said_to_be_none(tmp_path: Path, command: list[str], status: int):
    store = planted.file(tmp_path / "events.db", "no database\n" * 100)
    done = edgeopt_says(*command, "--workspace", tmp_path)
    assert done.returncode == status
    assert "file is not a database" in done.stdout + done.stderr
    assert "--workspace" in done.stdout + done.stderr
    assert store.read_text() == "no database\n" * 100


def test_clean_removes_what_failed_and_nothing_else(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"), planted.worlds.started(90, "optimize_model", "v2"))
    planted.append(tmp_path, JobFailed(job_id="j90", code="TIMEOUT", message=""))
    workspace = tmp_path / "workspace"
    failed = planted.file(workspace / "sessions" / planted.SESSION / "jobs" / "j90" / "out" / "half.onnx").parents[1]
    good = planted.file(workspace / "sessions" / planted.SESSION / "jobs" / "j10" / "out" / "whole.onnx")
    inspection = planted.file(workspace / "inspections" / "i-1" / "log").parent
    done = edgeopt_says("clean", "--workspace", workspace)
    assert done.returncode == 1
    assert failed.exists() and inspection.exists()
    assert edgeopt_says("clean", "--yes", "--workspace", workspace).returncode == 0
    assert not failed.exists() and not inspection.exists()
    assert good.exists() and (workspace / "v1.onnx").exists()
    assert planted.recorded(tmp_path).variants["v1"].passed
    assert "Nothing to clean" in edgeopt_says("clean", "--yes", "--workspace", workspace).stdout


# The machine


def test_doctor_says_what_is_here_and_fails_where_the_core_is_not(tmp_path: Path):
    done = edgeopt_says("doctor")
    assert done.returncode == 0
    for words in (edgeopt.__version__, "onnxruntime", "Sandbox", "Workspace"):
        assert words in done.stdout
    hiding = """
import importlib.metadata as m
really = m.version
def version(name):
    if name == "onnxsim":
        raise m.PackageNotFoundError(name)
    return really(name)
m.version = version
"""
    (tmp_path / "sitecustomize.py").write_text(hiding)
    done = edgeopt_says("doctor", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert any("onnxsim" in line and "missing" in line and "pip install" in line for line in done.stdout.splitlines())


def test_doctor_lists_every_runtime_and_converter_with_its_version_or_how_to_have_it(tmp_path: Path):
    lines = edgeopt_says("doctor", EDGEOPT_TOOLCHAINS=str(tmp_path)).stdout.splitlines()
    for runtime in RUNTIMES.values():
        (row,) = [line for line in lines if line.split()[:1] == [runtime.distribution]]
        found = installed(runtime)
        assert found in row if found else f"edgeopt[{runtime.extra}]" in row
    for converter in CONVERTERS:
        (row,) = [line for line in lines if line.split()[:1] == [converter.distribution]]
        assert converter.does in row
    for chain in TOOLCHAINS.values():
        assert any(line.split()[:1] == [chain.name] and chain.command in line for line in lines)
    assert any("NVIDIA" in line for line in lines)


def test_serve_has_the_options_of_the_contract():
    told = edgeopt_says("serve", "--help").stdout
    for option in (
        *("--transport", "--port", "--workspace", "--allow-root", "--output-root", "--host-is", "--policy"),
        *("--allow-user-code", "--allow-pickle", "--signing-key", "--job-memory", "--job-minutes", "--token-file"),
    ):
        assert option in told
    commands = edgeopt_says("--help").stdout
    for command in ("serve", "demo", "decide", "report", "sessions", "clean", "verify", "doctor", "key", "sign"):
        assert command in commands


# Mistakes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--transport", "pigeon"], "stdio or http"),
        (["--host-is", "toaster"], "unknown device"),
        (["--host-is", "jetson-orin-nano"], "host estimates"),
        (["--allow-root", "{tmp}/nowhere"], "not a folder"),
        (["--allow-root", "{tmp}/file"], "not a folder"),
        (["--allow-root", "~nobody-of-this-name"], "--allow-root"),
        (["--output-root", "~nobody-of-this-name"], "--output-root"),
        (["--allow-user-code", "{tmp}/nowhere.py"], "--allow-user-code"),
        (["--workspace", "{tmp}/file/workspace"], "name another folder with --workspace"),
        (["--signing-key", "{tmp}/file"], "chmod 600"),
        (["--signing-key", "{tmp}/nowhere"], "edgeopt key"),
        (["--signing-key", "{tmp}/private"], "no private key"),
        (["--signing-key", "{tmp}"], "no regular file"),
        (["--policy", "{tmp}/nowhere.toml"], "No such file"),
        (["--policy", "{tmp}"], "cannot be used"),
        (["--policy", "{tmp}/file"], "cannot be used"),
        (["--policy", "{tmp}/binary"], "cannot be used"),
        (["--policy", "{tmp}/unknown.toml"], "tolerance"),
        (["--policy", "{tmp}/wrong.toml"], "decisions"),
        (["--transport", "http", "--token-file", "{tmp}/nowhere"], "--token-file"),
    ],
)
def test_a_server_that_cannot_be_started_so_says_why_in_a_line(tmp_path: Path, options: list[str], words: str):
    (tmp_path / "file").write_text("not = [toml")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "unknown.toml").write_text("tolerance = 0.5\nmax_tolerance = 7\n")
    (tmp_path / "wrong.toml").write_text('decisions = "agent"\n')
    (tmp_path / "private").touch(mode=0o600)
    arguments = ["serve", "--workspace", tmp_path / "workspace", "--allow-root", tmp_path]
    done = edgeopt_says(*arguments, *(option.replace("{tmp}", str(tmp_path)) for option in options))
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("edgeopt: ")
    assert words in line


@pytest.mark.parametrize(
    ("name", "value"),
    [("EDGEOPT_MAX_WAIT_S", "soon"), ("EDGEOPT_MAX_WAIT_S", "-1"), ("EDGEOPT_ALLOW_ROOTS", "/nowhere:/tmp")],
)
def test_a_wrong_environment_is_named(tmp_path: Path, name: str, value: str):
    for command in (["serve"], ["sessions"]):
        done = edgeopt_says(*command, "--workspace", tmp_path, **{name: value})
        assert done.returncode in (1, 2)
        (line,) = done.stderr.strip().splitlines()
        assert line.startswith("edgeopt: ")
        assert value.partition(":")[0] in line
