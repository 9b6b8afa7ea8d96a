"""Arguments of prompts and resource templates complete themselves: sessions, variants, devices; never paths."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from edgeopt.contract.devices import DEVICES
from mcp.types import PromptReference, ResourceTemplateReference

from ..tools import planted
from ..tools.agents import ERAS, Agent, at, settings

pytestmark = pytest.mark.anyio
TEMPLATE = "edgeopt://sessions/{session_id}/variants/{variant_id}"


async def values(agent: Agent, ref: str, name: str, begun: str = "", **given: str) -> list[str]:
    """What completes the argument of a prompt, or of a template where `ref` is one."""
    reference = ResourceTemplateReference(uri=ref) if "://" in ref else PromptReference(name=ref)
    answer = await agent.client.complete(reference, {"name": name, "value": begun}, given or None)
    assert answer.completion.total == len(answer.completion.values)
    return answer.completion.values


@pytest.mark.parametrize("mode", ERAS)
async def test_sessions_variants_and_devices_complete(tmp_path: Path, mode: Literal["auto", "legacy"]):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"), *planted.variant(tmp_path, 2, "FAIL"))
    planted.plant(tmp_path, session_id=planted.OTHER, model_name="yolo_nano")
    planted.plant(tmp_path, session_id="s_" + "2" * 32, owner="token:somebody")
    async with at(settings(tmp_path), mode=mode) as agent:
        assert await values(agent, "optimize-model", "target_device") == list(DEVICES)
        assert await values(agent, "optimize-model", "target_device", "rasp") == ["raspberry-pi-5", "raspberry-pi-4"]
        assert await values(agent, "resume-session", "session_id") == [planted.OTHER, planted.SESSION]
        assert await values(agent, "resume-session", "session_id", "s_1") == [planted.OTHER]
        assert await values(agent, "recover-from-error", "session_id", "yolo") == [planted.OTHER]
        of = {"session_id": planted.SESSION}
        assert await values(agent, "decide-tradeoff", "variant_id", **of) == ["v2"]
        assert await values(agent, "decide-tradeoff", "variant_id") == []
        assert await values(agent, TEMPLATE, "session_id", "s_0") == [planted.SESSION]
        assert await values(agent, TEMPLATE, "variant_id", "v", **of) == ["v1", "v2"]
        assert await values(agent, TEMPLATE, "variant_id", session_id="s_" + "2" * 32) == []


async def test_paths_are_nobodys_business(tmp_path: Path):
    planted.failing(tmp_path)
    async with at(settings(tmp_path)) as agent:
        for name in ("model_path", "dataset_path", "no_such_argument"):
            assert await values(agent, "optimize-model", name, str(tmp_path)[:4]) == []
