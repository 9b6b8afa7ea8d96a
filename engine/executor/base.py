"""Where jobs run: the interface that the tools know, and the two ways a job ends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import model_validator

from ...contract.record import Record
from ...contract.refusals import Problem
from ..jobs import JobEnd, JobSpec, Progress, Result

ANSWER_FILE = "answer.json"


class Answer(Record):
    """What a worker leaves in `answer.json`: a result, or the problem that it raised on purpose."""

    result: Result | None = None
    problem: Problem | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Answer:
        if (self.result is None) == (self.problem is None):
            raise ValueError("an answer has either a result or a problem")
        return self


@dataclass(frozen=True)
class Done:
    """`files` is the folder of what the job wrote: regular files and folders only, written by a process that may have
    been under foreign control, so read them as foreign."""

    result: Result
    files: Path
    end: JobEnd


@dataclass(frozen=True)
class Failed:
    """`problem` is for the caller as it stands. `log_tail`: the log's last lines on one line, without stack frames.
    `end` is None where even the supervisor's record cannot be read."""

    problem: Problem
    log_tail: str
    end: JobEnd | None


@dataclass(frozen=True)
class JobView:
    """`waiting`: the job is written down and not over, but nothing runs it: submit it again."""

    state: Literal["absent", "waiting", "running", "over"]
    progress: Progress | None = None


class NotStarted(Exception):
    """The job could not be started here and now (no space, no processes); nothing of it ran. The message says why."""


class Executor(Protocol):
    """Durable jobs, each in a folder of its own. Any number of servers may use one folder at once, and each may be
    killed at any time; every call is quick."""

    def submit(self, folder: Path, spec: JobSpec) -> None:
        """Starts the job unless it is running or over. Safe to repeat. NotStarted where it cannot be started."""
        ...

    def poll(self, folder: Path) -> JobView:
        """Where the job stands."""
        ...

    def cancel(self, folder: Path) -> None:
        """Has the job end: at once if it runs, else when it is next submitted. Of a job that is over: nothing."""
        ...

    def collect(self, folder: Path) -> Done | Failed:
        """How the job ended. Only once it is over."""
        ...
