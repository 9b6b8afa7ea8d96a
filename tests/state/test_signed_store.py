"""A signed store: what was not recorded with the key is not read, and what was cut off is missed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from edgeopt.contract.signing import SigningKey, new_key, public_key, signing_key
from edgeopt.state.events import CallRefused
from edgeopt.state.store import START, HistoryEdited, Store, StoreUnusable, Tip
from edgeopt.state.witness import Witness
from hypothesis import given
from hypothesis import strategies as st

SESSION, OTHER = "s_" + "0" * 32, "s_" + "1" * 32
LEDGER = f"original:{'a' * 64}"
KEY, STRANGER = new_key(), new_key()


def refused(number: int) -> CallRefused:
    return CallRefused(tool="t", code="C", message=f"number {number}")


@contextmanager
def at(folder: Path, key: SigningKey | None = KEY, witness: bool = False) -> Iterator[Store]:
    store = Store(folder, key, Witness(folder.parent / "witness", folder) if witness else None)
    try:
        yield store
    finally:
        store.close()


def recorded(folder: Path, count: int = 5, stream: str = SESSION, key: SigningKey | None = KEY) -> Tip:
    with at(folder, key) as store:
        return store.append(stream, START, [refused(n) for n in range(count)])


def edit(folder: Path, *statements: str) -> None:
    with sqlite3.connect(folder / "events.db") as db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0
    db.close()


def forged(folder: Path, stream: str = SESSION) -> None:
    """More events, by somebody who knows how hashes are chained and has no key."""
    with at(folder) as store:
        _, tip = store.load(stream)
    with at(folder, STRANGER) as store:
        store.append(stream, tip, [refused(98), refused(99)])


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_a_signature_is_of_one_message_by_one_key(message: bytes, other: bytes):
    signature = KEY.sign(message)
    assert public_key(KEY.public.pem()).verifies(message, signature)
    assert signing_key(KEY.pem()).public.id == KEY.public.id
    assert not STRANGER.public.verifies(message, signature)
    assert KEY.public.verifies(other, signature) == (other == message)


def test_nothing_prints_the_secret():
    assert KEY.pem().decode() not in repr(KEY) + str(KEY)
    assert repr(KEY) == f"SigningKey({KEY.public.id})"


def test_a_signed_history_is_read_back_and_goes_on(tmp_path: Path):
    tip = recorded(tmp_path)
    with at(tmp_path) as store:
        events, end = store.load(SESSION)
        assert ([r.event for r in events], end) == ([refused(n) for n in range(5)], tip)
        store.append(SESSION, tip, [refused(5)])
        assert [r.seq for r in store.load(SESSION, tip)[0]] == [6]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("signature = NULL WHERE seq = 5", "event 5 .* carries no signature"),
        ("signature = NULL", "event 1 .* carries no signature"),
        ("signature = substr(signature, 1, 17) || 'AAAA' WHERE seq = 5", "event 5 .* WRONG"),
        ("signature = substr(signature, 1, 17) || '?' WHERE seq = 5", "event 5 .* WRONG"),
        ("signature = (SELECT signature FROM event WHERE seq = 4) WHERE seq = 5", "event 5 .* WRONG"),
        (f"signature = '{STRANGER.public.id}:AAAA' WHERE seq = 5", f"another key, {STRANGER.public.id}"),
        ("body = replace(body, 'number 2', 'number 9') WHERE seq = 3", "event 3 .* not the one that was recorded"),
    ],
)
def test_what_the_key_did_not_sign_is_not_read_and_stays_where_it_is(tmp_path: Path, change: str, words: str):
    recorded(tmp_path)
    edit(tmp_path, f"UPDATE event SET {change}")
    with at(tmp_path) as store, pytest.raises(HistoryEdited, match=f"{words}.*") as caught:
        store.load(SESSION)
    assert "session" in str(caught.value)
    with sqlite3.connect(tmp_path / "events.db") as db:
        assert db.execute("SELECT count(*) FROM event").fetchone() == (5,)
    db.close()


@pytest.mark.parametrize("stream", [SESSION, LEDGER])
def test_events_of_somebody_without_the_key_are_refused_by_name(tmp_path: Path, stream: str):
    recorded(tmp_path, stream=stream)
    forged(tmp_path, stream)
    name = "ledger of the original" if stream == LEDGER else "session"
    with at(tmp_path) as store, pytest.raises(HistoryEdited, match=f"event 6 of .*{name}.*edgeopt sign"):
        store.load(stream)


def test_a_reader_who_goes_on_sees_it_too(tmp_path: Path):
    tip = recorded(tmp_path)
    forged(tmp_path)
    with at(tmp_path) as store, pytest.raises(HistoryEdited, match="event 6"):
        store.load(SESSION, tip)


def test_a_signature_holds_for_its_own_place_alone(tmp_path: Path):
    """A whole signed history under another session's name."""
    recorded(tmp_path)
    edit(tmp_path, f"UPDATE event SET session = '{OTHER}'")
    with at(tmp_path) as store, pytest.raises(HistoryEdited):
        store.load(OTHER)


def test_a_signed_store_is_not_opened_without_its_key(tmp_path: Path):
    recorded(tmp_path)
    with pytest.raises(StoreUnusable, match=f"{KEY.public.id}.*--signing-key"):
        Store(tmp_path)


