"""A session that deploys to OpenVINO, by real workers: its variants are in another format than the original."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgeopt.engine.runtimes.catalog import missing, version

from ..engine.calibration_worlds import picture_world, pictures
from .agents import Agent, at, settings

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(
        missing("openvino") is not None or version("nncf") is None,
        reason="openvino and nncf are not both installed: pip install 'edgeopt[openvino]'",
    ),
]


async def profiled(agent: Agent, folder: Path) -> dict[str, Any]:
    """A session on a classifier of small pictures, profiled; the arguments that name it."""
    world = picture_world(folder)
    images, _ = pictures(240, seed=2)
    opened = await agent.finish(
        "open_session",
        model_path=str(world.model),
        target_device="cpu-generic",
        evaluation=world.evaluation.model_dump(exclude_none=True),
        calibration_path=world.write(inputs=images),
    )
    of = {"session_id": opened.ok()["session_id"]}
    (await agent.finish("profile_model", **of, iterations=100)).ok()
    return of


@pytest.mark.slow
async def test_a_variant_in_float32_is_made_measured_and_passes_by_parity(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        of = await profiled(agent, tmp_path)
        made = (await agent.finish("optimize_model", **of, step={"technique": "openvino", "precision": "fp32"})).ok()
        variant = made["variant"]
        assert (variant["format"], variant["precision"]) == ("openvino", "fp32")
        assert Path(variant["path"]).suffix == ".xml"
        (beside,) = variant["companions"]
        weights = Path(variant["path"]).with_name(beside["name"])
        assert variant["size_bytes"] == Path(variant["path"]).stat().st_size + weights.stat().st_size
        one = {**of, "variant_id": variant["variant_id"]}
        measured = (await agent.finish("benchmark_variant", **one, iterations=100)).ok()["comparison"]
        assert measured["variant"]["runtime"].startswith("openvino 20")
        assert measured["variant"]["runtime"].endswith(", f32")
        assert measured["baseline"]["runtime"].startswith("onnxruntime")
        judged = (await agent.finish("validate_variant", **one)).ok()["validation"]
        assert (judged["status"], judged["changed_decisions"]) == ("PASS", 0)
        assert judged["method"].startswith("parity")


async def test_eight_bits_are_calibrated_in_the_sandbox_and_a_changed_bin_is_noticed(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        of = await profiled(agent, tmp_path)
        step = {"technique": "openvino", "precision": "int8", "calibration_samples": 64}
        variant = (await agent.finish("optimize_model", **of, step=step)).ok()["variant"]
        assert (variant["format"], variant["precision"]) == ("openvino", "int8")
        assert any("run in 8 bits here" in note for note in variant["notes"])
        weights = Path(variant["path"]).with_suffix(".bin")
        weights.chmod(0o600)
        weights.write_bytes(bytes(reversed(weights.read_bytes())))
        answer = await agent.finish("validate_variant", **of, variant_id=variant["variant_id"])
        answer.refused("VARIANT_CHANGED", "NOT_BENCHMARKED")
        answer = await agent.finish("benchmark_variant", **of, variant_id=variant["variant_id"], iterations=100)
        answer.refused("VARIANT_CHANGED")
