"""Jobs end to end: real supervisors, real sandboxed workers that run small hostile or unlucky scripts."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from edgeopt.engine import sandbox
from edgeopt.engine.executor.base import Done, Failed, NotStarted
from edgeopt.engine.executor.local import LocalExecutor
from edgeopt.engine.executor.outputs import UnsafeOutput, log_tail, read_output
from edgeopt.engine.jobs import JobSpec, Verified, VerifyPackage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="supervisors are Linux's")

ANSWER = """
import ctypes, json, mmap, os, pathlib, signal, subprocess, sys, time
def answer(text="fine", kind="verify"):
    pathlib.Path("answer.json").write_text(json.dumps({"result": {"kind": kind, "verified": True, "verification": text}}))
def progress(message):
    with open("progress.jsonl", "a") as lines:
        lines.write(json.dumps({"done": 0.5, "message": message}) + "\\n")
"""
# Double-forked, out of the session, with and without the job's environment; they tell their numbers.
STRAYS = """
for wipe in ("", "env -i "):
    subprocess.Popen(f"(setsid {wipe}sleep 300 & echo $! >> strays) & exec true", shell=True, start_new_session=True)
while not os.path.exists("strays") or len(open("strays").read().split()) < 2:
    time.sleep(0.01)
progress("strays are out")
"""


def executor(code: str) -> LocalExecutor:
    return LocalExecutor([sys.executable, "-P", "-c", ANSWER + code])


def spec(memory_mb: int = 500, timeout_s: float = 60, attempts: int = 3) -> JobSpec:
    task = VerifyPackage(path="/nowhere")
    return JobSpec(job_id="job-1", task=task, memory_mb=memory_mb, timeout_s=timeout_s, attempts=attempts)


def failure(folder: Path, code: str, job: JobSpec | None = None) -> Failed:
    ended = executor(code).run(folder, job or spec())
    assert isinstance(ended, Failed)
    assert "Traceback" not in ended.problem.message + ended.log_tail
    assert not list(folder.glob("work.*"))
    return ended


def until(true: Callable[[], object], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def tagged(folder: Path) -> list[int]:
    """Processes of this job's workers."""
    return [pid for pid in running() if f"EDGEOPT_JOB={folder}".encode() in read(f"/proc/{pid}/environ").split(b"\0")]


def supervisors(folder: Path) -> list[int]:
    wanted = (b"edgeopt.engine.supervisor", bytes(folder))
    return [pid for pid in running() if all(word in read(f"/proc/{pid}/cmdline").split(b"\0") for word in wanted)]


