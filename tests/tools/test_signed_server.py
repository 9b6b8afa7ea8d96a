"""A server with a key: what it recorded is signed, what somebody else put into its store is refused, and a package is
signed only where it says what the server knows."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from edgeopt.contract.measures import Artifact, FileDigest
from edgeopt.contract.signing import new_key
from edgeopt.engine.digests import SIGNATURE, SIGNER, SUMS, sums
from edgeopt.engine.executor.local import LocalExecutor, _environment
from edgeopt.engine.jobs import Packaged
from edgeopt.engine.sandbox import capabilities
from edgeopt.server import app
from edgeopt.state.ledger import stream
from edgeopt.state.store import HistoryEdited, Store
from edgeopt.state.witness import Witness
from edgeopt.tools.delivery import DeliveryFailed, deliver

from ..state import worlds
from . import planted
from .agents import Person, at, settings
from .finished import small_world

pytestmark = pytest.mark.anyio
KEY, STRANGER = new_key(), new_key()
KEEP = {"session_id": planted.SESSION, "variant_id": "v1", "outcome": "keep", "reason": ""}


def signed(folder: Path) -> Any:
    return settings(folder, signing_key=KEY, witness=folder / "witness")


def sign_all(folder: Path) -> None:
    """What `edgeopt sign` does: the planted sessions are from before the key."""
    store = Store(folder / "workspace", KEY, Witness(folder / "witness", folder / "workspace"))
    store.sign_all()
    store.close()


async def test_what_a_server_records_is_signed_the_ledger_too(tmp_path: Path):
    planted.failing(tmp_path)
    sign_all(tmp_path)
    async with at(signed(tmp_path), Person(["keep"])) as agent:
        (await agent.call("decide_variant", **KEEP)).ok()
    store = Store(tmp_path / "workspace", KEY)
    kinds = [r.event.kind for r in store.load(planted.SESSION)[0]]
    answers = [r.event.kind for r in store.load(stream(planted.worlds.opened().weights))[0]]
    store.close()
    assert kinds[-2:] == ["DecisionRequested", "DecisionMade"]
    assert "PersonAnswered" in answers


@pytest.mark.parametrize("ours", ["a session", "a ledger"])
async def test_what_somebody_else_recorded_is_refused_and_the_rest_goes_on(tmp_path: Path, ours: str):
    """An agent with a shell writes a person's yes into the store, or clears the way in the ledger."""
    planted.failing(tmp_path)
    planted.failing(tmp_path, session_id=planted.OTHER, weights="7" * 64)
    sign_all(tmp_path)
    name = planted.SESSION if ours == "a session" else stream(planted.worlds.opened().weights)
    forged = worlds.decided(planted.recorded(tmp_path, key=KEY), "v1", "keep", by_person=True)
    reader = Store(tmp_path / "workspace", KEY)
    _, tip = reader.load(name)
    reader.close()
    forger = Store(tmp_path / "workspace", STRANGER)
    forger.append(name, tip, [forged])
    forger.close()
    of = {"session_id": planted.SESSION, "variant_id": "v1"}
    async with at(signed(tmp_path)) as agent:
        refusal = (await agent.call("package_variant", **of)).refused("BAD_FILE")
        assert "another key" in refusal["message"] and "edgeopt sign" in refusal["message"]
        (await agent.call("decide_variant", **KEEP | {"session_id": planted.OTHER})).refused("HUMAN_UNAVAILABLE")
        listed = (await agent.call("list_sessions")).ok()
        assert planted.OTHER in [s["session_id"] for s in listed["sessions"]]


async def test_a_history_that_lost_its_end_is_refused(tmp_path: Path):
    planted.failing(tmp_path)
    sign_all(tmp_path)
    copy = (tmp_path / "workspace" / "events.db").read_bytes()
    async with at(signed(tmp_path)) as agent:
        (await agent.call("decide_variant", **KEEP | {"outcome": "revert"})).ok()
    for left in (tmp_path / "workspace").glob("events.db*"):
        left.unlink()
    (tmp_path / "workspace" / "events.db").write_bytes(copy)  # as it was before
    async with at(signed(tmp_path)) as agent:
        refusal = (await agent.call("get_state", session_id=planted.SESSION)).refused("BAD_FILE")
        assert "older copy" in refusal["message"]
    with pytest.raises(HistoryEdited):
        planted.recorded(tmp_path, key=KEY, witness=tmp_path / "witness")


def test_no_worker_is_told_where_the_key_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EDGEOPT_SIGNING_KEY", "/secrets/key")
    assert not any("KEY" in name or "secrets" in value for name, value in _environment().items())


async def test_no_worker_reads_what_signs_histories_or_seals_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A worker in the hands of whoever made the model tells what it can read."""
    key_file = planted.file(tmp_path / "keys" / "key", "the key")
    rules = settings(tmp_path, key_file=key_file)
    code = f"""
