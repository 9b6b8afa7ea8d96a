"""`edgeopt demo`: the whole guarded pipeline on the bundled network, over a real transport, with nobody at the terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from edgeopt.state.events import CallRefused, DecisionMade, PackageBuilt
from edgeopt.state.session import fold
from edgeopt.state.store import Store


@pytest.mark.slow
def test_the_demo_refuses_asks_and_delivers(tmp_path: Path):
    command = [sys.executable, "-P", "-m", "edgeopt", "demo", "--workspace", str(tmp_path)]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, stdin=subprocess.DEVNULL, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    store = Store(tmp_path)
    (session_id,) = store.session_ids(9)
    session = fold(store.load(session_id)[0])
    store.close()
    events = [r.event for r in session.history]
    refusals = [(e.tool, e.code) for e in events if isinstance(e, CallRefused)]
    assert refusals == [
        ("optimize_model", "BASELINE_REQUIRED"),
        ("package_variant", "DECISION_REQUIRED"),
        ("decide_variant", "HUMAN_DECLINED"),
    ]
    crude, fine = session.variants.values()
    assert crude.turned_down and crude.validation and crude.validation.status == "FAIL"
    assert fine.kept and fine.passed
    assert [e.by_person for e in events if isinstance(e, DecisionMade)] == [True, False]
    (built,) = [e for e in events if isinstance(e, PackageBuilt)]
    assert built.package.verified
    assert built.package.path in done.stdout
