"""A worker: `python -P -m edgeopt.engine.worker SPEC_PATH`, started by the supervisor inside the sandbox.

Its current folder is the job's `files`. It runs one task and leaves `answer.json` there; whatever goes wrong that no
task foresaw is a traceback in the job's log and an exit status of 1.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from .bench import Bench
from .executor.base import ANSWER_FILE, Answer
from .jobs import JobSpec
from .models.materialize import materialized
from .pinned import on_copies
from .problems import JobProblem

# Each module's `run(task, bench) -> Result` does the tasks of one kind. Imported here by name: they load the frameworks.
MODULES = {
    "inspect": ".inspection",
    "profile": ".profiling",
    "analyze": ".analyzing",
    "optimize": ".optimizing",
    "benchmark": ".benchmarking",
    "validate": ".validating",
    "package": ".packaging.build",
    "verify": ".packaging.verify",
}


def answer(spec: JobSpec, bench: Bench) -> Answer:
    """Runs the task. A JobProblem is an answer too; any other exception is not."""
    module = importlib.import_module(MODULES[spec.task.kind], __package__)
    try:
        task = materialized(on_copies(spec.task, spec.pinned, bench.tmp), spec.source, bench)
        return Answer(result=module.run(task, bench))
    except JobProblem as found:
        return Answer(problem=found.problem)


def main(spec_path: Path) -> NoReturn:
    """Never returns: a framework that crashes or waits for its threads while Python shuts down must not undo an answer."""
    status = 1
    try:
        spec = JobSpec.model_validate_json(spec_path.read_bytes())
        toolchains = Path(spec.toolchains) if spec.toolchains else None
        bench = Bench(files=Path.cwd(), tmp=Path(os.environ["TMPDIR"]), roots=spec.roots, toolchains=toolchains)
        text = answer(spec, bench).model_dump_json()
        # Renamed into place: an answer is there whole or not at all.
        unfinished = bench.files / f"{ANSWER_FILE}.part"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.rename(bench.files / ANSWER_FILE)
        status = 0
    except BaseException:  # noqa: BLE001 (the process ends here; the log keeps it)
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
