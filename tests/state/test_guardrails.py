"""Rules that the exhaustive exploration cannot tell apart: two variants with the same file, other sessions' answers."""

from __future__ import annotations

from edgeopt.state.events import QuestionClosed
from edgeopt.state.guardrails import judge
from edgeopt.state.request import Facts, Request
from edgeopt.state.rules.decisions import QUESTIONS_AT_MOST

from . import worlds

SAME = "a" * 64
KEEP = Request("decide_variant", variant_id="v2", outcome="keep", identity="x")


def test_making_the_same_file_again_gives_no_fresh_questions():
    closed = QuestionClosed(variant_id="v1", variant_sha256=SAME, client="c")
    first = [*worlds.created(2, 1, sha256=SAME), *worlds.benchmarked(3, "v1"), *worlds.validated(4, "v1", "FAIL")]
    session = worlds.begun(*worlds.profiled(1), *first, *[closed] * QUESTIONS_AT_MOST)
    session = worlds.grown(session, worlds.decided(session, "v1", "revert", by_person=False))
    again = [*worlds.created(5, 2, sha256=SAME), *worlds.benchmarked(6, "v2"), *worlds.validated(7, "v2", "FAIL")]
    refusal = judge(worlds.grown(session, *again), KEEP, Facts(owner="uid:0", asking="chat"))
    assert refusal
    assert refusal.code == "HUMAN_UNAVAILABLE"


def test_a_no_given_in_another_session_holds_even_where_the_file_passes_here():
    steps = [*worlds.created(2, 2, sha256=SAME), *worlds.benchmarked(3, "v2"), *worlds.validated(4, "v2", "PASS")]
    session = worlds.begun(*worlds.profiled(1), *steps)
    facts = Facts(owner="uid:0", asking="chat", turned_down_before=True)
    for request in (KEEP, Request("package_variant", variant_id="v2", identity="x")):
        refusal = judge(session, request, facts)
        assert refusal
        assert refusal.code == "HUMAN_DECLINED"
    assert judge(session, KEEP, Facts(owner="uid:0", asking="chat")) is None
