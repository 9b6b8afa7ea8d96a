"""Running a converter in its toolchain's Python, as a child of the worker: the sandbox and the limits are inherited."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...contract.text import untrusted
from ..bench import Bench
from ..problems import JobProblem
from .catalog import missing, python_in
from .child import run_child

_HERE = Path(__file__).parent
_OUT_OF_MEMORY = ("MemoryError", "bad_alloc", "out of memory", "annot allocate memory")
# Isolated from the worker's own packages and the user's; without -B it would try to write beside its modules.
_ISOLATED = ("-I", "-B", "-X", "faulthandler")


def run_toolchain(name: str, script: str, task: Mapping[str, Any], bench: Bench) -> dict[str, Any]:
    """Runs `script` of this folder in the toolchain `name`; what it answers, less the problem.

    The script is given two paths: that of the task as JSON, and where to write its answer, an object in JSON. A key
    `problem` in it is why there is no result; `unavailable`, why there can be none. It works in a folder of its own below
    `bench.tmp`.

    Raises JobProblem: UNAVAILABLE where the toolchain is not installed, or is not for such models; TECHNIQUE_FAILED, with
    its reason or last words.
    """
    lacking = missing(name, bench.toolchains)
    if bench.toolchains is None or lacking:
        raise JobProblem("UNAVAILABLE", lacking or "")
    place = _folder(bench.tmp / "toolchain")
    given, answer = place / "task.json", place / "answer.json"
    given.write_text(json.dumps(dict(task)), encoding="utf-8")
    python = python_in(bench.toolchains / name)
    command = [str(python), *_ISOLATED, str(_HERE / script), str(given), str(answer)]
    returncode, last = run_child(command, _environment(place), _log, place)
    answered = json.loads(answer.read_bytes()) if answer.is_file() else {"problem": _ending(returncode, last)}
    if reason := answered.pop("unavailable", None):
        raise JobProblem("UNAVAILABLE", f"{name} is not for this model: {untrusted(reason, 600)}")
    if problem := answered.pop("problem", None):
        if any(words in problem for words in _OUT_OF_MEMORY):
            raise MemoryError(problem)
        raise JobProblem("TECHNIQUE_FAILED", f"{name} does not convert this model. {untrusted(problem, 600)}")
    return answered


def _folder(wanted: Path) -> Path:
    """A new folder: one job may run a converter several times."""
    wanted.mkdir(exist_ok=True)
    place = wanted / str(len(list(wanted.iterdir())))
    place.mkdir()
    return place


def _log(line: str) -> None:
    """Into the job's log."""
    print(line, end="", flush=True)


def _environment(place: Path) -> dict[str, str]:
    """Nothing of Python's own from ours; every cache and scratch folder inside `place`; no accelerator, no downloads."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "EDGEOPT_JOB")
        if name in os.environ
    }
    folders = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR", "HF_HOME")
    return {
        **kept,
        **dict.fromkeys(folders, str(place)),
        "CUDA_VISIBLE_DEVICES": "",
        "JAX_PLATFORMS": "cpu",
        "HF_HUB_OFFLINE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "PYTHONUNBUFFERED": "1",
    }


def _ending(returncode: int, last: list[str]) -> str:
    """In words, how a converter ended that gave no answer."""
    if returncode == -signal.SIGKILL:
        raise MemoryError("the converter was ended by SIGKILL, which is usually the machine out of memory")
    how = f"by {signal.Signals(-returncode).name}" if returncode < 0 else f"with exit status {returncode}"
    said = [line.strip() for line in last if line.strip()]
    return f"It ended {how}; its last words: {' / '.join(said[-3:])}"
