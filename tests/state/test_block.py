"""The state block, the completion criteria and the fold that they are derived from."""

from __future__ import annotations

import pytest
from edgeopt.state.block import StateBlock, completion, state_block, tolerance_text
from edgeopt.state.events import CallRefused, JobFailed, ReportRendered
from edgeopt.state.session import BASELINE, Session, fold
from edgeopt.state.store import START, Store
from hypothesis import given, settings
from hypothesis import strategies as st

from . import worlds
from .test_guardrails_exhaustively import explored

PROFILED = worlds.begun(*worlds.profiled(1))
SEEDS_FIELDS = [
    *("phase", "model_name", "source_format", "target_device", "baseline_latency_ms", "baseline_accuracy"),
    *("accuracy_tolerance", "optimizations_applied", "current_best_latency_ms", "current_best_accuracy"),
    *("original_model_path", "last_action", "next_action", "blockers"),
]


def kept(session: Session, variant_id: str) -> Session:
    return worlds.grown(session, worlds.decided(session, variant_id, "keep", by_person=False))


def tried(session: Session, number: int, speedup: float = 2.0, parent: str = BASELINE) -> Session:
    """One more variant that passed."""
    job = 10 * number
    name = f"v{number}"
    made, timed = worlds.created(job, number, parent), worlds.benchmarked(job + 1, name, speedup)
    return worlds.grown(session, *made, *timed, *worlds.validated(job + 2, name, "PASS"))


# The fold


