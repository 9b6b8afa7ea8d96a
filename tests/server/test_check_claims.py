"""`edgeopt check-claims` on a session that real workers measured."""

from __future__ import annotations

import json
from pathlib import Path

from edgeopt.state.claims.facts import recorded_facts
from edgeopt.state.claims.judging import BAD, judge_text
from edgeopt.state.session import fold
from edgeopt.state.store import Store
from edgeopt.tools.reporting import summary, tradeoff

from ..tools.finished import Finished
from .test_command_line import edgeopt_says


def test_the_server_itself_claims_nothing_that_it_did_not_measure(finished: Finished):
    store = Store(finished.workspace)
    session = fold(store.load(finished.session_id)[0])
    store.close()
    for text in (summary(session), tradeoff(session)):
        judged = judge_text(text, recorded_facts(session), session.opened.target_device)
        assert len(judged) > 8
        assert [j for j in judged if j.mark in BAD] == []


def test_an_invented_number_ends_with_one(finished: Finished, tmp_path: Path):
    comparison = finished.answers["benchmark_variant"].data["comparison"]
    report = tmp_path / "report.md"
    true = f"v1 takes {comparison['variant']['latency_ms']['mean']:.3f} ms (Host Estimate)."
    of = ("--session", finished.session_id, "--workspace", finished.workspace)
    report.write_text(true)
    done = edgeopt_says("check-claims", report, *of)
    assert done.returncode == 0 and "measured" in done.stdout, done.stdout + done.stderr
    told = edgeopt_says("check-claims", f"{true} It is 417 times faster.", *of, "--json")
    assert told.returncode == 1
    assert [c["mark"] for c in json.loads(told.stdout)["claims"]] == ["measured", "invented"]


def test_a_session_that_is_not_there_is_said(finished: Finished):
    done = edgeopt_says("check-claims", "2 ms", "--session", "s_nope", "--workspace", finished.workspace)
    assert done.returncode == 1 and "no such session" in done.stderr
