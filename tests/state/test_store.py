"""The store keeps what it acknowledged, whatever happens to its writers, and notices what was changed."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from edgeopt.contract.measures import LayerScore
from edgeopt.contract.record import Record
from edgeopt.state.events import (
    CallRefused,
    DecisionRequested,
    Event,
    JobFailed,
    LeaveRefused,
    LookAnswered,
    LookTaken,
    LooseningLeft,
    LooseningRefused,
    PersonAnswered,
    QuestionClosed,
    QuestionLeft,
    ReportRendered,
    SensitivityAnalyzed,
    VariantJudged,
    VariantMade,
)
from edgeopt.state.store import START, Conflict, HistoryEdited, Store, StoreGone
from hypothesis import given, settings
from hypothesis import strategies as st

from . import worlds

SESSION = "s_" + "0" * 32
OTHER = "s_" + "1" * 32


def refused(number: int) -> CallRefused:
    return CallRefused(tool="t", code="C", message=f"number {number}")


def story() -> list[Event]:
    """Every kind of event once or more, as a session and the ledgers record them."""
    session = worlds.begun(*worlds.profiled(1), *worlds.created(2, 1), *worlds.benchmarked(3, "v1"))
    session = worlds.grown(session, *worlds.validated(4, "v1", "FAIL"))
    sha256 = session.variants["v1"].artifact.sha256
    asked = DecisionRequested(variant_id="v1", variant_sha256=sha256, number=1, client="c")
    closed = QuestionClosed(variant_id="v1", variant_sha256=sha256, client="c")
    kept = worlds.decided(session, "v1", "keep", by_person=True)
    failed = [worlds.started(9, "package_variant", "v1"), JobFailed(job_id="j9", code="CANCELLED", message="")]
    layers = [LayerScore(name="conv1", op="Conv", score=0.01, accuracy_drop=0.002)]
    analyzed = [
        worlds.started(8, "analyze_sensitivity", "baseline"),
        SensitivityAnalyzed(job_id="j8", parent_id="baseline", layers=layers, of=3, samples=32, confirmation="on 64"),
    ]
    rest = [
        *analyzed,
        asked,
        closed,
        kept,
        *failed,
        *worlds.packaged(10, "v1"),
        ReportRendered(report="tradeoff"),
        refused(1),
    ]
    ledgers: list[Event] = [
        LookTaken(
            session_id=SESSION,
            variant_sha256=sha256,
            data_digest="d",
            samples=["a"],
            count=1,
            number=1,
            alpha=0.03,
        ),
        VariantJudged(variant_sha256=sha256, data_digest="d", samples=["a"], count=1, status="FAIL"),
        PersonAnswered(session_id=SESSION, variant_sha256=sha256, outcome="keep", decided_by="person"),
        QuestionLeft(session_id=SESSION, variant_sha256=sha256, number=1, client="c"),
        LeaveRefused(variant_sha256=sha256, refused_by="person"),
        LooseningRefused(tolerance=0.5, evidence="point", refused_by="person"),
        LooseningLeft(number=1, client="c"),
        LookAnswered(
            session_id=SESSION,
            variant_sha256=sha256,
            data_digest="d",
            outcome="accept",
            number=1,
            answered_by="person",
        ),
        VariantMade(original_sha256=sha256, original_path="/m", session_id=SESSION, variant_id="v1"),
    ]
    return [*(r.event for r in worlds.grown(session, *rest).history), *ledgers]


def run(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that has the store."""
    preamble = (
        "import sys\nfrom pathlib import Path\nfrom edgeopt.state.store import *\nfrom edgeopt.state.events import *\n"
    )
    command = [sys.executable, "-P", "-c", preamble + code, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_what_was_appended_comes_back_in_order(tmp_path: Path):
    events = story()
    assert {type(e) for e in events} == set(get_args(Event))
    store = Store(tmp_path)
    tip = store.append(SESSION, START, events)
    loaded, end = store.load(SESSION)
    assert [r.event for r in loaded] == events
    assert [r.seq for r in loaded] == list(range(1, len(events) + 1))
    assert sorted(r.at for r in loaded) == [r.at for r in loaded]
    assert end == tip
    store.close()
    again, end = Store(tmp_path).load(SESSION)
    assert (again, end) == (loaded, tip)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=6), st.integers(0, 30))
