"""A session's events as a client reads them: what the server knows of the variants, the client knows too."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from edgeopt.autopilot.history import read
from edgeopt.state.session import Session
from hypothesis import given
from hypothesis import strategies as st

from ..state import worlds
from .simulated import Drawn, Server, calm, play


def lines(session: Session) -> Iterator[str]:
    return (json.dumps(recorded.event.model_dump(mode="json")) for recorded in session.history)


@calm
@given(
    st.lists(
        st.builds(Drawn, st.sampled_from([None, 1.0, 2.0]), st.sampled_from([None, "PASS", "FAIL"]), st.booleans()),
        min_size=1,
        max_size=5,
    )
)
def test_it_is_the_sessions_own_word(draws: list[Drawn]):
    server = Server(worlds.begun(), draws, person="keep")
    play(server)
    history, session = read(lines(server.session)), server.session
    assert history.baseline == session.baseline
    assert history.packages == session.packages
    assert list(history.trials) == list(session.variants)
    for variant, record in session.variants.items():
        trial = history.trials[variant]
        assert (trial.comparison, trial.validation, trial.kept) == (record.comparison, record.validation, record.kept)
        assert trial.unmeasured == record.unmeasured
    assert history.running == {}


def test_what_runs_is_known_by_its_tool():
    session = worlds.begun(worlds.started(1, "profile_model"))
    assert read(lines(session)).running == {"j1": "profile_model"}
    assert read(lines(worlds.begun(*worlds.profiled()))).running == {}


def test_the_files_of_a_session_are_known():
    history = read(lines(worlds.begun()))
    assert history.files == ("/models/net.onnx", "/data/test.npz", "/data/calibration.npz")
    assert history.code == ()
    trained = read(lines(worlds.begun(training_path="/data/train.npz")))
    assert trained.files == (*history.files, "/data/train.npz")


def test_what_is_no_session_is_not_read_as_one():
    with pytest.raises(ValueError, match="without events"):
        read([])
    with pytest.raises(ValueError, match="SessionOpened"):
        read([json.dumps({"kind": "JobStarted", "job_id": "j1"})])
