"""PyTorch files that are no model yet (weights alone, a pickled module, TorchScript) made into one that says what it is fed,
before a job sees them.

It is done in a process of its own: the user's loader, or a pickle, never runs in the process that measures. What comes back
is a file, and it is looked at like anybody's.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from ...contract.evaluation import Evaluation
from ...contract.record import Record
from ...contract.refusals import Problem
from ...contract.text import untrusted
from ..bench import Bench
from ..jobs import Source, Task
from ..problems import JobProblem
from ..runtimes.catalog import missing
from .formats import EXPORTED_PROGRAM, SAFETENSORS, Sniffed, is_only_a_source, sniff

# The fields of tasks that name a model.
_MODELS = ("model_path", "parent_path", "baseline_path", "variant_path", "student_path")
_MAKING = f"{__package__}.materializing"


class Making(Record):
    """`out`: where to put the model, without its suffix."""

    file: str
    out: str
    source: Source
    evaluation: Evaluation
    roots: list[str] | None


class Made(Record):
    """The model, or the problem. `notes`: what is to be said of how it was made, a sentence each."""

    path: str = ""
    notes: list[str] = []
    problem: Problem | None = None


def materialized(task: Task, source: Source | None, bench: Bench) -> Task:
    """The task, with the path of every file that is only a source exchanged for that of the model made of it.

    Without a `source` nothing is made, nor may an exported program hold more than data. Raises JobProblem: UNTRUSTED_CODE,
    INVALID_ARGUMENT (what must be known to make it, as a question), BAD_FILE, OUTPUTS_DIFFER (the model computes something
    else once it is exported).
    """
    evaluation = getattr(task, "evaluation", None)
    named = {name: path for name in _MODELS if isinstance(path := getattr(task, name, None), str)}
    made = {path: _model(Path(path), source or Source(), evaluation, bench) for path in sorted(set(named.values()))}
    changed = {name: made[path] for name, path in named.items() if made[path] != path}
    return task.model_copy(update=changed) if changed else task


def _model(file: Path, source: Source, evaluation: Evaluation | None, bench: Bench) -> str:
    """The path of the model that this file is, or of one that was made of it."""
    found = sniff(file) if file.exists() else None
    if found is None or found.format != "pytorch" or missing("pytorch"):
        return str(file)
    if is_only_a_source(found):
        if evaluation is None:
            raise JobProblem(
                "UNAVAILABLE", f"{untrusted(file.name)} is a {found.what}, and there is no data to make it run"
            )
        made = _make(file, found, source, evaluation, bench)
    else:
        made = file
    if sniff(made) == EXPORTED_PROGRAM and not source.allow_pickle:
        _refuse_code(made)
    return str(made)


def _refuse_code(program: Path) -> None:
    # Here alone: reading it takes PyTorch, which few jobs need.
    from .exported_program import ExportedArchive

    ExportedArchive(program).refuse_code()


def _make(file: Path, found: Sniffed, source: Source, evaluation: Evaluation, bench: Bench) -> Path:
    _check_leave(file, found, source)
    bench.report(0.0, f"making a model of {untrusted(file.name)}")
    folder = bench.tmp / "materialized" / str(len(bench.sources))
    folder.mkdir(parents=True)
    task, answer = folder / "task.json", folder / "answer.json"
    making = Making(
        file=str(file), out=str(folder / file.stem), source=source, evaluation=evaluation, roots=bench.roots
    )
    task.write_text(making.model_dump_json(), encoding="utf-8")
    ended = subprocess.run([sys.executable, "-P", "-m", _MAKING, str(task), str(answer)], check=False).returncode
    if ended == -signal.SIGKILL:
        raise MemoryError(
            f"making a model of {file.name} was ended by SIGKILL, which is usually the machine out of memory"
        )
    if ended != 0 or not answer.is_file():
        how = f"by {signal.Signals(-ended).name}" if ended < 0 else f"with exit status {ended}"
        raise JobProblem(
            "BAD_FILE",
            f"making a model of {untrusted(file.name)} ended {how}: the file, or the loader, breaks PyTorch (the job's log has"
            " its last words)",
        )
    made = Made.model_validate_json(answer.read_bytes())
    if made.problem is not None:
        raise JobProblem(**made.problem.model_dump())
    bench.sources[made.path] = file
    bench.notes += [note for note in made.notes if note not in bench.notes]
    return Path(made.path)


def _check_leave(file: Path, found: Sniffed, source: Source) -> None:
    """Whether what there is to do this was given, and may be used."""
    if source.loader is not None:
        return
    name = untrusted(file.name)
    if found.pickle and not source.allow_pickle:
        raise JobProblem(
            "UNTRUSTED_CODE",
            f"{name} is a {found.what}: opening it runs whatever code is in it. Of a state dict, give loader='file.py:function'"
            " (a function without arguments, or a class, that makes the module; by the operator's --allow-user-code). Of a"
            " whole module, save torch.export's archive or the state dict instead, or have the operator start the server with"
            " --allow-pickle",
        )
    if found == SAFETENSORS:
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"{name} holds weights alone: which module do they go into? Give loader='file.py:function'",
            ["loader"],
        )
