"""What the checklist says of a model in any format: what it is, what measures it, and whether it deploys as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from edgeopt.engine.runtimes.catalog import RUNTIMES, installed, missing

from ..engine.runtime_models import DENSE, dense, rows
from .agents import at, settings

pytestmark = pytest.mark.anyio


async def checklist(folder: Path, format: str, device: str) -> dict[str, str]:
    """The details by item, of a session on a tiny model in this format."""
    if reason := missing(format):
        pytest.skip(reason)
    inputs = rows(60)
    np.savez(folder / "test.npz", inputs=inputs, labels=dense(inputs).argmax(axis=1))
    arguments = {
        "model_path": str(DENSE[format](folder, None)),
        "target_device": device,
        "evaluation": {"dataset_path": str(folder / "test.npz"), "metric": "top1"},
    }
    async with at(settings(folder)) as agent:
        opened = (await agent.call("open_session", **arguments)).ok()
    return {item["item"]: item["detail"] for item in opened["preflight"]}


@pytest.mark.parametrize("format", ["onnx", "tflite", "pytorch"])
async def test_it_names_the_format_and_what_measures_it(tmp_path: Path, format: str):
    details = await checklist(tmp_path, format, "raspberry-pi-5")
    identified = details["Model framework identified"]
    assert f"{RUNTIMES[format].distribution} {installed(RUNTIMES[format])}" in identified
    assert ("opset" in identified) == (format == "onnx")
    assert "None" not in identified


@pytest.mark.parametrize(
    ("format", "device", "remark"),
    [
        ("onnx", "raspberry-pi-5", None),
        ("tflite", "raspberry-pi-5", None),
        ("tflite", "jetson-orin-nano", "converts it to none"),
        ("pytorch", "raspberry-pi-5", "is to be converted"),
    ],
)
async def test_it_says_whether_the_original_deploys_on_the_device(
    tmp_path: Path, format: str, device: str, remark: str | None
):
    detail = (await checklist(tmp_path, format, device))["Target device identified"]
    assert "ONNX Runtime" in detail
    assert (f"{format} is" in detail) == (remark is not None)
    assert remark is None or remark in detail
