"""`edgeopt decide`: a person at a terminal decides what an agent may not."""

from __future__ import annotations

import codecs
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edgeopt.state.events import DecisionMade

from ..tools import planted

END = "\x04"  # Ctrl-D


def command(folder: Path, session: str = planted.SESSION) -> list[str]:
    return [sys.executable, "-P", "-m", "edgeopt", "decide", session, "--workspace", str(folder / "workspace")]


def read(terminal: int, until: str | None = None) -> str:
    """What appears on the terminal until a text, or until nobody writes any more."""
    seen, deadline, decoder = "", time.monotonic() + 180, codecs.getincrementaldecoder("utf-8")()
    while until is None or until not in seen:
        assert time.monotonic() < deadline, seen
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not chunk:
            break
        seen += decoder.decode(chunk)  # a chunk may end within a character
    return seen


def talk(folder: Path, *answers: str, session: str = planted.SESSION) -> tuple[int, str]:
    return converse(command(folder, session), *answers)


def converse(command: list[str], *answers: str) -> tuple[int, str]:
    """Answers each question in turn; the exit status, and all that stood on the terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True) as process:
        os.close(theirs)
        seen = ""
        try:
            for answer in answers:
                seen += read(ours, until="? ")
                os.write(ours, answer.encode() if answer == END else f"{answer}\n".encode())
            seen += read(ours)
            status = process.wait(timeout=60)
        finally:
            process.kill()  # one that waits for an answer would be waited for in turn
    os.close(ours)
    return status, seen.replace("\r\n", "\n")


def decisions(folder: Path) -> list[DecisionMade]:
    return [r.event for r in planted.recorded(folder).history if isinstance(r.event, DecisionMade)]


@pytest.mark.parametrize("outcome", ["keep", "revert"])
def test_a_persons_word_is_recorded_as_a_persons(tmp_path: Path, outcome: str):
    planted.failing(tmp_path)
    status, seen = talk(tmp_path, "perhaps", outcome, "looked at it")
    assert status == 0, seen
    for fact in ("FAIL", "9.00%", "2000 samples", "Host Estimate"):
        assert fact in seen
    (decision,) = decisions(tmp_path)
    assert (decision.outcome, decision.by_person, decision.reason) == (outcome, True, "looked at it")
    assert "on the terminal" in decision.decided_by
    status, seen = talk(tmp_path)
    assert (status, "Nothing waits" in seen) == (0, True)


@pytest.mark.parametrize(
    ("answers", "made"),
    [
        (["keep", "", "keep", ""], [("v2", "keep"), ("v1", "keep")]),
        (["revert", "", "skip"], [("v2", "revert")]),
        (["skip"], []),
    ],
)
def test_what_stops_everything_is_asked_before_what_the_agent_gave_up(
    tmp_path: Path, answers: list[str], made: list[tuple[str, str]]
):
    planted.failing(tmp_path)
    planted.append(tmp_path, planted.worlds.decided(planted.recorded(tmp_path), "v1", "revert", by_person=False))
    planted.append(tmp_path, *planted.variant(tmp_path, 2, "INCONCLUSIVE"))
    status, seen = talk(tmp_path, *answers)
    assert status == 0, seen
    assert ("can be kept once v2 is decided" in seen) == (answers == ["skip"])
    assert [(d.variant_id, d.outcome) for d in decisions(tmp_path) if d.by_person] == made


def test_what_the_agent_reverted_can_still_be_kept_here(tmp_path: Path):
    planted.failing(tmp_path)
    planted.append(tmp_path, planted.worlds.decided(planted.recorded(tmp_path), "v1", "revert", by_person=False))
    status, seen = talk(tmp_path, "keep", "")
    assert status == 0, seen
    assert [(d.outcome, d.by_person) for d in decisions(tmp_path)] == [("revert", False), ("keep", True)]


def test_what_was_turned_down_in_another_session_is_not_asked_about_and_hinders_nothing(tmp_path: Path):
    planted.failing(tmp_path, session_id=planted.OTHER)
    status, seen = talk(tmp_path, "revert", "never", session=planted.OTHER)
    assert status == 0, seen
    planted.failing(tmp_path)
    planted.append(tmp_path, planted.worlds.decided(planted.recorded(tmp_path), "v1", "revert", by_person=False))
    planted.append(tmp_path, *planted.variant(tmp_path, 2, "FAIL"))
    status, seen = talk(tmp_path, "keep", "this one will do")
    assert (status, "A person turned v1 down" in seen) == (1, True)
    assert [(d.variant_id, d.outcome) for d in decisions(tmp_path) if d.by_person] == [("v2", "keep")]


@pytest.mark.parametrize("answers", [[END], ["keep", END]])
def test_walking_away_decides_nothing(tmp_path: Path, answers: list[str]):
    planted.failing(tmp_path)
    status, seen = talk(tmp_path, *answers)
    assert status != 0
    assert "Traceback" not in seen
    assert decisions(tmp_path) == []


def test_a_file_that_was_exchanged_while_the_person_read_is_not_kept(tmp_path: Path):
    planted.failing(tmp_path)
    ours, theirs = pty.openpty()
    with subprocess.Popen(command(tmp_path), stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True) as process:
        os.close(theirs)
        read(ours, until="? ")
        (tmp_path / "workspace" / "v1.onnx").write_text("another model")
        os.write(ours, b"keep\nwhy not\n")
        seen = read(ours)
        assert process.wait(timeout=60) == 1
    os.close(ours)
    assert "is not the file that was recorded" in seen
    assert "Traceback" not in seen
    assert decisions(tmp_path) == []


def test_without_a_terminal_nobody_is_asked(tmp_path: Path):
    planted.failing(tmp_path)
    pretended = "keep\nthe user said so\n"
    done = subprocess.run(command(tmp_path), input=pretended, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "no terminal" in done.stderr
    assert decisions(tmp_path) == []


def test_an_unknown_session_is_said_to_be_one(tmp_path: Path):
    planted.failing(tmp_path)
    status, seen = talk(tmp_path, session="s_" + "f" * 32)
    assert status == 1
    assert "no such session" in seen
    assert "Traceback" not in seen