@settings(deadline=None)
@given(st.data())
def test_a_session_folded_in_pieces_is_the_session_folded_at_once(data: st.DataObject):
    states, _ = explored()
    history = data.draw(st.sampled_from(states)).history
    cuts = sorted(data.draw(st.sets(st.integers(1, len(history)))) | {len(history)})
    session, start = None, 0
    for cut in cuts:
        session, start = fold(history[start:cut], session), cut
    assert session == fold(history)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_a_session_survives_the_store(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    states, _ = explored()
    was = data.draw(st.sampled_from(states))
    store = Store(tmp_path_factory.mktemp("store"))
    store.append("s", START, [r.event for r in was.history])
    again = fold(store.load("s")[0])
    store.close()
    assert state_block(again) == state_block(was)
    assert again.variants == was.variants
    assert again.packages == was.packages


def test_a_history_begins_with_its_opening():
    for events in ([], PROFILED.history[1:]):
        with pytest.raises(ValueError, match=r"begins|no events"):
            fold(events)


# The block


def test_the_block_has_the_seeds_fields_in_their_order():
    assert list(StateBlock.model_fields) == SEEDS_FIELDS
    lines = state_block(PROFILED).text().splitlines()
    assert lines[0] == "<model-opt-state>"
    assert lines[-1] == "</model-opt-state>"
    assert [line.partition(": ")[0] for line in lines[1:-1]] == SEEDS_FIELDS


def test_the_block_of_a_new_session():
    block = state_block(worlds.begun())
    assert block.phase == "PROFILE"
    assert block.baseline_latency_ms == block.baseline_accuracy == "unmeasured"
    assert block.current_best_latency_ms == block.current_best_accuracy == "unmeasured"
    assert (block.model_name, block.source_format, block.target_device) == ("net", "onnx", "cpu-generic")
    assert (block.accuracy_tolerance, block.optimizations_applied, block.blockers) == ("2%", "none", "none")
    assert block.original_model_path == worlds.ORIGINAL.path
    assert "profile_model" in block.next_action


def test_the_phase_is_that_of_what_comes_next():
    session = PROFILED
    seen = [(state_block(session).phase, "optimize_model")]
    for events, tool in [
        (worlds.created(2, 1), "benchmark_variant"),
        (worlds.benchmarked(3, "v1"), "validate_variant"),
        (worlds.validated(4, "v1", "PASS"), "decide_variant"),
        ([worlds.decided(worlds.begun(*worlds.created(2, 1)), "v1", "keep", by_person=False)], "package_variant"),
        (worlds.packaged(5, "v1"), "render_report"),
        ([ReportRendered(report="tradeoff")], "complete"),
    ]:
        session = worlds.grown(session, *events)
        block = state_block(session)
        assert tool in block.next_action
        seen.append((block.phase, tool))
    assert [phase for phase, _ in seen] == [
        "OPTIMIZE",
        "BENCHMARK",
        "VALIDATE",
        "VALIDATE",
        "PACKAGE",
        "PACKAGE",
        "PACKAGE",
    ]


def test_a_loss_that_nobody_decided_blocks_and_says_how_much():
    session = worlds.grown(PROFILED, *worlds.created(2, 1), *worlds.benchmarked(3, "v1"))
    session = worlds.grown(session, *worlds.validated(4, "v1", "FAIL"))
    block = state_block(session)
    assert block.phase == "VALIDATE"
    assert "v1 is FAIL" in block.blockers and "+9.00%" in block.blockers
    assert "decide_variant" in block.next_action
    turned_down = worlds.grown(session, worlds.decided(session, "v1", "revert", by_person=True))
    assert (state_block(turned_down).phase, state_block(turned_down).blockers) == ("OPTIMIZE", "none")


def test_the_last_action_is_what_changed_something():
    running = worlds.grown(PROFILED, worlds.started(2, "optimize_model", "v1"))
    assert "optimize_model is running as j2" in state_block(running).last_action
    failed = worlds.grown(running, JobFailed(job_id="j2", code="TIMEOUT", message=""))
    assert state_block(failed).last_action == "optimize_model failed: TIMEOUT"
    refused = worlds.grown(failed, CallRefused(tool="package_variant", code="NOT_VALIDATED", message=""))
    assert state_block(refused).last_action == state_block(failed).last_action


def test_the_best_is_the_kept_variant_with_the_highest_speedup():
    session = tried(tried(tried(PROFILED, 1, 1.5), 2, 3.0), 3, 9.0)
    assert session.best == BASELINE
    session = kept(kept(session, "v1"), "v2")
    assert session.best == "v2"
    block = state_block(session)
    assert block.optimizations_applied == "int8_static"
    assert block.current_best_latency_ms == pytest.approx(2.0 / 3, rel=1e-4)
    assert block.current_best_accuracy == pytest.approx(0.9)


def test_a_kept_variant_that_is_not_faster_is_still_the_best():
    session = kept(tried(PROFILED, 1, 0.7), "v1")
    assert session.best == "v1"


def test_steps_that_were_stacked_are_named_in_order():
    session = kept(tried(PROFILED, 1), "v1")
    session = kept(tried(session, 2, 4.0, parent="v1"), "v2")
    assert [a.variant_id for a in session.chain("v2")] == ["v1", "v2"]
    assert state_block(session).optimizations_applied == "int8_static, int8_static"


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.02, "relative", "2%"),
        (0.005, "relative", "0.5%"),
        (0.0, "relative", "0%"),
        (0.015, "absolute", "0.015 absolute"),
    ],
)
def test_a_tolerance_is_said_as_it_was_given(value: float, kind: str, text: str):
    assert tolerance_text(value, kind) == text


# When it is done


def test_every_criterion_is_met_by_what_it_names_and_unmet_before():
    def met(session: Session, *, intact: bool = True) -> list[bool]:
        return [c.met for c in completion(session, original_intact=intact)]

    assert met(worlds.begun()) == [False, False, False, False, False, True]
    session = tried(PROFILED, 1)
    assert met(session) == [True, True, False, False, False, True]
    session = worlds.grown(session, ReportRendered(report="tradeoff"))
    session = kept(session, "v1")
    assert met(session) == [True, True, True, False, False, True]
    session = worlds.grown(session, *worlds.packaged(50, "v1"))
    session = worlds.grown(session, ReportRendered(report="summary"))
    assert met(session) == [True, True, True, True, False, True]
    session = worlds.grown(session, ReportRendered(report="tradeoff"))
    assert met(session) == [True] * 6
    assert met(session, intact=False) == [True] * 5 + [False]
    later = tried(session, 2)
    later = worlds.grown(later, worlds.decided(later, "v2", "revert", by_person=False))
    assert met(later)[4] is False