def test_batches_add_up_and_can_be_read_from_anywhere(
    tmp_path_factory: pytest.TempPathFactory, batches: list[int], place: int
):
    store = Store(tmp_path_factory.mktemp("store"))
    tip, tips, said = START, [START], 0
    for size in batches:
        tip = store.append(SESSION, tip, [refused(said + n) for n in range(size)])
        said += size
        tips.append(tip)
    whole, end = store.load(SESSION)
    seen = tips[place % len(tips)]
    later, same_end = store.load(SESSION, seen)
    store.close()
    assert [r.event for r in whole] == [refused(n) for n in range(said)]
    assert later == whole[seen.seq :]
    assert end == same_end == tip


def test_sessions_are_apart_and_listed_newest_first(tmp_path: Path):
    store = Store(tmp_path)
    store.append(SESSION, START, [worlds.opened(session_id=SESSION)])
    store.append(f"original:{'a' * 64}", START, [refused(1)])  # a ledger is no session
    time.sleep(0.002)  # the clock of the events ticks in milliseconds
    store.append(OTHER, START, [worlds.opened(session_id=OTHER)])
    assert [r.event for r in store.load(OTHER)[0]] == [worlds.opened(session_id=OTHER)]
    assert store.load("s_" + "2" * 32) == ([], START)
    assert store.session_ids(9) == [OTHER, SESSION]
    assert store.session_ids(1) == [OTHER]


def test_only_one_writer_appends_at_a_place(tmp_path: Path):
    one, other = Store(tmp_path), Store(tmp_path)
    tip = one.append(SESSION, START, [refused(1)])
    for stale in (START, tip._replace(hash="0" * 64)):
        with pytest.raises(Conflict):
            other.append(SESSION, stale, [refused(2), refused(3)])
    assert len(other.load(SESSION)[0]) == 1
    other.append(SESSION, tip, [refused(2)])
    assert [r.seq for r in one.load(SESSION, tip)[0]] == [2]


def test_a_job_ends_once_and_a_batch_is_appended_whole_or_not_at_all(tmp_path: Path):
    store = Store(tmp_path)
    ends = JobFailed(job_id="j1", code="CANCELLED", message="")
    tip = store.append(SESSION, START, [worlds.started(1, "profile_model")])
    with pytest.raises(Conflict):
        store.append(SESSION, tip, [refused(1), ends, ends])
    assert len(store.load(SESSION)[0]) == 1
    tip = store.append(SESSION, tip, [ends])
    with pytest.raises(Conflict):
        store.append(SESSION, tip, [refused(1), worlds.profiled(1)[1]])
    assert store.load(SESSION)[1] == tip
    store.append(OTHER, START, [ends])  # another session's j1


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE event SET body = replace(body, 'number 2', 'number 9') WHERE seq = 3",
        "UPDATE event SET at = '2020-01-01T00:00:00.000+00:00' WHERE seq = 3",
        "UPDATE event SET hash = previous WHERE seq = 3",
        "UPDATE event SET previous = hash WHERE seq = 3",
        "DELETE FROM event WHERE seq = 3",
        "DELETE FROM event WHERE seq = 1",
        "UPDATE event SET seq = 99 WHERE seq = 3",
        f"UPDATE event SET session = '{OTHER}'",
    ],
)
def test_an_edited_history_is_noticed(tmp_path: Path, edit: str):
    store = Store(tmp_path)
    store.append(SESSION, START, [refused(n) for n in range(5)])
    store.close()
    with sqlite3.connect(tmp_path / "events.db") as db:
        assert db.execute(edit).rowcount > 0
    db.close()
    with pytest.raises(HistoryEdited):
        Store(tmp_path).load(OTHER if "session =" in edit else SESSION)


class FromTomorrow(Record):
    kind: str = "FromTomorrow"


