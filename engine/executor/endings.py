"""What to tell the caller of a job that the supervisor ended, or whose worker broke: what happened and what to do."""

from __future__ import annotations

import signal

from ...contract.refusals import Problem
from ..jobs import JobEnd, JobSpec

_AGAIN = "Call the tool again to retry"
_LESS_MEMORY = (
    "Make the work smaller (fewer calibration samples, a smaller batch), or have the operator give jobs more"
    " (edgeopt serve --job-memory MB); then call the tool again"
)


def explain(spec: JobSpec, end: JobEnd) -> Problem:
    """The problem of a failed job, in plain words; its code is the supervisor's."""
    code = end.code or "WORKER_FAILED"
    return Problem(code=code, message=_message(code, spec, end))


def _message(code: str, spec: JobSpec, end: JobEnd) -> str:
    job = f"The {spec.task.kind} job"
    name = _signal_name(end.returncode)
    match code:
        case "CANCELLED":
            return f"{job} was cancelled after {_duration(end.wall_s)}. {_AGAIN}."
        case "TIMEOUT":
            return (
                f"{job} was ended at its time limit of {_duration(spec.timeout_s)}. Make the work smaller (fewer samples or"
                " iterations), or have the operator allow more time (edgeopt serve --job-minutes N); then call the tool"
                " again."
            )
        case "MEMORY_LIMIT":
            return (
                f"{job} ran out of memory: it needs more than the {spec.memory_mb} MB that it may use. {_LESS_MEMORY}."
            )
        case "OOM_KILLED":
            return (
                f"{job} was killed, probably by the system because the machine ran out of memory (the job had"
                f" {end.peak_memory_mb} MB of {spec.memory_mb} MB allowed). {_LESS_MEMORY}, with less else running."
            )
        case "WORKER_KILLED":
            return f"{job} was killed by {name}, not by edgeopt: somebody or something on this machine did. {_AGAIN}."
        case "WORKER_CRASHED":
            return (
                f"{job} crashed in native code ({name}): a fault of a framework on this model. The log's tail says"
                " where. Try another technique or other parameters; the same call will probably crash again."
            )
        case "WORKER_FAILED":
            return (
                f"{job} broke off with exit status {end.returncode}. The log's tail names the error. Try another"
                " technique or other parameters; if the error is edgeopt's, report it."
            )
        case "NO_ANSWER":
            return f"{job} ended without an answer, so nothing of it was used. {_AGAIN}; report it if it happens again."
        case "NOT_STARTED":
            return f"{job} could not be started; the log's tail says why. `edgeopt doctor` checks this machine."
        case "DISK_SPACE":
            return f"{job} filled the disk, and its files were deleted. Free space in the workspace, then call the tool again."
        case "SUPERVISOR_LOST":
            return (
                f"{job} was interrupted {end.attempt - 1} times (the machine restarted, or its processes were killed) and"
                f" is not tried again by itself. {_AGAIN}."
            )
        case _:
            return f"{job} left files that are unsafe to read ({code}), so nothing of it was used. {_AGAIN}."


def _signal_name(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return "an unknown signal"
    number = -returncode
    known = {int(each): each.name for each in signal.Signals}
    return f"signal {number} ({known[number]})" if number in known else f"signal {number}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
