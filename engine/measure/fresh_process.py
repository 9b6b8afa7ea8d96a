"""Measuring in a process of its own: one task in, one answer out. The process' side is `reply`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from ...contract.record import Record
from ...contract.text import untrusted
from ..problems import JobProblem

A = TypeVar("A", bound=Record)

# numpy's own threads would count in the memory that is reported, and run beside the model that is timed.
_NO_THREADS_BUT_THE_RUNTIMES = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def ask(module: str, task: Record, answer: type[A], tmp: Path) -> A:
    """Runs `module`, whose main is a `reply`, in a fresh process on `task`, and returns its answer.

    Raises the JobProblem BAD_OUTPUTS that the process found, or MEASUREMENT_FAILED where it died.
    """
    with TemporaryDirectory(dir=tmp) as folder:
        written = Path(folder, "answer.json")
        process = subprocess.run(
            [sys.executable, "-P", "-m", module, str(written)],
            env=os.environ | _NO_THREADS_BUT_THE_RUNTIMES,
            input=task.model_dump_json().encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if process.returncode != 0:
            raise JobProblem("MEASUREMENT_FAILED", _last_words(process.returncode, process.stdout))
        said = json.loads(written.read_bytes())
    if "problem" in said:
        raise JobProblem("BAD_OUTPUTS", said["problem"])
    return answer.model_validate(said["answer"])


def _last_words(returncode: int, output: bytes) -> str:
    words = untrusted(output.decode(errors="replace")[-400:], 400) or "nothing"
    if returncode >= 0:
        return f"The measuring process ended with exit code {returncode}; the last it printed: {words}"
    name = signal.Signals(-returncode).name
    hint = " (usually the job's memory limit, or the machine out of memory)" if name == "SIGKILL" else ""
    return f"The measuring process was ended by {name}{hint}; the last it printed: {words}"
