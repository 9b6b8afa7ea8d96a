"""The live line: nothing where there is no terminal, no colour where none is wanted, no time left that is a guess."""

from __future__ import annotations

import re
import time
from io import StringIO

import pytest
from edgeopt.autopilot.live import Waiting, time_left, told
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from .simulated import calm

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")


@pytest.mark.parametrize(
    ("elapsed", "share", "left"),
    [
        (4, 0.5, ""),
        (60, 0.05, ""),
        (60, 1.0, ""),
        (60, 0.9, "a few seconds left"),
        (40, 0.5, "about 40 s left"),
        (37, 0.5, "about 40 s left"),
        (300, 0.5, "about 5 min left"),
    ],
)
def test_what_is_left_is_said_as_coarsely_as_it_is_known(elapsed: float, share: float, left: str):
    assert time_left(elapsed, share) == left


@calm
@given(st.floats(0, 1e6), st.floats(0, 1))
def test_a_time_left_is_near_what_it_follows_from(elapsed: float, share: float):
    said = time_left(elapsed, share)
    found = re.fullmatch(r"about (\d+) (s|min) left", said)
    if found:
        seconds = float(found[1]) * (60 if found[2] == "min" else 1)
        assert abs(seconds - elapsed * (1 - share) / share) <= (5.01 if found[2] == "s" else 30.01)


def test_the_worker_knows_better_what_is_left():
    assert "about 40 s" not in told("training", 40, 0.5, "epoch 2 of 4, about 3 minutes left").plain
    assert "about 40 s left" in told("timing", 40, 0.5, "block 3").plain
    assert "left" not in told("installing", 40, 0.5, "torch", estimates=False).plain


def waited(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, no_color: bool) -> str:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = StringIO()
    console = Console(file=stream, force_terminal=terminal, color_system="standard" if terminal else None, width=80)
    with Waiting(console, "timing v1") as waiting:
        waiting.goes_on(0.5, "block 3")
        time.sleep(0.3)
        console.print("a line above", style="green")
    return stream.getvalue()


def test_it_lives_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch):
    shown = waited(monkeypatch, terminal=True, no_color=False)
    assert "timing v1" in shown and "50%" in shown and COLOUR.search(shown)
    assert waited(monkeypatch, terminal=False, no_color=False) == "a line above\n"


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch):
    assert not COLOUR.search(waited(monkeypatch, terminal=True, no_color=True))
