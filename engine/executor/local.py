"""Runs jobs on this machine: one supervisor and one sandboxed worker a job. Linux.

All state lies in the job's folder (see engine/supervisor.py), so servers may come, go and be several. What a worker
wrote is hostile input here. The folder must be on a local file system: over NFS the lock says nothing.
"""

from __future__ import annotations

import fcntl
import os
import site
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

from pydantic import ValidationError

from ...contract.refusals import Problem
from ...contract.text import untrusted
from ..bench import PROGRESS_FILE
from ..jobs import JobEnd, JobSpec, Progress
from .base import ANSWER_FILE, Answer, Done, Failed, JobView, NotStarted
from .endings import explain
from .outputs import UnsafeOutput, log_tail, read_output, read_tail

ANSWER_LIMIT = 8 << 20
MESSAGE_LIMIT = 2000
# What a worker may know of the server's environment. Everything else stays: keys and tokens are kept there.
_HANDED_ON = (
    *("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ"),
    *("CUDA_HOME", "CUDA_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
)


class LocalExecutor:
    """An Executor. `worker` is the command that does the work, for tests; the path of the spec is appended to it."""

    def __init__(self, worker: Sequence[str] = (sys.executable, "-P", "-m", "edgeopt.engine.worker")):
        self._worker = list(worker)
        self._supervisors: dict[Path, subprocess.Popen[bytes]] = {}
        self._starting = threading.Lock()

    def submit(self, folder: Path, spec: JobSpec) -> None:
        folder = folder.resolve()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (folder / "spec.json").exists():
                _write_durably(folder / "spec.json", spec.model_dump_json().encode())
        except OSError as error:
            raise NotStarted(f"the job's folder cannot be written: {error}") from error
        if not _is_over(folder) and not _is_alive(folder):
            with self._starting:
                self._start(folder)

    def poll(self, folder: Path) -> JobView:
        folder = folder.resolve()
        if _is_over(folder):
            return JobView("over", _progress(folder / "out"))
        if not (folder / "spec.json").exists():
            return JobView("absent")
        if _is_alive(folder):
            return JobView("running", _progress(_current_attempt(folder)))
        # It may have ended since the first look.
        return JobView("over" if _is_over(folder) else "waiting")

    def cancel(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "cancel").touch()

    def collect(self, folder: Path) -> Done | Failed:
        out = folder.resolve() / "out"
        spec = JobSpec.model_validate_json((folder / "spec.json").read_bytes())
        try:
            tail = log_tail(read_tail(out / "log", 1 << 16)) if (out / "log").exists() else ""
            end = JobEnd.model_validate_json(read_output(out / "result.json", 1 << 16))
        except (UnsafeOutput, ValidationError) as error:
            return Failed(_bad_outputs(f"the record of the job's end cannot be read ({_reason(error)})"), "", None)
        if end.code is not None:
            return Failed(explain(spec, end), tail, end)
        try:
            answer = Answer.model_validate_json(read_output(out / "files" / ANSWER_FILE, ANSWER_LIMIT))
        except (UnsafeOutput, ValidationError) as error:
            return Failed(_bad_outputs(f"the worker's answer cannot be used ({_reason(error)})"), tail, end)
        if answer.problem is not None:
            return Failed(_cleaned(answer.problem), tail, end)
        if answer.result is None or answer.result.kind != spec.task.kind:
            return Failed(_bad_outputs("the worker answered another question than it was asked"), tail, end)
        return Done(answer.result, out / "files", end)

    def run(
        self,
        folder: Path,
        spec: JobSpec,
        poll_s: float = 0.02,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Done | Failed:
        """Submits the job and waits for its end. The job goes on if the caller is interrupted."""
        while (view := self.poll(folder)).state != "over":
            if view.state != "running":
                self.submit(folder, spec)
            if on_progress and view.progress:
                on_progress(view.progress)
            time.sleep(poll_s)
        return self.collect(folder)

    def _start(self, folder: Path) -> None:
        """Starts a supervisor, unless one of ours is on its way to the lock. A second one would do no harm."""
        if sys.platform != "linux":
            raise NotStarted("jobs run in a sandbox that only Linux has: run edgeopt on Linux or in a container")
        for known, supervisor in list(self._supervisors.items()):
            if supervisor.poll() is None or (supervisor.returncode > 0 and known != folder):
                continue
            del self._supervisors[known]
            if supervisor.returncode > 0:
                raise NotStarted(f"the job's supervisor failed: {_last_line(folder / 'supervisor.log')}")
        if folder in self._supervisors:
            return
        command = [sys.executable, "-P", "-m", "edgeopt.engine.supervisor", str(folder), *self._worker]
        try:
            with (folder / "supervisor.log").open("ab") as log:
                self._supervisors[folder] = subprocess.Popen(
                    command,
                    cwd="/",
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise NotStarted(f"the job's supervisor cannot be started: {error}") from error


def _environment() -> dict[str, str]:
    """For the supervisor and its worker: the little that is handed on, and where Python finds this package.

    Relative entries of PYTHONPATH would mean the worker's own folder there, so they are dropped. HOME changes in the
    worker, so a package in the user's site is named by its place.
    """
    environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    if not sys.flags.ignore_environment:
        entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in entries if Path(entry).is_absolute())
    if site.ENABLE_USER_SITE:
        environment["PYTHONUSERBASE"] = site.getuserbase()
    else:
        environment["PYTHONNOUSERSITE"] = "1"
    return environment


def _write_durably(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f"{path.name}.{uuid4().hex}")
    with unfinished.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def _is_over(folder: Path) -> bool:
    return (folder / "out").exists()


def _is_alive(folder: Path) -> bool:
    """Whether a supervisor holds the job's lock. No process number is stored anywhere, so none can be reused."""
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _current_attempt(folder: Path) -> Path:
    numbers = [int(entry.name[5:]) for entry in folder.iterdir() if entry.name.startswith("work.")]
    return folder / f"work.{max(numbers, default=1)}"


def _progress(work: Path) -> Progress | None:
    """The last whole report; None where there is none, or none that is fit to read."""
    try:
        lines = read_tail(work / "files" / PROGRESS_FILE, 4096).split(b"\n")
        progress = Progress.model_validate_json(lines[-2])
    except (UnsafeOutput, ValidationError, IndexError):
        return None
    return Progress(done=min(1.0, max(0.0, progress.done)), message=untrusted(progress.message))


def _cleaned(problem: Problem) -> Problem:
    """A worker's own words, made safe to show."""
    return Problem(
        code=untrusted(problem.code, 40),
        message=untrusted(problem.message, MESSAGE_LIMIT),
        missing=[untrusted(item) for item in problem.missing[:50]],
    )


def _bad_outputs(what: str) -> Problem:
    return Problem(
        code="BAD_OUTPUTS",
        message=f"Nothing of this job was used: {what}. Call the tool again; if it happens again, report it with the log.",
    )


def _reason(error: UnsafeOutput | ValidationError) -> str:
    if isinstance(error, UnsafeOutput):
        return untrusted(str(error))
    return f"{error.error_count()} fields are wrong"


def _last_line(log: Path) -> str:
    try:
        return log_tail(read_tail(log, 1 << 14)).rsplit(" | ", 1)[-1]
    except UnsafeOutput as error:
        return str(error)
