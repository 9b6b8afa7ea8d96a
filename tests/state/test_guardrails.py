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


def test_what_is_recorded_needs_no_room_no_turn_and_no_package():
    session = worlds.begun(*worlds.profiled(1), worlds.started(2, "optimize_model", "v1"))
    request = Request("profile_model", identity="r1")
    idle = worlds.begun(*worlds.profiled(1))
    for busy, facts, code in (
        (session, Facts(owner="uid:0"), "SESSION_BUSY"),
        (idle, Facts(owner="uid:0", disk_free_mb=1, disk_needed_mb=64), "DISK_SPACE"),
        (idle, Facts(owner="uid:0", unavailable="not installed"), "UNAVAILABLE"),
    ):
        refusal = judge(busy, request, facts)
        assert refusal
        assert refusal.code == code
        assert judge(busy, request, facts, recorded=True) is None
    other = judge(session, Request("profile_model", identity="r9"), Facts(owner="uid:0"), recorded=True)
    assert other
    assert other.code == "INVALID_ARGUMENT"


def test_a_no_given_in_another_session_holds_even_where_the_file_passes_here():
    steps = [*worlds.created(2, 2, sha256=SAME), *worlds.benchmarked(3, "v2"), *worlds.validated(4, "v2", "PASS")]
    session = worlds.begun(*worlds.profiled(1), *steps)
    facts = Facts(owner="uid:0", asking="chat", turned_down_before=True)
    for request in (KEEP, Request("package_variant", variant_id="v2", identity="x")):
        refusal = judge(session, request, facts)
        assert refusal
        assert refusal.code == "HUMAN_DECLINED"
    assert judge(session, KEEP, Facts(owner="uid:0", asking="chat")) is None
