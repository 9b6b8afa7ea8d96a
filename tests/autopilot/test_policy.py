"""The policy: what it does next, by the server's own rules and recommendations on sessions that are drawn."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from edgeopt.autopilot.history import History
from edgeopt.autopilot.policy import Call, Goal, Known, Stop, best, next_move
from edgeopt.state.events import DecisionMade
from hypothesis import given
from hypothesis import strategies as st

from ..state import worlds
from .simulated import Drawn, Server, calm, play

SESSION = worlds.opened().session_id
PERSON = Goal(person=True)


def tools(server: Server) -> list[str]:
    return [call.tool for call in server.calls]


def packaged(history: History) -> list[str]:
    return list(history.packages)


def new(*draws: Drawn, **more: Any) -> Server:
    """A server with a session that has just been opened; `more` of the session's own goes to worlds.opened."""
    of_the_session = {name: more.pop(name) for name in ("latency_target_ms",) if name in more}
    return Server(worlds.begun(**of_the_session), list(draws), **more)


# What a run does


def test_the_baseline_comes_first_and_the_table_last():
    server = new(Drawn(1.0), Drawn(2.0), Drawn(1.5))
    stop, history = play(server)
    assert tools(server)[0] == "profile_model"
    assert tools(server)[-2:] == ["package_variant", "render_report"]
    assert stop.because == "Nothing is left that the server would try."
    assert packaged(history) == ["v2"]


@pytest.mark.parametrize(("threads", "expected"), [(4, {"threads": 4}), (None, {})])
def test_the_baseline_is_measured_on_the_threads_that_were_asked_for(threads: int | None, expected: dict[str, int]):
    server = new(Drawn(1.0))
    play(server, Goal(threads=threads))
    assert [c.arguments for c in server.calls if "threads" in c.arguments or c.tool == "profile_model"] == [
        {"session_id": SESSION, **expected}
    ]


