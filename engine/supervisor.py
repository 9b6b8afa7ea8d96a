"""Supervisor of one job: `python -P -m edgeopt.engine.supervisor FOLDER COMMAND...`. Standard library only.

It outlives the server that started it. While it runs it holds a lock in the job's folder, so a job is alive exactly
while the lock is held, and any server may start a supervisor at any time: the second one fails to lock and leaves.
It starts the command in the sandbox, watches memory, the time limit and the file `cancel`, ends every process of the
job, and commits with one rename: the folder `out` exists when, and only when, the job is over.

    FOLDER/spec.json                the job, written once by a server
    FOLDER/lock, cancel             held by the supervisor; made by whoever wants the job to end
    FOLDER/work.N/files, tmp        all that the worker of attempt N may write: its current folder, and scratch
    FOLDER/work.N/result.json, log  how it ended; what it printed. They lie out of the worker's reach: a link of its
                                    making on these paths would turn the supervisor's writing against other files
    FOLDER/out                      work.N, renamed

One hole is known: if the supervisor itself is killed by SIGKILL, a process of the job that had left its session and
cleared its environment lives on, inside the sandbox. Only a cgroup or a PID name space would close it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import sandbox

TICK_MS = 50
GRACE_S = 5.0
LOG_LIMIT = 16 << 20
LOG_TAIL = 4096
RESERVED = 4096
DEPTH_LIMIT = 32
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
DISK_FULL_WORDS = (b"No space left on device", b"Disk quota exceeded")
OUT_OF_MEMORY_WORDS = (
    b"MemoryError",
    b"bad_alloc",
    b"bad allocation",
    b"out of memory",
    b"annot allocate memory",
    b"an't allocate memory",
    b"ailed to allocate memory",
    b"ResourceExhausted",
    b"OOM when allocating",
)

# As `models.formats` has them, which is not imported here.
ENGINES = (".engine", ".plan", ".trt")
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


def main(folder: Path, command: list[str]) -> None:
    """Runs the job in `folder` to its end, unless another supervisor runs it or it is over already."""
    with (folder / "lock").open("a") as lock:
        if _hold(lock.fileno()) and not (folder / "out").exists():
            _supervise(folder, command)


def _hold(lock: int) -> bool:
    """Takes the lock. A server that asks whether the job is alive holds it for an instant: hence a few tries."""
    for _ in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.005)
        else:
            return True
    return False


def _supervise(folder: Path, command: list[str]) -> None:
    spec = json.loads((folder / "spec.json").read_bytes())
    tag = f"EDGEOPT_JOB={folder}".encode()
    attempt, work = _new_attempt(folder, tag)
    end: dict[str, Any] = {"status": "failed", "code": None, "returncode": None, "peak_memory_mb": 0, "wall_s": 0.0}
    end |= {"attempt": attempt, "clean": True, "sandbox": sandbox.capabilities()}
    if (folder / "cancel").exists():
        end["code"] = "CANCELLED"
    elif attempt > spec["attempts"]:
        end["code"] = "SUPERVISOR_LOST"
    else:
        end |= _attempt(folder, work, spec, command)
    _publish(folder, work, end)


def _new_attempt(folder: Path, tag: bytes) -> tuple[int, Path]:
    """Makes the next `work.N`. An earlier one means that a supervisor was killed: ends and deletes what it left."""
    earlier = sorted(int(entry.name[5:]) for entry in folder.iterdir() if entry.name.startswith("work."))
    if earlier:
        _end_leftovers(tag)
    attempt = earlier[-1] + 1 if earlier else 1
    work = folder / f"work.{attempt}"
    work.mkdir(mode=0o700)
    for number in earlier:
        _remove(folder / f"work.{number}")
    (work / "files").mkdir()
    (work / "tmp").mkdir()
    # Room to record the end of a job that filled the disk.
    with (work / "result.json").open("xb") as result:
        os.posix_fallocate(result.fileno(), 0, RESERVED)
    return attempt, work


def _attempt(folder: Path, work: Path, spec: dict[str, Any], command: list[str]) -> dict[str, Any]:
    """Runs the worker once; returns what the job's end says of it."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started, kills = time.monotonic(), _oom_kills()
    log = os.open(work / "log", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        worker = _start(folder, work, [*command, str(folder / "spec.json")], spec, log)
    except (OSError, subprocess.SubprocessError) as error:
        os.write(log, f"{type(error).__name__}: {error}\n".encode())
        return {"code": "NOT_STARTED"}
    code, peak_memory_mb = _watch(worker, folder, spec, log)
    if code:
        worker.kill()
    with suppress(subprocess.TimeoutExpired):  # a process stuck in the kernel: `clean` will say so
        worker.wait(GRACE_S)
    clean = _end_descendants()
    code = code or _verdict(worker.returncode, work, log, oom_killed=_oom_kills() > kills)
    return {
        "status": "failed" if code else "done",
        "code": code,
        "returncode": worker.returncode,
        "peak_memory_mb": peak_memory_mb,
        "wall_s": round(time.monotonic() - started, 3),
        "clean": clean,
    }


def _start(folder: Path, work: Path, command: list[str], spec: dict[str, Any], log: int) -> subprocess.Popen[bytes]:
    supervisor, memory_mb = os.getpid(), spec["memory_mb"]
    writable = [work / "files", work / "tmp"]
    hidden = [Path(path) for path in spec.get("hidden") or []]
    on_gpu = _on_gpu(spec["task"])
    known = [folder, *(Path(path) for path in spec.get("roots") or spec["task"].get("roots") or [])]

    def confine() -> None:
        """Between fork and exec: a single thread, as Landlock wants it, and nothing of the worker runs outside."""
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:
            os._exit(1)
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = memory_mb << 20 if hard == resource.RLIM_INFINITY else min(memory_mb << 20, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # The worker dies before the server where the machine runs out of memory.
        Path("/proc/self/oom_score_adj").write_text("1000")
        try:
            sandbox.enter(writable, hidden=hidden, known=known, devices=sandbox.gpu_devices() if on_gpu else ())
        except (OSError, RuntimeError) as error:
            os.write(2, f"the sandbox could not be entered: {error}\n".encode())
            raise

    return subprocess.Popen(
        command,
        cwd=work / "files",
        env=_environment(folder, work / "tmp"),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        preexec_fn=confine,  # noqa: PLW1509 (the supervisor has one thread)
    )


def _on_gpu(task: dict[str, Any]) -> bool:
    """Whether the job has to do with a TensorRT engine: no other touches the GPU, user code least of all."""
    step = task.get("step") or {}
    named = [value for value in task.values() if isinstance(value, str)]
    return step.get("technique") == "tensorrt" or any(value.endswith(ENGINES) for value in named)


def _environment(folder: Path, tmp: Path) -> dict[str, str]:
    """The worker's: what the server chose to hand on, and every cache and scratch folder inside `tmp`."""
    folders = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR")
    return {
        **os.environ,
        **dict.fromkeys(folders, str(tmp)),
        "EDGEOPT_JOB": str(folder),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _watch(worker: subprocess.Popen[bytes], folder: Path, spec: dict[str, Any], log: int) -> tuple[str | None, int]:
    """Waits until the worker ends (None) or must be ended (the code why). Also returns the peak memory in MB."""
    deadline = time.monotonic() + spec["timeout_s"]
    family, peak_mb = _Family(), 0
    with _pidfd(worker.pid) as ended:
        while not select.select([ended], [], [], TICK_MS / 1000)[0]:
            used_mb = _memory_mb(family.pids())
            peak_mb = max(peak_mb, used_mb)
            if (folder / "cancel").exists():
                return "CANCELLED", peak_mb
            if time.monotonic() > deadline:
                return "TIMEOUT", peak_mb
            if used_mb > spec["memory_mb"]:
                # Between fork and exec a child counts its parent's memory again: look twice.
                time.sleep(0.01)
                if _memory_mb(family.pids()) > spec["memory_mb"]:
                    return "MEMORY_LIMIT", peak_mb
            if os.fstat(log).st_size > LOG_LIMIT:
                os.ftruncate(log, 0)
    return None, peak_mb


def _verdict(returncode: int | None, work: Path, log: int, *, oom_killed: bool) -> str | None:
    """Why a worker that ended by itself did so; None if it answered. Without a cgroup, `oom_killed` is a guess."""
    if returncode == 0:
        return None if os.path.lexists(work / "files" / "answer.json") else "NO_ANSWER"
    if returncode == -signal.SIGKILL:
        return "OOM_KILLED" if oom_killed else "WORKER_KILLED"
    tail = os.pread(log, LOG_TAIL, max(0, os.fstat(log).st_size - LOG_TAIL))
    if any(words in tail for words in OUT_OF_MEMORY_WORDS):
        return "MEMORY_LIMIT"
    if any(words in tail for words in DISK_FULL_WORDS) or shutil.disk_usage(work).free < RESERVED:
        return "DISK_SPACE"
    return "WORKER_FAILED" if returncode is None or returncode > 0 else "WORKER_CRASHED"


def _publish(folder: Path, work: Path, end: dict[str, Any]) -> None:
    """Commits the end of the job. A failed job's files go: nobody reads them, and they may be what fills the disk."""
    _remove(work / "tmp")
    if end["status"] == "done" and (code := _settle(work / "files")):
        end |= {"status": "failed", "code": code}
    if end["status"] == "failed":
        _remove(work / "files")
    try:
        _write_result(work, end)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        _remove(work / "files")
        _write_result(work, end | {"status": "failed", "code": "DISK_SPACE"})
    work.rename(folder / "out")
    _flush(folder)


def _settle(files: Path) -> str | None:
    """Writes the job's files through to the disk. The code of a failure if that cannot be done, or if anything but
    regular files and folders, not nested too deep, is among them: links and devices are not for the server to meet."""
    folders = [files]
    try:
        while folders:
            folder = folders.pop()
            if len(folder.parts) > len(files.parts) + DEPTH_LIMIT:
                return "BAD_OUTPUTS"
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        _flush(Path(entry.path))
                    else:
                        return "BAD_OUTPUTS"
            _flush(folder)
    except OSError as error:
        print(f"the outputs cannot be read: {error}", file=sys.stderr)
        return "DISK_SPACE" if error.errno in NO_SPACE else "BAD_OUTPUTS"
    return None


def _write_result(work: Path, end: dict[str, Any]) -> None:
    with (work / "result.json").open("r+") as result:
        json.dump(end, result)
        result.truncate()
        result.flush()
        os.fsync(result.fileno())
    _flush(work)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Deletes what a worker wrote, as far as that goes: a tree too deep for Python stays and is only litter."""
    with suppress(RecursionError):
        shutil.rmtree(folder, ignore_errors=True)


# Processes


class _Family:
    """The processes below this one. Reading all of /proc costs as much as a measurement can feel (5 ms for 80
    processes), so it is read again only when some process has been created since."""

    def __init__(self) -> None:
        self._pids: list[int] = []
        self._newest = ""
        self._read = float("-inf")

    def pids(self) -> list[int]:
        newest = Path("/proc/loadavg").read_text().split()[-1]
        age = time.monotonic() - self._read
        if age > 2 or (newest != self._newest and age > 0.25):
            self._newest, self._read = newest, time.monotonic()
            self._pids = list(_descendants())
        return self._pids


def _descendants() -> Iterator[int]:
    children = _children()
    parents = [os.getpid()]
    while parents:
        found = children.get(parents.pop(), [])
        yield from found
        parents += found


def _children() -> dict[int, list[int]]:
    """The living processes, by their parents."""
    children: dict[int, list[int]] = {}
    for pid in _all_pids():
        with suppress(OSError):  # it has ended since
            state, parent = (Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split())[:2]
            if state != b"Z":
                children.setdefault(int(parent), []).append(pid)
    return children


def _all_pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _end_descendants() -> bool:
    """Kills every process of the job. True when none is left.

    As a subreaper we inherit whatever double-forked or left the session. Only direct children are killed, each round
    uncovers the next: they are unreaped, so their numbers cannot have passed to somebody else's process.
    """
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        for pid in _children().get(os.getpid(), []):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)
    return False


def _end_leftovers(tag: bytes) -> None:
    """Kills what a killed supervisor's worker left behind, recognised by the job's tag in the environment."""
    for pid in _all_pids():
        with suppress(OSError), _pidfd(pid) as process:  # not ours to read, or ended since
            # The descriptor pins the identity first: the process that we look at is the one that we signal.
            if tag in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                signal.pidfd_send_signal(process, signal.SIGKILL)
                select.select([process], [], [], GRACE_S)


@contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _memory_mb(pids: Iterable[int]) -> int:
    """Private and shared memory of all these processes, MB (2**20 bytes): RLIMIT_DATA knows neither children nor
    shared mappings. A page that several processes share is counted once for each."""
    kilobytes = 0
    for pid in pids:
        with suppress(OSError):  # it has ended since
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    return kilobytes >> 10


def _oom_kills() -> int:
    lines = Path("/proc/vmstat").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