from pathlib import Path
for secret in {rules.secrets!r}:
    try:
        print(len(Path(secret).read_bytes()))
    except PermissionError as error:
        print("kept from me:", Path(secret).name)
raise RuntimeError(Path({str(tmp_path / "net.onnx")!r}).exists())
"""
    monkeypatch.setattr(app, "LocalExecutor", lambda: LocalExecutor([sys.executable, "-P", "-c", code]))
    async with at(rules) as agent:
        answer = await agent.call("open_session", **small_world(tmp_path))
    if not capabilities()["landlock"]:
        pytest.skip("no Landlock here: nothing keeps a worker from reading")
    for name in ("key", "question.key"):
        assert f"kept from me: {name}" in answer.data["log_tail"]
    assert "RuntimeError: True" in answer.data["log_tail"]


async def test_a_witness_that_cannot_be_written_is_said_and_hinders_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    rules = settings(tmp_path, signing_key=KEY, witness=tmp_path / "nowhere" / "witness")
    async with at(rules) as agent:
        (await agent.call("list_sessions")).ok()
    assert "will not be noticed" in caplog.text


# Packages

METADATA = {"schema_version": 1, "variant": {"sha256": "given"}, "numbers": [1.5, None]}


def made(folder: Path, **files: str) -> tuple[Path, Packaged, Artifact]:
    """What a worker left, whatever it wrote into the files."""
    content = {"net.onnx": "model", "metadata.json": json.dumps(METADATA | {"files": [], "verification": {}})} | files
    for name, text in content.items():
        planted.file(folder / name, text)
    digests = [
        FileDigest(name=name, sha256=hashlib.sha256(text.encode()).hexdigest(), bytes=len(text))
        for name, text in sorted(content.items())
    ]
    listed = files.get(SUMS) or sums(digests)
    planted.file(folder / SUMS, listed)
    own = FileDigest(name=SUMS, sha256=hashlib.sha256(listed.encode()).hexdigest(), bytes=len(listed))
    answer = Packaged(files=[*(d for d in digests if d.name != SUMS), own], verified=True, verification="it ran")
    sha256 = next(d.sha256 for d in digests if d.name == "net.onnx")
    return folder, answer, worlds.artifact(1, sha256=sha256).model_copy(update={"path": "/anywhere/net.onnx"})


@pytest.mark.parametrize("key", [KEY, None])
def test_a_package_is_signed_where_there_is_a_key(tmp_path: Path, key: Any):
    folder, answer, variant = made(tmp_path / "made")
    # A server that died before it recorded the package finds the same one.
    package, again = (deliver(folder, tmp_path / "place", answer, variant, METADATA, key) for _ in range(2))
    assert again == package
    names = {f.name for f in package.files}
    assert names == {f.name for f in (tmp_path / "place").iterdir()}
    assert ({SIGNATURE, SIGNER} <= names) == (f"signed with key {KEY.public.id}" in package.verification) == bool(key)
    if key:
        listed = (tmp_path / "place" / SUMS).read_bytes()
        assert KEY.public.verifies(listed, (tmp_path / "place" / SIGNATURE).read_bytes())


def test_a_package_holds_what_its_variant_keeps_beside_it_as_recorded(tmp_path: Path):
    """Weights in a file of their own, as OpenVINO's."""
    folder, answer, variant = made(tmp_path / "made", **{"net.bin": "weights"})
    (beside,) = (f for f in answer.files if f.name == "net.bin")
    whole = variant.model_copy(update={"companions": [beside]})
    other = variant.model_copy(update={"companions": [beside.model_copy(update={"sha256": "0" * 64})]})
    with pytest.raises(DeliveryFailed) as caught:
        deliver(folder, tmp_path / "place", answer, other, METADATA)
    assert caught.value.code == "VARIANT_CHANGED"
    package = deliver(folder, tmp_path / "place", answer, whole, METADATA)
    assert beside in package.files


@pytest.mark.parametrize(
    "lie",
    [
        {SUMS: "edgeopt event 0000"},
        {SUMS: f"{'0' * 64}  net.onnx\n"},
        {"metadata.json": json.dumps(METADATA | {"decisions": ["kept by a person"]})},
        {"metadata.json": "[]"},
        {"metadata.json": "not json"},
    ],
)
def test_nothing_is_signed_that_the_server_does_not_know(tmp_path: Path, lie: dict[str, str]):
    folder, answer, variant = made(tmp_path / "made", **lie)
    with pytest.raises(DeliveryFailed) as caught:
        deliver(folder, tmp_path / "place", answer, variant, METADATA, KEY)
    assert caught.value.code == "BAD_ANSWER"
    assert not (tmp_path / "place").exists()
