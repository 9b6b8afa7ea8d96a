"""Loading a model and running it once, in a process of its own: a stranger's file may crash a runtime or never load."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..measure import inputs
from ..problems import JobProblem
from ..runtimes.runner import open_runner


@dataclass(frozen=True)
class Trial:
    """`outputs` are those of the first batch, by name."""

    load_seconds: float
    outputs: dict[str, np.ndarray]


def try_model(model: Path, feeds: list[inputs.Feeds], scratch: Path, seconds: float) -> Trial | None:
    """Loads the model and runs the batches, by way of files in `scratch`; None where that takes over `seconds`.

    Raises JobProblem: BAD_FILE where the model does not load or crashes the runtime, INVALID_ARGUMENT where it does not
    run on a batch.
    """
    given, gave, said = scratch / "trial.npz", scratch / "trial_outputs.npz", scratch / "trial.json"
    inputs.save(feeds, given)
    command = [sys.executable, "-P", "-m", __name__, str(model), str(given), str(gave), str(said)]
    try:
        process = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    if process.returncode == -signal.SIGKILL:
        raise MemoryError(f"loading {model.name} was ended by SIGKILL, which is usually the machine out of memory")
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise JobProblem("BAD_FILE", f"the runtime crashes on {model.name} ({name}): it cannot be used as it is")
    if process.returncode > 0:
        last_words = process.stdout.decode(errors="replace")[-2000:]
        raise (MemoryError if "MemoryError" in last_words else RuntimeError)(last_words)
    answer = json.loads(said.read_bytes())
    if "problem" in answer:
        raise JobProblem(**answer["problem"])
    return Trial(answer["load_seconds"], next(iter(inputs.load(gave)), {}))


def main(model: Path, given: Path, gave: Path, said: Path) -> None:
    """The process' side: leaves the outputs of the first batch and the loading time, or a problem."""
    try:
        started = time.monotonic()
        runner = open_runner(model)
        loaded = time.monotonic()
        first, *_ = [runner.run(feeds) for feeds in inputs.load(given)]
        inputs.save([{name: value for name, value in first.items() if value.dtype.kind in "biuf"}], gave)
        answer = {"load_seconds": loaded - started}
    except JobProblem as found:
        code = "INVALID_ARGUMENT" if found.problem.code == "NOT_RUNNABLE" else found.problem.code
        answer = {"problem": found.problem.model_dump() | {"code": code}}
    said.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
