"""One measurement at a time on a machine: the lock, between real processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from edgeopt.engine import sandbox
from edgeopt.engine.measure import lock
from edgeopt.engine.measure.lock import MACHINE, one_at_a_time

HOLDER = """
import sys
from pathlib import Path
from edgeopt.engine.measure.lock import one_at_a_time
with one_at_a_time(lambda why: print(why, flush=True), Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(place: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that measures at `place` until its standard input ends."""
    command = [sys.executable, "-P", "-c", HOLDER, str(place)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_waits_and_says_so(tmp_path: Path):
    with one_at_a_time(pytest.fail, tmp_path), holder(tmp_path) as second:
        assert says(second) == "waiting for another measurement on this machine to end"
        assert second.poll() is None
    with holder(tmp_path) as third:
        assert says(third) == "held"


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "done"])
def test_the_lock_is_free_when_its_holder_ends(killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock, "LOOK_EVERY_S", 0.01)
    waits: list[str] = []

    def release(why: str) -> None:
        if not waits:
            first.kill() if killed else first.communicate("")
        waits.append(why)

    with holder(tmp_path) as first:
        assert says(first) == "held"
        with one_at_a_time(release, tmp_path):
            assert set(waits) == {"waiting for another measurement on this machine to end"}


def test_an_error_while_measuring_frees_the_machine(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), one_at_a_time(pytest.fail, tmp_path):
        raise ZeroDivisionError
    with one_at_a_time(pytest.fail, tmp_path):
        pass


def test_the_place_is_there_for_everybody_and_nobody_can_take_it_away():
    assert MACHINE.is_dir()
    mode = MACHINE.stat().st_mode
    assert mode & 0o005 == 0o005
    assert not mode & 0o022


@pytest.mark.skipif(not sandbox.capabilities()["files"], reason="this kernel cannot confine files")
def test_a_confined_process_takes_part(tmp_path: Path):
    """As a worker does: it may write below its own folder, which the place is not."""
    (tmp_path / "own").mkdir()
    confined = f"""
import sys
from pathlib import Path
from edgeopt.engine import sandbox
sandbox.enter([Path({str(tmp_path / "own")!r})])
{HOLDER}
"""
    with one_at_a_time(pytest.fail, tmp_path):
        command = [sys.executable, "-P", "-c", confined, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert says(process).startswith("waiting for another measurement")
            process.kill()
