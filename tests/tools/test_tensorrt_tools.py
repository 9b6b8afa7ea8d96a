"""TensorRT through the tools, where it is not installed: what an agent is told."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from edgeopt.engine.runtimes import catalog

from . import planted
from .agents import at, settings
from .finished import small_world

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(catalog.missing("tensorrt") is None, reason="TensorRT is installed here"),
]
OF = {"session_id": planted.SESSION}


async def test_an_engine_is_not_opened_and_its_version_and_the_packages_are_told(tmp_path: Path) -> None:
    world = small_world(tmp_path)
    engine = tmp_path / "net.engine"
    engine.write_bytes(b"ftrt" + struct.pack("<I", 0) + bytes(16) + bytes([10, 16, 1, 11]) + bytes(500))
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("open_session", **world | {"model_path": str(engine)})).refused("UNAVAILABLE")
        assert "built by TensorRT 10.16.1" in refusal["message"]
        assert "edgeopt[tensorrt]" in refusal["message"]
        engine.write_bytes(b"no engine")
        refusal = (await agent.call("open_session", **world | {"model_path": str(engine)})).refused("BAD_FILE")
        assert "does not begin as a TensorRT engine does" in refusal["message"]


async def test_the_step_is_unavailable_and_the_packages_are_told(tmp_path: Path) -> None:
    planted.plant(tmp_path, target_device="jetson-orin-nano")
    async with at(settings(tmp_path)) as agent:
        for precision in ("fp16", "int8"):
            step = {"technique": "tensorrt", "precision": precision}
            refusal = (await agent.call("optimize_model", **OF, step=step)).refused("UNAVAILABLE")
            assert "JetPack" in refusal["message"] and "edgeopt[tensorrt]" in refusal["message"]


@pytest.mark.parametrize(
    ("habit", "reason"),
    [
        ({"fp16": True, "strict_types": True}, "has no precision flags"),
        ({"calibration_cache": "c"}, "has no calibrators"),
    ],
)
async def test_an_agent_with_old_habits_is_told_what_became_of_them(
    tmp_path: Path, habit: dict[str, Any], reason: str
) -> None:
    planted.plant(tmp_path, target_device="jetson-orin-nano")
    async with at(settings(tmp_path)) as agent:
        step = {"technique": "tensorrt"} | habit
        refusal = (await agent.call("optimize_model", **OF, step=step)).refused("INVALID_ARGUMENT")
        assert refusal["message"].count(reason) == 1
        assert "precision='" in refusal["message"]
