"""A file that is exchanged after the server looked at it and before a worker reads it: the worker notices by the bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeopt.state.request import FileState
from edgeopt.tools.fingerprints import Fingerprints

from . import planted
from .agents import at, settings

pytestmark = pytest.mark.anyio
OF = {"session_id": planted.SESSION}
V1 = {**OF, "variant_id": "v1"}


@pytest.mark.parametrize(
    ("exchanged", "call", "arguments", "code"),
    [
        ("net.onnx", "profile_model", OF, "ORIGINAL_PROTECTED"),
        ("net.onnx", "optimize_model", {**OF, "step": {"technique": "simplify"}}, "ORIGINAL_PROTECTED"),
        ("net.onnx", "benchmark_variant", V1, "ORIGINAL_PROTECTED"),
        ("net.onnx", "validate_variant", V1, "ORIGINAL_PROTECTED"),
        ("workspace/v1.onnx", "benchmark_variant", V1, "VARIANT_CHANGED"),
        ("workspace/v1.onnx", "validate_variant", V1, "VARIANT_CHANGED"),
        ("workspace/v1.onnx", "package_variant", V1, "VARIANT_CHANGED"),
        ("outcomes.npz", "validate_variant", V1, "BAD_FILE"),
    ],
)
async def test_the_worker_reads_what_was_recorded_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanged: str, call: str, arguments: dict[str, object], code: str
):
    events = planted.variant(tmp_path, 1, "PASS" if call == "package_variant" else None)
    if call == "optimize_model":
        events = []
    outcomes = planted.identity(planted.file(tmp_path / "outcomes.npz"))
    planted.plant(tmp_path, *events, outcomes=outcomes, profiled=call != "profile_model")
    (tmp_path / exchanged).write_text("something else")

    def nothing_to_see(_self: Fingerprints, _path: str | None, _digest: str | None) -> FileState:
        return "intact"

    monkeypatch.setattr(Fingerprints, "state", nothing_to_see)
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.finish(call, **arguments)).refused(code)
    assert Path(exchanged).name in refusal["message"]
    assert "not the file that was recorded" in refusal["message"]
    assert planted.kinds(tmp_path)[-2:] == ["JobFailed", "CallRefused"]