def test_a_history_of_another_version_is_not_misread(tmp_path: Path):
    store = Store(tmp_path)
    tomorrow: Any = FromTomorrow()
    store.append(SESSION, START, [refused(1), tomorrow])
    with pytest.raises(HistoryEdited, match=r"event 2 .* another version"):
        store.load(SESSION)


def test_a_history_that_lost_its_end_takes_no_more_from_who_saw_it(tmp_path: Path):
    store = Store(tmp_path)
    tip = store.append(SESSION, START, [refused(1), refused(2)])
    with sqlite3.connect(tmp_path / "events.db") as db:
        db.execute("DELETE FROM event WHERE seq = 2")
    db.close()
    with pytest.raises(Conflict):
        store.append(SESSION, tip, [refused(3)])


def test_the_threads_of_a_process_take_turns(tmp_path: Path):
    store = Store(tmp_path)
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(10):
                while True:
                    try:
                        store.append(SESSION, store.load(SESSION)[1], [refused(number)])
                        break
                    except Conflict:
                        continue
        except BaseException as error:  # noqa: BLE001 - the test shows it
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.load(SESSION)[0]) == 40


def test_processes_that_open_a_new_store_at_once_share_it(tmp_path: Path):
    """Each makes the store if it is the first, adds a session of its own and takes part in a common one."""
    code = """
folder, me = Path(sys.argv[1]), sys.argv[2]
sys.stdin.readline()
store = Store(folder / "new" / "workspace")
for session in ("s_own" + me, "s_common"):
    for _ in range(5):
        while True:
            try:
                store.append(session, store.load(session)[1], [CallRefused(tool=me, code="C", message="")])
                break
            except Conflict:
                continue
"""
    processes = [run(code, tmp_path, n) for n in range(4)]
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    store = Store(tmp_path / "new" / "workspace")
    assert len(store.load("s_common")[0]) == 20
    assert all(len(store.load(f"s_own{n}")[0]) == 5 for n in range(4))


@pytest.mark.parametrize("enough", [3, 33, 99])
def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path, enough: int):
    code = """
store, tip, n = Store(Path(sys.argv[1])), START, 0
while True:
    tip = store.append("s", tip, [CallRefused(tool="t", code="C", message=f"number {n + i}") for i in range(3)])
    n += 3
    print(n, flush=True)
"""
    acknowledged = 0
    with run(code, tmp_path) as process:
        assert process.stdout
        while acknowledged < enough:
            acknowledged = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()  # communicate() would pass over what was read ahead with the last line
    acknowledged = max([acknowledged, *map(int, rest.split())])
    loaded, tip = Store(tmp_path).load("s")
    assert [r.event for r in loaded] == [refused(n) for n in range(len(loaded))]
    assert len(loaded) in (acknowledged, acknowledged + 3)
    Store(tmp_path).append("s", tip, [refused(0)])


def test_a_full_disk_records_nothing_and_loses_nothing(tmp_path: Path):
    """A limit on the size of files stands for the disk: SQLite cannot write on."""
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store, tip, n = Store(Path(sys.argv[1])), START, 0
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
try:
    while True:
        tip = store.append("s", tip, [CallRefused(tool="t", code="C", message=str(n) + "x" * 5000)])
        n += 1
except StoreFull as full:
    print(n, full)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
tip = store.append("s", tip, [CallRefused(tool="t", code="C", message="room again")])
"""
    with run(code, tmp_path) as process:
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    recorded, words = out.split(" ", 1)
    assert "no room" in words
    loaded, _ = Store(tmp_path).load("s")
    assert len(loaded) == int(recorded) + 1 > 10
    assert isinstance(loaded[-1].event, CallRefused) and loaded[-1].event.message == "room again"


def test_nothing_is_acknowledged_into_a_store_that_was_deleted(tmp_path: Path):
    store = Store(tmp_path)
    (tmp_path / "events.db").unlink()
    with pytest.raises(StoreGone):
        store.append(SESSION, START, [worlds.opened()])
    store.close()
