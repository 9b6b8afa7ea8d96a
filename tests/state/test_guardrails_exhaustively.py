"""Every reachable abstract state of a session with up to two variants, by every call and every way it can end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from edgeopt.contract.steps import Int8Static, TensorRT
from edgeopt.state.events import DecisionMade, Event, PackageBuilt, QuestionClosed, VariantCreated
from edgeopt.state.guardrails import judge
from edgeopt.state.request import Facts, Request
from edgeopt.state.rules.decisions import QUESTIONS_AT_MOST, needs_person
from edgeopt.state.session import BASELINE, Session

from . import worlds

VARIANTS_AT_MOST = 2
STEP = Int8Static(technique="int8_static")
# The sessions explored are for a generic CPU.
WRONG_FORMAT = TensorRT(technique="tensorrt")
CHAT, NOBODY = Facts(owner="uid:0", asking="chat"), Facts(owner="uid:0")
# In other sessions of the original this file was asked about too often, or a person said no to it.
ASKED_OUT = replace(CHAT, left_open_before=QUESTIONS_AT_MOST)
TURNED_DOWN = replace(CHAT, turned_down_before=True)
VERDICTS: tuple[worlds.Verdict, ...] = ("PASS", "FAIL", "INCONCLUSIVE")

Abstract = tuple[object, ...]
Move = tuple[Request, Facts, str, Session]


def abstract(session: Session) -> Abstract:
    """What the rules can tell apart: ids, numbers and times are left out."""
    variants = tuple(
        (
            r.artifact.parent_id,
            r.comparison is not None,
            r.validation.status if r.validation else None,
            (r.decision.outcome, r.decision.by_person) if r.decision else None,
            min(r.closed, QUESTIONS_AT_MOST),
            v in session.packages,
        )
        for v, r in session.variants.items()
    )
    return (session.baseline is not None, variants)


def calls(session: Session) -> Iterator[tuple[Request, Facts]]:
    """Every call that a client can make, with and without a person behind it."""
    yield Request("profile_model", identity="r1"), NOBODY
    for subject in (BASELINE, *session.variants):
        yield Request("optimize_model", variant_id=subject, step=STEP, identity="x"), NOBODY
        yield Request("optimize_model", variant_id=subject, step=WRONG_FORMAT, identity="x"), NOBODY
        for tool in ("benchmark_variant", "validate_variant", "package_variant"):
            yield Request(tool, variant_id=subject, identity="x"), NOBODY
        for facts in (CHAT, NOBODY, ASKED_OUT, TURNED_DOWN):
            yield Request("decide_variant", variant_id=subject, outcome="keep", identity="x"), facts
        yield Request("decide_variant", variant_id=subject, outcome="revert", identity="x"), NOBODY


def ends(session: Session, request: Request) -> Iterator[tuple[str, list[Event]]]:
    """The ways in which an allowed call can end, as the tools record them."""
    job = len(session.jobs) + 1
    subject = request.variant_id or BASELINE
    match request.tool:
        case "profile_model":
            yield "measured", worlds.profiled(job) if session.baseline is None else []
        case "optimize_model":
            if len(session.variants) < VARIANTS_AT_MOST:
                yield "created", worlds.created(job, len(session.variants) + 1, subject)
        case "benchmark_variant":
            if subject != BASELINE:
                yield "benchmarked", worlds.benchmarked(job, subject)
        case "validate_variant":
            # A second validation of an unchanged file gives the recorded result again.
            if subject != BASELINE and session.variants[subject].validation is None:
                for verdict in VERDICTS:
                    yield verdict, worlds.validated(job, subject, verdict)
        case "package_variant":
            kept = [] if session.variants[subject].kept else [worlds.decided(session, subject, "keep", False)]
            yield "packaged", [*kept, *worlds.packaged(job, subject)]
        case "decide_variant":
            yield from decisions(session, request, subject)


def decisions(session: Session, request: Request, subject: str) -> Iterator[tuple[str, list[Event]]]:
    record = session.variants[subject]
    if request.outcome == "keep" and needs_person(record):
        sha256 = record.artifact.sha256
        yield "a person's yes", [worlds.decided(session, subject, "keep", True)]
        yield "a person's no", [worlds.decided(session, subject, "revert", True)]
        yield "closed", [QuestionClosed(variant_id=subject, variant_sha256=sha256, client="c")]
    else:
        assert request.outcome is not None
        yield "the agent's word", [worlds.decided(session, subject, request.outcome, False)]


@cache
def explored() -> tuple[list[Session], list[tuple[Session, Request, Facts, str, Session]]]:
    """Every reachable state, and every move between them, to a fixed point."""
    first = worlds.begun()
    seen: dict[Abstract, Session] = {abstract(first): first}
    moves: list[tuple[Session, Request, Facts, str, Session]] = []
    todo = deque([first])
    while todo:
        session = todo.popleft()
        for request, facts in calls(session):
            if judge(session, request, facts):
                continue
            for how, events in ends(session, request):
                after = worlds.grown(session, *events) if events else session
                moves.append((session, request, facts, how, after))
                if abstract(after) not in seen:
                    seen[abstract(after)] = after
                    todo.append(after)
    return list(seen.values()), moves


def test_the_state_space_is_large_and_is_explored_to_its_end():
    states, moves = explored()
    assert len(states) > 300
    assert len(moves) > 2000


def test_nothing_but_profiling_is_allowed_before_the_baseline():
    states, _ = explored()
    unprofiled = [s for s in states if s.baseline is None]
    assert unprofiled
    for session in unprofiled:
        for request, facts in calls(session):
            refusal = judge(session, request, facts)
            assert request.tool == "profile_model" or (refusal and refusal.code == "BASELINE_REQUIRED")


def test_no_move_but_a_persons_yes_keeps_a_variant_that_did_not_pass():
    _, moves = explored()
    kept = [
        (before, how, facts, variant_id)
        for before, _, facts, how, after in moves
        for variant_id, record in after.variants.items()
        if record.kept
        and not record.passed
        and not (variant_id in before.variants and before.variants[variant_id].kept)
    ]
    assert kept
    assert {how for _, how, _, _ in kept} == {"a person's yes"}
    assert all(facts.asking == "chat" for _, _, facts, _ in kept)


def test_without_a_person_no_sequence_of_calls_keeps_or_packages_what_did_not_pass():
    first = worlds.begun()
    seen, todo = {abstract(first)}, deque([first])
    while todo:
        session = todo.popleft()
        for request, facts in calls(session):
            if facts.asking != "nobody" or judge(session, request, facts):
                continue
            for _, events in ends(session, request):
                after = worlds.grown(session, *events) if events else session
                assert all(record.passed for record in after.variants.values() if record.kept)
                assert all(after.variants[v].passed for v in after.packages)
                if abstract(after) not in seen:
                    seen.add(abstract(after))
                    todo.append(after)
    assert len(seen) > 100


def test_nobody_is_asked_about_a_file_that_was_settled_or_asked_about_too_often_elsewhere():
    states, moves = explored()
    for facts, code in ((ASKED_OUT, "HUMAN_UNAVAILABLE"), (TURNED_DOWN, "HUMAN_DECLINED")):
        asking = [
            refusal
            for session in states
            for request, given in calls(session)
            if given is facts and needs_person(session.variants.get(request.variant_id or ""))
            for refusal in [judge(session, request, given)]
        ]
        assert all(asking)
        assert code in {refusal.code for refusal in asking if refusal}
        assert not [how for _, _, given, how, _ in moves if given is facts and how in ("a person's yes", "closed")]


def test_what_is_packaged_was_benchmarked_validated_and_is_kept():
    _, moves = explored()
    packages = [(after, e) for _, _, _, how, after in moves if how == "packaged" for e in [after.history[-1].event]]
    assert packages
    for session, event in packages:
        assert isinstance(event, PackageBuilt)
        record = session.variants[event.variant_id]
        assert record.comparison
        assert record.validation
        assert record.kept
        assert record.passed or (record.decision and record.decision.by_person)


def test_a_step_starts_only_when_everything_is_measured_and_from_the_baseline_or_a_kept_variant():
    _, moves = explored()
    steps = [(before, after.history[-1].event) for before, _, _, how, after in moves if how == "created"]
    assert steps
    for before, event in steps:
        assert isinstance(event, VariantCreated)
        assert not any(r.unmeasured or r.awaits_person for r in before.variants.values())
        parent = event.artifact.parent_id
        assert parent == BASELINE or (parent and before.variants[parent].kept)


def test_a_step_that_makes_a_wrong_format_never_starts_and_is_refused_for_that_where_another_would_start():
    states, _ = explored()
    codes: set[str] = set()
    for session in states:
        for subject in (BASELINE, *session.variants):
            wrong, right = (
                judge(session, Request("optimize_model", variant_id=subject, step=step, identity="x"), NOBODY)
                for step in (WRONG_FORMAT, STEP)
            )
            assert wrong
            assert wrong.code == (right.code if right else "FORMAT_DEVICE_MISMATCH")
            codes.add(wrong.code)
    assert {"FORMAT_DEVICE_MISMATCH", "BASELINE_REQUIRED", "ONE_AT_A_TIME"} <= codes


def test_a_persons_decision_is_never_overturned():
    _, moves = explored()
    for before, _, _, _, after in moves:
        for variant_id, record in before.variants.items():
            if record.decision and record.decision.by_person:
                assert after.variants[variant_id].decision == record.decision


def test_while_a_loss_is_undecided_nothing_is_optimized_packaged_or_kept():
    states, _ = explored()
    waiting = [s for s in states if s.waiting_for_person]
    assert waiting
    for session in waiting:
        for request, facts in calls(session):
            subject = request.variant_id
            other = subject not in session.waiting_for_person
            if request.tool in ("optimize_model", "package_variant") or (request.outcome == "keep" and other):
                assert judge(session, request, facts), (abstract(session), request)


def test_a_question_is_put_three_times_at_most():
    states, _ = explored()
    worn_out = [
        (s, v) for s in states for v, r in s.variants.items() if r.closed >= QUESTIONS_AT_MOST and needs_person(r)
    ]
    assert worn_out
    for session, variant_id in worn_out:
        request = Request("decide_variant", variant_id=variant_id, outcome="keep", identity="x")
        refusal = judge(session, request, CHAT)
        assert refusal
        if not any(v != variant_id for v in session.waiting_for_person):
            assert refusal.code == "HUMAN_UNAVAILABLE"
            assert "edgeopt decide" in refusal.message
        on_terminal = judge(session, request, Facts(owner="uid:0", asking="terminal"))
        assert on_terminal is None or on_terminal.code == "DECISION_REQUIRED"


def test_every_refusal_names_its_guardrail_and_a_next_call_of_this_session_or_for_another():
    states, _ = explored()
    refusals = [r for s in states for request, facts in calls(s) if (r := judge(s, request, facts))]
    assert len(refusals) > 1000
    for refusal in refusals:
        assert refusal.guardrail
        assert refusal.message
        assert refusal.next_calls
        of_others = [call for call in refusal.next_calls if "session_id" not in call.arguments]
        assert {call.tool for call in of_others} <= {"open_session", "list_sessions"}


def test_from_every_state_there_is_a_way_to_an_end_without_a_person():
    """No dead end: the agent alone can always get to a state in which nothing waits for a person."""
    states, _ = explored()
    for session in states:
        for variant_id in session.waiting_for_person:
            request = Request("decide_variant", variant_id=variant_id, outcome="revert", identity="x")
            assert judge(session, request, NOBODY) is None


def test_decisions_are_made_of_what_the_explorer_thinks():
    """The explorer must not miss a way of deciding: every decided record stems from DecisionMade."""
    states, _ = explored()
    decided = [r.decision for s in states for r in s.variants.values() if r.decision]
    assert decided
    assert all(isinstance(d, DecisionMade) for d in decided)