def running() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def kill(pids: list[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def is_running(pid: int) -> bool:
    return b"State:\tZ" not in (status := read(f"/proc/{pid}/status")) and status != b""


# How jobs end


def test_a_job_is_done_and_its_files_are_committed(tmp_path: Path):
    job = executor("open('model.onnx', 'wb').write(b'model'); answer()")
    assert job.poll(tmp_path / "job").state == "absent"
    ended = job.run(tmp_path / "job", spec())
    assert isinstance(ended, Done)
    assert ended.result == Verified(verified=True, verification="fine")
    assert ended.end.code is None and ended.end.clean and ended.end.attempt == 1
    assert ended.end.sandbox == sandbox.capabilities()
    assert {path.name for path in ended.files.iterdir()} == {"answer.json", "model.onnx"}
    assert {path.name for path in (tmp_path / "job" / "out").iterdir()} == {"files", "log", "result.json"}
    assert job.poll(tmp_path / "job").state == "over"


def test_submitting_again_changes_nothing(tmp_path: Path):
    job = executor("answer(str(os.getpid()))")
    first = job.run(tmp_path, spec())
    job.submit(tmp_path, spec())
    assert job.poll(tmp_path).state == "over"
    assert executor("raise SystemExit(3)").run(tmp_path, spec()) == first


def test_a_problem_is_an_answer_and_is_made_safe_to_show(tmp_path: Path):
    problem = {"code": "BAD_FILE", "message": "no\n\x1b[31m model \u202e", "missing": ["a\nb"]}
    ended = failure(tmp_path, f"open('answer.json', 'w').write(json.dumps({{'problem': {problem!r}}}))")
    assert ended.problem.code == "BAD_FILE"
    assert ended.problem.message == "no [31m model"
    assert ended.problem.missing == ["a b"]


@pytest.mark.parametrize(
    ("code", "expected", "says"),
    [
        ("raise SystemExit(3)", "WORKER_FAILED", "exit status 3"),
        ("raise ValueError('odd model')", "WORKER_FAILED", "exit status 1"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "WORKER_CRASHED", "SIGSEGV"),
        ("os.abort()", "WORKER_CRASHED", "SIGABRT"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "WORKER_KILLED", "SIGKILL"),
        ("sys.stderr.write('terminate: std::bad_alloc'); os.abort()", "MEMORY_LIMIT", "out of memory"),
        ("sys.exit('No space left on device')", "DISK_SPACE", "filled the disk"),
        ("pass", "NO_ANSWER", "without an answer"),
        ("open('answer.json.part', 'w').write('{}')", "NO_ANSWER", "without an answer"),
        ("open('answer.json', 'w').write('{\"result\": {')", "BAD_OUTPUTS", "cannot be used"),
        ("open('answer.json', 'w').write('{}')", "BAD_OUTPUTS", "cannot be used"),
        ("open('answer.json', 'w').write('[' * 100000)", "BAD_OUTPUTS", "cannot be used"),
        ("answer('x' * (9 << 20))", "BAD_OUTPUTS", "longer than"),
        ("open('answer.json', 'w').truncate(1 << 40)", "BAD_OUTPUTS", "longer than"),
        ("answer(kind='validate')", "BAD_OUTPUTS", "cannot be used"),
        ("os.mkdir('answer.json')", "BAD_OUTPUTS", "no regular file"),
        ("os.symlink('/etc/hostname', 'answer.json')", "BAD_OUTPUTS", "unsafe"),
        ("os.mkfifo('answer.json')", "BAD_OUTPUTS", "unsafe"),
        ("answer(); os.symlink('/etc', 'package')", "BAD_OUTPUTS", "unsafe"),
        ("answer(); os.makedirs('a/b'); os.mkfifo('a/b/c')", "BAD_OUTPUTS", "unsafe"),
    ],
)
def test_every_other_end_has_its_code(tmp_path: Path, code: str, expected: str, says: str):
    ended = failure(tmp_path, code)
    assert ended.problem.code == expected
    assert says in ended.problem.message


def test_the_answer_is_to_the_question(tmp_path: Path):
    code = "open('answer.json', 'w').write(json.dumps({'result': {'kind': 'package', 'files': [], 'verified': True, \
        'verification': ''}}))"
    assert "another question" in failure(tmp_path, code).problem.message


@pytest.mark.parametrize(
    ("folder", "depth", "code"), [("os.environ['TMPDIR']", 1100, None), ("os.getcwd()", 40, "BAD_OUTPUTS")]
)
def test_a_tree_too_deep_to_delete_or_to_read(tmp_path: Path, folder: str, depth: int, code: str | None):
    """Python's rmtree recurses, and a supervisor that dies of it would be started again and again."""
    worker = f"answer(); os.chdir({folder})\nfor _ in range({depth}): os.mkdir('d'); os.chdir('d')"
    try:
        ended = executor(worker).run(tmp_path, spec())
        assert ended.end is not None and ended.end.code == code
    finally:
        subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def test_the_time_limit_ends_a_job(tmp_path: Path):
    ended = failure(tmp_path, STRAYS + "time.sleep(300)", spec(timeout_s=1))
    assert ended.problem.code == "TIMEOUT"
    assert "1 s" in ended.problem.message
    assert ended.end is not None and ended.end.clean and 1 <= ended.end.wall_s < 10
    assert not tagged(tmp_path)


# Memory


GREEDY_CHILD = "b = bytearray(120 << 20); import time; time.sleep(300)"


@pytest.mark.parametrize(
    ("code", "returncode"),
    [
        pytest.param("bytearray(400 << 20)", 1, id="python"),
        pytest.param("import numpy; numpy.ones(400 << 17)", 1, id="numpy"),
        pytest.param("m = mmap.mmap(-1, 400 << 20)\nwhile True: m.write(bytes(1 << 20))", -9, id="shared mapping"),
        pytest.param(
            f"[subprocess.Popen([sys.executable, '-c', {GREEDY_CHILD!r}]) for _ in range(3)]; time.sleep(300)",
            -9,
            id="children",
        ),
    ],
)
def test_memory_is_limited(tmp_path: Path, code: str, returncode: int):
    """By the process's own limit, with an exception in the worker; else by the supervisor, which kills."""
    ended = failure(tmp_path, code + "\nanswer()", spec(memory_mb=250))
    assert ended.problem.code == "MEMORY_LIMIT"
    assert "250 MB" in ended.problem.message and "--job-memory" in ended.problem.message
    assert ended.end is not None and ended.end.clean
    assert ended.end.returncode == returncode and ended.end.peak_memory_mb < 500


def test_peak_memory_is_recorded(tmp_path: Path):
    ended = executor("b = bytes(100 << 20).replace(b'\\0', b'x'); time.sleep(0.3); answer()").run(tmp_path, spec())
    assert 100 <= ended.end.peak_memory_mb < 250 if ended.end else False


# The disk


def test_a_full_disk_is_a_clear_end(tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        ended = failure(disk / "job", "f = open('model', 'wb', 0)\nwhile True: f.write(bytes(1 << 16))")
        assert ended.problem.code == "DISK_SPACE"
        # Full to the last byte, which the worker does not mind: the end was given its room at the start.
        fill = "answer()\nf = open('model', 'wb', 0)\ntry:\n    while True: f.write(bytes(512))\nexcept OSError: pass\n"
        assert isinstance(executor(fill).run(disk / "job2", spec()), Done)
        shutil.rmtree(disk / "job2")
        # Full to the last byte, and no room to say so in the log either.
        assert failure(disk / "job3", fill + "os._exit(1)").problem.code == "DISK_SPACE"
        (disk / "filler").write_bytes(bytes(3 << 20)[: os.statvfs(disk).f_bavail * 4096])
        with pytest.raises(NotStarted, match="No space left"):
            executor("answer()").run(disk / "job4", spec())
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_worker_that_prints_for_ever_does_not_fill_the_disk(tmp_path: Path):
    code = "line = b'x' * 65535 + b'\\n'\nfor _ in range(600): os.write(1, line); time.sleep(0.001)\nanswer()"
    assert isinstance(executor(code).run(tmp_path, spec()), Done)
    assert (tmp_path / "out" / "log").stat().st_size < 30 << 20


# Cancelling


def test_cancelling_ends_strays_too(tmp_path: Path):
    job = executor(STRAYS + "time.sleep(300)")
    job.submit(tmp_path, spec())
    until(lambda: (view := job.poll(tmp_path)).progress and view.progress.message == "strays are out")
    strays = [int(pid) for pid in (tmp_path / "work.1/files/strays").read_text().split()]
    assert len(strays) == 2 and all(is_running(pid) for pid in strays)
    job.cancel(tmp_path)
    ended = job.run(tmp_path, spec())
    assert isinstance(ended, Failed) and ended.problem.code == "CANCELLED"
    assert ended.end is not None and ended.end.clean
    assert not any(is_running(pid) for pid in strays)


def test_cancelled_before_it_started_it_never_runs(tmp_path: Path):
    job = executor("answer()")
    job.cancel(tmp_path / "job")
    assert job.poll(tmp_path / "job").state == "absent"
    ended = job.run(tmp_path / "job", spec())
    assert isinstance(ended, Failed) and ended.problem.code == "CANCELLED"
    assert not (tmp_path / "job/out/log").exists()


# Survival


def test_a_job_survives_its_server(tmp_path: Path):
    server = f"""
import sys, pathlib
from edgeopt.engine.executor.local import LocalExecutor
from edgeopt.engine.jobs import JobSpec
LocalExecutor(sys.argv[2:]).run(pathlib.Path(sys.argv[1]), JobSpec.model_validate_json({spec().model_dump_json()!r}))
"""
    worker = [sys.executable, "-P", "-c", ANSWER + "progress('on'); time.sleep(1); answer()"]
    folder = tmp_path / "job"
    process = subprocess.Popen([sys.executable, "-P", "-c", server, folder, *worker])
    other = executor("raise SystemExit('a second run')")
    until(lambda: other.poll(folder).progress)
    process.kill()
    process.wait()
    ended = other.run(folder, spec())
    assert isinstance(ended, Done) and ended.end.attempt == 1


def test_a_killed_supervisor_is_followed_by_another(tmp_path: Path):
    job = executor(
        "subprocess.Popen(['sleep', '300'], start_new_session=True); progress(os.getcwd())\n"
        "if 'work.1' in os.getcwd(): time.sleep(300)\n"
        "answer(os.getcwd())"
    )
    job.submit(tmp_path, spec())
    until(lambda: job.poll(tmp_path).progress)
    left = tagged(tmp_path)
    assert len(left) == 2
    kill(supervisors(tmp_path))
    until(lambda: job.poll(tmp_path).state == "waiting")
    ended = job.run(tmp_path, spec())
    assert isinstance(ended, Done) and ended.end.attempt == 2 and ended.end.clean
    assert isinstance(ended.result, Verified) and ended.result.verification.endswith("work.2/files")
    assert not any(is_running(pid) for pid in left)


def test_a_job_that_is_interrupted_again_and_again_is_given_up(tmp_path: Path):
    job = executor("progress('on'); time.sleep(300)")
    for attempt in (1, 2):
        job.submit(tmp_path, spec(attempts=2))
        until(lambda attempt=attempt: (tmp_path / f"work.{attempt}/files/progress.jsonl").exists())
        kill(supervisors(tmp_path))
        until(lambda: job.poll(tmp_path).state == "waiting" and not supervisors(tmp_path))
    ended = job.run(tmp_path, spec(attempts=2))
    assert isinstance(ended, Failed) and ended.problem.code == "SUPERVISOR_LOST"
    assert "2 times" in ended.problem.message
    assert not tagged(tmp_path)


def test_several_servers_make_one_run(tmp_path: Path):
    jobs = [executor("print('ran'); time.sleep(0.2); answer()") for _ in range(6)]
    together = threading.Barrier(len(jobs))

    def serve(job: LocalExecutor) -> Done | Failed:
        together.wait()
        return job.run(tmp_path, spec())

    with ThreadPoolExecutor(len(jobs)) as pool:
        ends = list(pool.map(serve, jobs))
    assert all(end == ends[0] for end in ends)
    assert isinstance(ends[0], Done) and ends[0].end.attempt == 1
    assert (tmp_path / "out/log").read_text() == "ran\n"


def test_a_supervisor_that_cannot_work_says_so(tmp_path: Path):
    (tmp_path / "spec.json").write_text("{")
    with pytest.raises(NotStarted, match="JSONDecodeError"):
        executor("answer()").run(tmp_path, spec())
    (tmp_path / "a file").touch()
    with pytest.raises(NotStarted):
        executor("answer()").submit(tmp_path / "a file" / "job", spec())


def test_a_command_that_does_not_exist_is_an_end(tmp_path: Path):
    ended = LocalExecutor([str(tmp_path / "nothing")]).run(tmp_path, spec())
    assert isinstance(ended, Failed) and ended.problem.code == "NOT_STARTED"
    assert "No such file" in ended.log_tail


# What a worker has and sees


def test_a_worker_cannot_touch_the_original(tmp_path: Path):
    original = tmp_path / "original.onnx"
    original.write_bytes(b"original")
    before = original.stat()
    ended = failure(tmp_path / "job", f"os.utime({str(original)!r}, (1, 1)); open({str(original)!r}, 'wb')")
    assert "PermissionError" in ended.log_tail
    assert (original.read_bytes(), original.stat().st_mtime_ns) == (b"original", before.st_mtime_ns)


def test_a_worker_cannot_touch_its_own_record(tmp_path: Path):
    code = """
for name in ("result.json", "log"):
    for act in (os.unlink, lambda path: os.symlink("/etc/hostname", path), lambda path: open(path, "w")):
        try:
            act(f"../{name}")
        except OSError:
            continue
        raise SystemExit("it could")
answer()
"""
    assert isinstance(executor(code).run(tmp_path, spec()), Done)


def test_a_worker_sees_no_secrets_and_keeps_its_caches_in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EDGEOPT_TOKEN", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "relative", str(tmp_path), os.getenv("PYTHONPATH", "")]))
    ended = executor("answer(json.dumps({'env': dict(os.environ), 'path': sys.path}))").run(tmp_path, spec())
    assert isinstance(ended, Done) and isinstance(ended.result, Verified)
    seen = json.loads(ended.result.verification)
    assert not {"EDGEOPT_TOKEN", "OMP_NUM_THREADS"} & set(seen["env"])
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR"):
        assert seen["env"][name] == str(tmp_path / "work.1/tmp")
    assert str(tmp_path) in seen["path"]
    assert all(Path(entry).is_absolute() for entry in seen["path"])


def test_progress_that_is_not_fit_to_read_is_none(tmp_path: Path):
    for number, code in enumerate(
        (
            "os.symlink('/etc/passwd', 'progress.jsonl')",
            "os.mkfifo('progress.jsonl')",
            "open('progress.jsonl', 'w').write('{\"done\": 0.1')",
            "open('progress.jsonl', 'w').write('nonsense\\n')",
        )
    ):
        job, folder = executor(code + "\nopen('there', 'w')\ntime.sleep(300)"), tmp_path / str(number)
        job.submit(folder, spec())
        until((folder / "work.1/files/there").exists)
        view = job.poll(folder)
        assert (view.state, view.progress) == ("running", None)
        job.cancel(folder)
        job.run(folder, spec())


def test_progress_is_made_safe_to_show(tmp_path: Path):
    ended = executor("open('progress.jsonl', 'w').write('{\"done\": 7, \"message\": \"a\\\\nb\"}\\n'); answer()")
    ended.run(tmp_path, spec())
    progress = ended.poll(tmp_path).progress
    assert progress is not None and (progress.done, progress.message) == (1.0, "a b")


# The real worker, with a task module of the test's own


@pytest.fixture
def planted(tmp_path: Path) -> Callable[[str], LocalExecutor]:
    def plant(body: str) -> LocalExecutor:
        (tmp_path / "planted.py").write_text(
            "import os\nfrom edgeopt.engine.jobs import Verified\nfrom edgeopt.engine.problems import JobProblem\n"
            f"def run(task, bench):\n    {body}\n"
        )
        code = (
            f"import sys; sys.path.append({str(tmp_path)!r}); from pathlib import Path; from edgeopt.engine import worker\n"
            "worker.MODULES['verify'] = 'planted'; worker.main(Path(sys.argv[1]))"
        )
        return LocalExecutor([sys.executable, "-P", "-c", code])

    return plant


Plant = Callable[[str], LocalExecutor]


def test_the_worker_runs_its_task(tmp_path: Path, planted: Plant):
    body = "bench.report(0.25, 'looking'); return Verified(verified=True, verification=f'{task.path} {bench.files} {bench.tmp}')"
    job = planted(body)
    ended = job.run(tmp_path / "job", spec())
    work = tmp_path / "job/work.1"
    assert isinstance(ended, Done)
    assert ended.result == Verified(verified=True, verification=f"/nowhere {work}/files {work}/tmp")
    progress = job.poll(tmp_path / "job").progress
    assert progress is not None and (progress.done, progress.message) == (0.25, "looking")


def test_a_flood_of_reports_is_thinned(tmp_path: Path, planted: Plant):
    job = planted(
        "[bench.report(i / 1e5, 'x') for i in range(100000)]; return Verified(verified=True, verification='')"
    )
    ended = job.run(tmp_path / "job", spec())
    assert isinstance(ended, Done)
    lines = (ended.files / "progress.jsonl").read_text().splitlines()
    assert 5 <= len(lines) <= 6 + 5 * ended.end.wall_s


def test_the_worker_answers_with_a_problem(tmp_path: Path, planted: Plant):
    ended = planted("raise JobProblem('BAD_FILE', 'cut short', ['the rest'])").run(tmp_path / "job", spec())
    assert isinstance(ended, Failed) and ended.end is not None and ended.end.status == "done"
    assert ended.problem.model_dump() == {"code": "BAD_FILE", "message": "cut short", "missing": ["the rest"]}


@pytest.mark.parametrize(
    ("body", "code", "tail"),
    [
        ("return 1 / 0", "WORKER_FAILED", "ZeroDivisionError: division by zero"),
        ("return bytes(1 << 40)", "MEMORY_LIMIT", "MemoryError"),
        ("return None", "WORKER_FAILED", "an answer has either a result or a problem"),
        ("os._exit(0)", "NO_ANSWER", ""),
    ],
)
def test_what_no_task_foresaw(tmp_path: Path, planted: Plant, body: str, code: str, tail: str):
    ended = planted(body).run(tmp_path / "job", spec())
    assert isinstance(ended, Failed)
    assert ended.problem.code == code
    assert tail in ended.log_tail
    assert 'File "' not in ended.log_tail and "Traceback" not in ended.log_tail


# Reading


def test_a_log_tail_is_one_line_without_stacks():
    log = (
        b"loading\r 10%\r 20%\n\x1b[1mbold\x1b[0m\n"
        b'Traceback (most recent call last):\n  File "/a/b.py", line 1, in <module>\n    secret()\n    ^^^^\n'
        b"ValueError: first\n\nDuring handling of the above exception, another exception occurred:\n\n"
        b"Traceback (most recent call last):\n  File \"/a/b.py\", line 2, in f\n    more()\nKeyError: 'second'\n"
        b'Fatal Python error: Aborted\n\nCurrent thread 0x1 (most recent call first):\n  File "x.py", line 1 in f\n'
        b"last \xff line"
    )
    assert log_tail(log) == (
        "loading | 10% | 20% | bold | ValueError: first | KeyError: 'second' | Fatal Python error: Aborted |"
        " last � line"
    )
    assert len(log_tail(b"word\n" * 10_000)) == 2000
    assert log_tail(b"word\n" * 10_000).endswith("| word")


def test_outputs_are_read_only_if_they_are_files(tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "pipe")
    assert read_output(file, 5) == b"12345"
    for name, limit in (("file", 4), ("link", 5), ("pipe", 5), ("", 5), ("absent", 5)):
        with pytest.raises(UnsafeOutput):
            read_output(tmp_path / name, limit)


# Random faults


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    code = f"""
import sys, pathlib
from edgeopt.engine.executor.local import LocalExecutor
from edgeopt.engine.jobs import JobSpec
ended = LocalExecutor(sys.argv[2:]).run(pathlib.Path(sys.argv[1]), JobSpec.model_validate_json({spec(attempts=9).model_dump_json()!r}))
"""
    steady = ANSWER + (
        "subprocess.Popen(['sleep', '300'], start_new_session=True)\n"
        "for step in range(20): progress(str(step)); open('model', 'ab').write(b'part'); time.sleep(0.02)\n"
        "answer()"
    )
    started: list[subprocess.Popen[bytes]] = []

    def start(folder: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-c", code, folder, sys.executable, "-P", "-c", steady]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(10))
def test_random_kills_leave_one_end_and_no_process(
    tmp_path: Path, trial: int, servers: Callable[[Path], subprocess.Popen[bytes]]
):
    chance = random.Random(trial)
    folder = tmp_path / "job"
    living = [servers(folder), servers(folder)]
    for _ in range(chance.randint(1, 4)):
        time.sleep(chance.uniform(0, 0.5))
        match chance.choice(["server", "supervisor", "worker"]):
            case "server":
                victim = chance.randrange(2)
                living[victim].kill()
                living[victim].wait()
                living[victim] = servers(folder)
            case "supervisor":
                kill(supervisors(folder))
            case "worker":
                kill(tagged(folder)[:1])
    for server in living:
        assert server.wait(60) == 0
    ended = executor("raise SystemExit('a second run')").collect(folder)
    assert ended.end is not None and ended.end.clean
    if isinstance(ended, Done):
        assert (ended.files / "model").read_bytes() == b"part" * 20
    else:
        assert ended.problem.code in ("WORKER_KILLED", "OOM_KILLED"), ended
    until(lambda: not tagged(folder) and not supervisors(folder))
    assert not list(folder.glob("work.*"))