def test_histories_from_before_the_key_are_read_once_a_person_signs_them(tmp_path: Path):
    tip = recorded(tmp_path, key=None)
    recorded(tmp_path, stream=LEDGER, key=None)
    recorded(tmp_path, stream=OTHER, key=None)
    edit(tmp_path, f"UPDATE event SET at = 'long ago' WHERE session = '{OTHER}' AND seq = 2")
    with at(tmp_path) as store:
        with pytest.raises(HistoryEdited, match=r"event 1 .* before it was in force.*edgeopt sign"):
            store.load(SESSION)
        done = store.sign_all()
        assert (done.signed, done.already, len(done.broken)) == (2, 0, 1)
        assert store.load(SESSION)[1] == tip
        store.append(SESSION, tip, [refused(5)])
        assert len(store.load(LEDGER)[0]) == 5
        with pytest.raises(HistoryEdited):
            store.load(OTHER)
        assert store.sign_all().already == 2


def test_a_new_key_takes_over_when_a_person_says_so(tmp_path: Path):
    recorded(tmp_path)
    fresh = new_key()
    with at(tmp_path, fresh) as store:
        with pytest.raises(
            HistoryEdited, match=f"another key, {KEY.public.id}, and this server's key is {fresh.public.id}"
        ):
            store.load(SESSION)
        store.sign_all()
        assert len(store.load(SESSION)[0]) == 5
    with at(tmp_path) as store, pytest.raises(HistoryEdited, match=f"another key, {fresh.public.id}"):
        store.load(SESSION)


def test_a_store_of_before_signatures_is_taken_over(tmp_path: Path):
    tip = recorded(tmp_path, key=None)
    with sqlite3.connect(tmp_path / "events.db") as db:
        db.execute("ALTER TABLE event DROP COLUMN signature")
    db.close()
    with at(tmp_path, None) as store:
        assert store.load(SESSION)[1] == tip
        store.append(SESSION, tip, [refused(5)])


# What was cut off


@pytest.mark.parametrize(
    "cut",
    [f"DELETE FROM event WHERE session = '{SESSION}' AND seq > 3", f"DELETE FROM event WHERE session = '{SESSION}'"],
)
def test_a_witness_misses_the_end_of_a_history(tmp_path: Path, cut: str):
    folder = tmp_path / "workspace"
    with at(folder, witness=True) as store:
        store.append(SESSION, START, [refused(n) for n in range(5)])
        store.append(LEDGER, START, [refused(0)])
    edit(folder, cut)
    with at(folder) as store:
        assert len(store.load(SESSION)[0]) in (3, 0)  # what is left is well signed: without a witness nobody can tell
    with at(folder, witness=True) as store:
        with pytest.raises(HistoryEdited, match=r"it had 5: its last events were deleted"):
            store.load(SESSION)
        assert len(store.load(LEDGER)[0]) == 1
        store.sign_all()  # a person says that it is well so
        assert len(store.load(SESSION)[0]) in (3, 0)


def test_a_witness_knows_its_stores_apart_and_lags_behind_without_harm(tmp_path: Path):
    one, other = tmp_path / "one", tmp_path / "other"
    with at(one, witness=True) as store:
        tip = store.append(SESSION, START, [refused(0)])
    with at(one) as store:  # as after a power cut: more is stored than was noted
        store.append(SESSION, tip, [refused(1)])
    with at(one, witness=True) as store:
        assert len(store.load(SESSION)[0]) == 2
    with at(other, witness=True) as store:
        assert store.load(SESSION) == ([], START)


@pytest.mark.parametrize("key", [None, KEY])
def test_whoever_saw_the_end_of_a_history_misses_it(tmp_path: Path, key: SigningKey | None):
    tip = recorded(tmp_path, key=key)
    edit(tmp_path, "DELETE FROM event WHERE seq > 2")
    with at(tmp_path, key) as store:
        with pytest.raises(HistoryEdited, match="it had 5"):
            store.load(SESSION, tip)
        edit(tmp_path, "DELETE FROM event")
        with pytest.raises(HistoryEdited):
            store.load(SESSION, tip)


# A store that is none


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_what_is_no_database_is_said_to_be_none(tmp_path: Path, content: bytes):
    (tmp_path / "events.db").write_bytes(content)
    with pytest.raises(StoreUnusable, match=r"events.db cannot be used.*--workspace"):
        Store(tmp_path)
    assert (tmp_path / "events.db").read_bytes() == content


def test_a_place_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path):
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "events.db").mkdir(parents=True)
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "taken"):
        with pytest.raises(StoreUnusable, match=r"writable for this user, or name another folder with --workspace"):
            Store(folder)


def test_a_database_that_breaks_while_it_is_used_is_said_to_be_broken(tmp_path: Path):
    with at(tmp_path, None) as store:
        for n in range(200):
            tip = store.load(f"s_{n:032x}")[1]
            store.append(f"s_{n:032x}", tip, [refused(n)])
    path = tmp_path / "events.db"
    whole = bytearray(path.read_bytes())
    for page in range(2, len(whole) // 4096):
        whole[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(whole)
    with pytest.raises(StoreUnusable, match="cannot be used"):
        broken = Store(tmp_path)
        for n in range(200):
            broken.load(f"s_{n:032x}")
