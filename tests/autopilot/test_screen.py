"""What stands on the screen where there is no terminal, and the words for what is done."""

from __future__ import annotations

from io import StringIO

import pytest
from edgeopt.autopilot import screen
from edgeopt.autopilot.calling import Answer
from edgeopt.autopilot.history import History
from edgeopt.autopilot.policy import Call, Goal
from rich.console import Console

from ..state import worlds
from .simulated import Drawn, Server, play

OF = {"session_id": worlds.opened().session_id}
STEP = Call("optimize_model", {**OF, "step": {"technique": "int8_static", "per_channel": True}, "parent": "v1"})


@pytest.fixture
def history() -> History:
    server = Server(worlds.begun(), [Drawn(2.0)])
    play(server)
    return server.history


def plain() -> tuple[screen.Screen, StringIO]:
    stream = StringIO()
    return screen.Screen(Goal(), Console(file=stream, width=60)), stream


def test_without_a_terminal_each_call_and_answer_is_a_plain_line(history: History):
    shown, stream = plain()
    timing = Call("benchmark_variant", {**OF, "variant_id": "v1"})
    shown.begins(timing)
    comparison = worlds.comparison(2.0).model_dump(mode="json")
    shown.answers(timing, Answer("benchmark_variant", {"status": "ok", "comparison": comparison}, ""), history)
    began, ended = stream.getvalue().splitlines()
    assert began.endswith("timing v1 ...")
    assert "v1: 2.00x (1.98 to 2.02), faster" in ended
    assert shown.live is None
    assert "\x1b" not in stream.getvalue()


def test_a_long_job_says_now_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    shown, stream = plain()
    shown.begins(STEP)
    shown.goes_on(0.2, "epoch 1 of 5, about 3 minutes left")
    assert "epoch" not in stream.getvalue()
    monkeypatch.setattr(screen, "EVERY_S", 0.0)
    shown.goes_on(0.4, "epoch 2 of 5, about 2 minutes left")
    assert "40%, epoch 2 of 5, about 2 minutes left" in stream.getvalue()


def test_a_refusal_is_in_the_servers_words(history: History):
    refusal = {"code": "ONE_AT_A_TIME", "message": "v1 is not fully measured yet.", "next_calls": []}
    answer = Answer("optimize_model", {"status": "refused", "refusal": refusal}, "")
    said = screen.told(STEP, answer, history)
    assert said == (
        "making a variant: int8_static (per_channel=True) of v1: refused: ONE_AT_A_TIME: v1 is not fully measured yet."
    )


def test_what_the_models_and_the_server_say_is_no_markup(history: History):
    shown, stream = plain()
    answer = Answer("optimize_model", {"status": "failed", "message": "[bold]no[/bold] [/red]"}, "")
    shown.answers(STEP, answer, history)
    assert "[bold]no[/bold] [/red]" in stream.getvalue()


@pytest.mark.parametrize(("seconds", "shown"), [(0, "00:00"), (59.9, "00:59"), (61, "01:01"), (6000, "100:00")])
def test_the_clock_counts_minutes(seconds: float, shown: str):
    assert screen.clock(seconds) == shown