def test_each_variant_is_measured_and_decided_before_the_next():
    server = new(Drawn(1.5), Drawn(2.0), Drawn(1.2))
    play(server)
    rounds = [tool for tool in tools(server) if tool not in ("profile_model", "package_variant", "render_report")]
    one = ["optimize_model", "benchmark_variant", "validate_variant", "decide_variant"]
    assert len(rounds) > len(one)
    assert rounds == one * (len(rounds) // len(one))


def test_the_fastest_that_passes_is_kept():
    _, history = play(new(Drawn(1.3), Drawn(2.0), Drawn(1.7), Drawn(1.1)))
    outcomes = {v: trial.outcome for v, trial in history.trials.items()}
    assert outcomes["v1"] == outcomes["v2"] == "keep"  # each the best when it was judged
    assert {outcomes[v] for v in outcomes if v not in ("v1", "v2")} == {"revert"}
    assert packaged(history) == ["v2"]


def test_what_is_not_faster_is_reverted_unless_smaller_is_asked_for():
    _, history = play(new(Drawn(1.0)))
    assert {trial.outcome for trial in history.trials.values()} == {"revert"}
    assert packaged(history) == []
    _, history = play(new(Drawn(1.0)), Goal(smaller=True))
    assert [trial.outcome for trial in history.trials.values()].count("keep") == 1
    assert packaged(history) == ["v1"]


def test_what_meets_the_latency_target_comes_before_what_is_smaller():
    _, history = play(new(Drawn(1.0), Drawn(2.0), latency_target_ms=1.1), Goal(smaller=True))
    assert [history.trials[v].outcome for v in ("v1", "v2")] == ["keep", "keep"]  # v1 is as small
    assert packaged(history) == ["v2"]


def test_an_export_is_kept_as_a_road_and_not_packaged_for_that():
    server = Server(worlds.begun(source_format="pytorch"), [Drawn(1.0), Drawn(1.0)])
    _, history = play(server)
    assert history.trials["v1"].artifact.technique == "export_onnx"
    assert history.trials["v1"].kept
    assert len(history.trials) > 1
    assert packaged(history) == []


# When it stops


def test_with_a_training_set_a_model_is_pruned_too():
    for more, expected in (({"training_path": "/data/train.npz"}, True), ({}, False)):
        server = Server(worlds.begun(source_format="pytorch", **more), [Drawn(1.5, "FAIL")])
        play(server)
        tried = {call.arguments["step"]["technique"] for call in server.calls if call.tool == "optimize_model"}
        assert ("prune_structured" in tried) == expected, tried


def test_it_stops_when_the_latency_target_is_met():
    server = new(Drawn(1.2), Drawn(2.0), Drawn(3.0), latency_target_ms=1.1)
    stop, history = play(server)
    assert list(history.trials) == ["v1", "v2"]
    assert packaged(history) == ["v2"]
    assert "v2 meets the latency target: 1 of 1.1 ms" in stop.because


def test_a_spent_budget_ends_the_search_and_still_packages_what_there_is():
    server = new(Drawn(1.5), Drawn(2.0))
    stop, history = play(server, Goal(budget_s=60), seconds_a_call=10)
    assert stop.because == "The budget of 1 minutes is spent."
    assert packaged(history) == ["v1"]
    assert tools(server).index("package_variant") >= 6  # nothing was begun at 60 s or later but to close
    assert set(tools(server)[6:]) <= {"decide_variant", "package_variant", "render_report"}


def test_without_any_budget_the_baseline_is_all_that_is_measured():
    server = new(Drawn())
    play(server, Goal(budget_s=0))
    assert tools(server) == ["profile_model", "render_report"]


def test_what_the_budget_left_unmeasured_waits_for_another_run():
    server = new(Drawn(2.0))
    play(server, Goal(budget_s=15), seconds_a_call=10)
    assert tools(server) == ["profile_model", "optimize_model", "render_report"]
    assert server.history.trials["v1"].outcome is None
    _, history = play(server)
    assert history.trials["v1"].kept
    assert packaged(history) == ["v1"]


def test_spent_looks_end_the_search():
    server = new(Drawn(1.5), Drawn(2.0), looks_allowed=1)
    stop, history = play(server)
    assert "looks" in stop.because
    assert packaged(history) == ["v1"]
    assert history.trials["v2"].validation is None


def test_a_baseline_that_cannot_be_measured_ends_it():
    server = new(Drawn(), recommends=lambda _: [])
    stop, _ = play(server)
    assert stop == Stop("The baseline could not be measured.")
    assert server.calls == []


# Losses


LOSSY = (Drawn(1.5), Drawn(3.0, "FAIL"), Drawn(2.0, "INCONCLUSIVE"), Drawn(1.1))


def test_without_a_person_a_loss_is_given_up_and_said():
    server = new(*LOSSY)
    stop, history = play(server)
    assert packaged(history) == ["v1"]
    assert server.asked == []
    assert stop.waiting == ("v2", "v3")


def test_a_person_is_asked_at_the_end_about_what_is_faster_than_all_that_pass():
    server = new(*LOSSY, person="keep")
    _, history = play(server)
    assert server.asked == ["v2"]
    assert packaged(history) == ["v2"]
    assert tools(server)[-3:] == ["decide_variant", "package_variant", "render_report"]


def test_after_a_no_only_a_smaller_loss_is_asked_about():
    server = new(*LOSSY, person="revert")
    stop, history = play(server)
    assert server.asked == ["v2", "v3"]  # 9 % of loss, then 1.5 %
    assert packaged(history) == ["v1"]
    assert stop.waiting == ()
    server = new(Drawn(1.5), Drawn(3.0, "FAIL"), Drawn(2.0, "FAIL"), Drawn(1.1), person="revert")
    play(server)
    assert server.asked == ["v2"]


def test_an_unanswered_question_is_not_put_again():
    server = new(*LOSSY, person="leave")
    stop, _ = play(server)
    assert server.asked == ["v2", "v3"]
    assert stop.waiting == ("v2", "v3")


def test_nobody_is_asked_about_what_is_not_faster_than_what_passes():
    server = new(Drawn(2.0), Drawn(1.9, "FAIL"), person="keep")
    play(server)
    assert server.asked == []


# What goes wrong


def test_what_cannot_be_measured_is_given_up_and_the_search_goes_on():
    server = new(Drawn(None), Drawn(2.0, None), Drawn(1.5))
    _, history = play(server)
    assert [history.trials[v].outcome for v in ("v1", "v2", "v3")] == ["revert", "revert", "keep"]
    assert packaged(history) == ["v3"]


def test_a_step_that_breaks_is_not_tried_again():
    server = new(Drawn(made=False))
    _, history = play(server)
    steps = [call.key for call in server.calls if call.tool == "optimize_model"]
    assert len(steps) == len(set(steps)) >= 2
    assert history.trials == {}


def test_a_refusal_is_followed_where_it_leads_to_a_measurement():
    session = worlds.begun(*worlds.profiled(), *worlds.created(2, 1))
    step = {"technique": "float16"}
    server = Server(session, [Drawn(1.5)])
    wrong = Call("optimize_model", {"session_id": SESSION, "step": step, "parent": "v1"})
    refusal = server.answer(wrong)
    known = Known(server.history).after(wrong, server.history, refusal)
    assert next_move(known, Goal()) == Call(
        "benchmark_variant", {"session_id": SESSION, "variant_id": "v1"}, "measures it"
    )


@pytest.mark.parametrize(
    "call",
    [
        Call("package_variant", {"session_id": SESSION, "variant_id": "v1"}),
        Call("decide_variant", {"session_id": SESSION, "variant_id": "v1", "outcome": "keep", "reason": "because"}),
        Call("optimize_model", {"session_id": SESSION, "parent": "v1", "step": {"technique": "float16"}}),
        Call("profile_model", {"session_id": "s_" + "9" * 32}),
        Call("benchmark_variant", {"session_id": SESSION, "variant_id": "..."}),
        Call("cancel_job", {"session_id": SESSION, "job_id": "j1"}),
    ],
)
def test_what_is_recommended_is_not_done_for_that(call: Call):
    """Bad advice: none of these is a call that the policy would make while v1 is not measured."""
    session = worlds.begun(*worlds.profiled(), *worlds.created(2, 1))
    history = Server(session, [Drawn()]).history
    move = next_move(Known(history, recommended=(call,), offered=(call,)), PERSON)
    assert move == Call("render_report", {"session_id": SESSION, "kind": "tradeoff"}, "the table for the person")


# Whatever happens

DRAWS = st.lists(
    st.builds(
        Drawn,
        speedup=st.sampled_from([None, 0.7, 1.0, 1.2, 1.5, 2.0, 3.0]),
        status=st.sampled_from([None, "PASS", "FAIL", "INCONCLUSIVE"]),
        made=st.sampled_from([True, True, True, False]),
    ),
    min_size=1,
    max_size=8,
)
PEOPLE = st.sampled_from([None, "keep", "revert", "leave"])
GOALS = st.builds(Goal, budget_s=st.sampled_from([None, 0.0, 50.0, 120.0]), smaller=st.booleans())
VARIANTS = st.sampled_from(["v1", "v2", "v3"])
PARENTS = st.sampled_from(["v1", "v2", "v3", "best", "baseline"])
ADVICE = st.lists(
    st.one_of(
        st.builds(lambda tool, v: Call(tool, {"session_id": SESSION, "variant_id": v}), st.sampled_from(["benchmark_variant", "validate_variant", "package_variant"]), VARIANTS),
        st.builds(lambda v, outcome: Call("decide_variant", {"session_id": SESSION, "variant_id": v, "outcome": outcome, "reason": ""}), VARIANTS, st.sampled_from(["keep", "revert"])),
        st.builds(lambda v, t: Call("optimize_model", {"session_id": SESSION, "parent": v, "step": {"technique": t}}), PARENTS, st.sampled_from(["simplify", "graph_optimize", "float16", "int8_static", "int8_dynamic"])),
        st.just(Call("profile_model", {"session_id": SESSION})),
        st.builds(lambda n: Call("profile_model", {"session_id": SESSION, "iterations": n}), st.integers(100, 10_000)),
    ),
    max_size=4,
)  # fmt: skip


def check(server: Server, goal: Goal) -> None:
    """What holds at the end of every run."""
    events = [recorded.event for recorded in server.session.history]
    kept_lossy = [
        event
        for event in events
        if isinstance(event, DecisionMade)
        and event.outcome == "keep"
        and not server.session.variants[event.variant_id].passed
    ]
    assert all(event.by_person for event in kept_lossy)
    assert bool(server.asked) <= goal.person
    assert len({call.key for call in server.calls}) == len(server.calls)
    found = best(server.history, goal)
    if found is not None:
        assert found.variant_id in server.session.packages
        assert found.kept


@calm
@given(draws=DRAWS, person=PEOPLE, goal=GOALS, looks=st.sampled_from([None, 1, 3]))
def test_it_always_ends_and_never_keeps_a_loss_by_itself(
    draws: list[Drawn], person: Any, goal: Goal, looks: int | None
):
    server = Server(worlds.begun(), draws, person=person, looks_allowed=looks)
    goal = Goal(goal.budget_s, goal.smaller, person is not None)
    play(server, goal, seconds_a_call=10, most=300)
    check(server, goal)
    assert {refusal.code for _, refusal in server.refusals} <= {"LOOK_BUDGET", "HUMAN_DECLINED"}


@calm
@given(draws=DRAWS, person=PEOPLE, goal=GOALS, advice=st.lists(ADVICE, min_size=1, max_size=8))
def test_so_it_does_with_any_advice(draws: list[Drawn], person: Any, goal: Goal, advice: list[list[Call]]):
    turn = itertools.cycle(advice)
    server = Server(worlds.begun(*worlds.profiled()), draws, person=person, recommends=lambda _: next(turn))
    goal = Goal(goal.budget_s, goal.smaller, person is not None)
    play(server, goal, most=600)
    check(server, goal)
    out_of_order = {"BASELINE_REQUIRED", "ONE_AT_A_TIME", "NOT_BENCHMARKED", "NOT_VALIDATED", "DECISION_REQUIRED"}
    assert not {refusal.code for _, refusal in server.refusals} & out_of_order
