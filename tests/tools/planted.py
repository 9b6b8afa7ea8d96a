"""Sessions recorded event by event, with invented numbers and real files: what stands before a decision without an hour
of measuring."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from edgeopt.contract.signing import SigningKey
from edgeopt.state.events import Event, FileIdentity
from edgeopt.state.session import Session, fold
from edgeopt.state.store import START, Store
from edgeopt.state.witness import Witness
from edgeopt.tools.workshop import local_owner

from ..state import worlds

SESSION, OTHER = "s_" + "0" * 32, "s_" + "1" * 32
# What the ledger of looks knows of the 2,000 samples of these sessions.
SAMPLES = sorted(hashlib.sha256(bytes([n])).hexdigest() for n in range(20))


def identity(path: Path) -> FileIdentity:
    content = path.read_bytes()
    return FileIdentity(path=str(path), sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def file(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content or path.name)
    return path


def opened(folder: Path, **changes: Any) -> Event:
    """SessionOpened on an original, an evaluation set and a calibration set that lie in `folder`."""
    test, calibration = file(folder / "test.npz"), file(folder / "calibration.npz")
    defaults: dict[str, Any] = {
        "session_id": SESSION,
        "owner": local_owner(),
        "files": [identity(file(folder / "net.onnx"))],
        "evaluation": worlds.opened().evaluation.model_copy(update={"dataset_path": str(test)}),
        "evaluation_digest": identity(test).sha256,
        "calibration_path": str(calibration),
        "calibration_digest": identity(calibration).sha256,
    }
    return worlds.opened(**(defaults | changes))


def variant(
    folder: Path, number: int, verdict: worlds.Verdict | None, parent: str = "baseline", **changes: Any
) -> list[Event]:
    """A variant whose file lies in `folder`: made, and benchmarked and validated where a verdict is given. `changes`: of
    its artifact."""
    whole = identity(file(folder / "workspace" / f"v{number}.onnx"))
    started, made = worlds.created(10 * number, number, parent)
    artifact = worlds.artifact(number, parent).model_copy(
        update={"path": whole.path, "sha256": whole.sha256, "size_bytes": whole.bytes} | changes
    )
    events = [started, made.model_copy(update={"artifact": artifact})]
    if verdict is None:
        return events
    judged = worlds.validated(10 * number + 2, f"v{number}", verdict)
    return [*events, *worlds.benchmarked(10 * number + 1, f"v{number}"), *judged]


def plant(
    folder: Path, *events: Event, outcomes: FileIdentity | None = None, profiled: bool = True, **changes: Any
) -> str:
    """Records a session with these events in the workspace of `folder`, profiled first unless told otherwise; its id."""
    first = opened(folder, **changes)
    started, measured = worlds.profiled()
    known: dict[str, Any] = {"samples": SAMPLES} | ({"outcomes": outcomes} if outcomes else {})
    baseline = [started, measured.model_copy(update=known)] if profiled else []
    store = Store(folder / "workspace")
    session_id = changes.get("session_id", SESSION)
    store.append(session_id, START, [first, *baseline, *events])
    store.close()
    return session_id


def append(folder: Path, *events: Event, session_id: str = SESSION) -> None:
    """Records more events, as another server on this workspace would."""
    store = Store(folder / "workspace")
    _, tip = store.load(session_id)
    store.append(session_id, tip, events)
    store.close()


def failing(folder: Path, **changes: Any) -> str:
    """A session that stands before v1, which is FAIL."""
    return plant(folder, *variant(folder, 1, "FAIL"), **changes)


def recorded(
    folder: Path, session_id: str = SESSION, key: SigningKey | None = None, witness: Path | None = None
) -> Session:
    """The session as the store has it now."""
    store = Store(folder / "workspace", key, Witness(witness, folder / "workspace") if witness else None)
    try:
        events, _ = store.load(session_id)
    finally:
        store.close()
    return fold(events)


def kinds(folder: Path, session_id: str = SESSION) -> list[str]:
    return [r.event.kind for r in recorded(folder, session_id).history]
