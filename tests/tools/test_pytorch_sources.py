"""PyTorch's files as originals, by real workers: an exported program, TorchScript, and weights with the user's loader."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.tools.workshop import Settings

from ..engine.small_models import WEIGHTS, evaluation_set
from ..engine.tiny_models import CIFAR, DATA, real
from .agents import Agent, at, settings

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
pytestmark = pytest.mark.anyio

LOADER = """import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(16, 4, bias=False)

    def forward(self, x):
        return self.head(x)
"""


def pinned(*files: Path) -> dict[Path, str]:
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def world(folder: Path, model: Path, **more: Any) -> dict[str, Any]:
    """The arguments of open_session."""
    with np.load(evaluation_set(folder / "named.npz").dataset_path) as named:
        np.savez(folder / "test.npz", inputs=named["x"], labels=named["labels"])  # forward() may call it as it likes
    return {
        "model_path": str(model),
        "target_device": "cpu-generic",
        "evaluation": {"dataset_path": str(folder / "test.npz"), "metric": "top1"},
        **more,
    }


def weights(folder: Path) -> tuple[Path, Path]:
    """A state dict, and the file of its loader."""
    (folder / "loader.py").write_text(LOADER)
    torch.save({"head.weight": torch.from_numpy(WEIGHTS.T.copy())}, folder / "net.pt")
    return folder / "net.pt", folder / "loader.py"


async def road(agent: Agent, of: dict[str, Any]) -> dict[str, Any]:
    """Profiled, made ONNX of, benchmarked, validated: what each answered."""
    answers = {"baseline": (await agent.finish("profile_model", **of, iterations=100)).ok()["baseline"]}
    other = await agent.call("optimize_model", **of, step={"technique": "float16"})
    assert "export_onnx" in other.refused("UNAVAILABLE")["message"]
    made = await agent.finish("optimize_model", **of, step={"technique": "export_onnx"})
    answers["variant"] = made.ok()["variant"]
    variant = {**of, "variant_id": answers["variant"]["variant_id"]}
    answers["comparison"] = (await agent.finish("benchmark_variant", **variant, iterations=100)).ok()["comparison"]
    answers["validation"] = (await agent.finish("validate_variant", **variant)).ok()["validation"]
    return answers


@pytest.mark.slow
async def test_weights_and_loader_take_the_whole_road_and_every_number_says_so(tmp_path: Path):
    model, loader = weights(tmp_path)
    allowed = settings(tmp_path, user_code=pinned(loader))
    async with at(allowed) as agent:
        opened = (await agent.call("open_session", **world(tmp_path, model, loader=f"{loader}:Net"))).ok()
        assert opened["model"]["inputs"] == [
            {"name": "x", "dtype": "float32", "shape": [None, 16], "quantization": None}
        ]
        assert opened["state"]["original_model_path"] == str(model)
        loadable = opened["preflight"][0]["detail"]
        assert "loader.py:Net" in loadable
        of = {"session_id": opened["session_id"]}
        answers = await road(agent, of)
        assert "loader.py:Net" in answers["baseline"]["accuracy"]["user_code"]
        assert answers["baseline"]["runtime"].startswith("pytorch 2")
        assert answers["baseline"]["file_size_bytes"] == model.stat().st_size
        assert (answers["variant"]["format"], answers["variant"]["precision"]) == ("onnx", "fp32")
        assert answers["comparison"]["compression"] == pytest.approx(
            model.stat().st_size / answers["variant"]["size_bytes"]
        )
        validation = answers["validation"]
        assert (validation["status"], validation["changed_decisions"]) == ("PASS", 0)
        assert validation["method"].startswith("parity")
        assert "loader.py:Net" in validation["user_code"]
    async with at(settings(tmp_path)) as agent:  # started again, without leave
        for tool, arguments in (
            ("optimize_model", {"step": {"technique": "export_onnx"}, "parent": "baseline"}),
            ("benchmark_variant", {"variant_id": "baseline"}),
            ("validate_variant", {"variant_id": "v1"}),
        ):
            (await agent.call(tool, **of, **arguments)).refused("UNTRUSTED_CODE")
    loader.write_text(LOADER + "\n# another\n")
    async with at(settings(tmp_path, user_code=pinned(loader))) as agent:
        (await agent.call("benchmark_variant", **of, variant_id="baseline")).refused("SAME_DATASET")


async def test_pickles_ask_for_a_loader_or_for_leave(tmp_path: Path):
    model, loader = weights(tmp_path)
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("open_session", **world(tmp_path, model))).refused("UNTRUSTED_CODE")
        assert "loader='file.py:function'" in refusal["message"]
        with_loader = world(tmp_path, model, loader=f"{loader}:Net")
        (await agent.call("open_session", **with_loader)).refused("UNTRUSTED_CODE")
    torch.save(torch.nn.Sequential(torch.nn.Linear(16, 4)), tmp_path / "whole.pt")
    whole = world(tmp_path, tmp_path / "whole.pt")
    async with at(settings(tmp_path)) as agent:
        (await agent.call("open_session", **whole)).refused("UNTRUSTED_CODE")
    async with at(settings(tmp_path, allow_pickle=True)) as agent:
        opened = (await agent.call("open_session", **whole)).ok()
        assert opened["model"]["parameters"] == 68


async def test_what_is_wrong_with_weights_or_loader_is_said_when_a_session_is_opened(tmp_path: Path):
    _, loader = weights(tmp_path)
    torch.save({"other.weight": torch.ones(4, 16)}, tmp_path / "other.pt")
    torch.jit.script(torch.nn.Linear(16, 4)).save(tmp_path / "script.pt")
    async with at(settings(tmp_path, user_code=pinned(loader))) as agent:

        async def refused(code: str, file: str, function: str) -> str:
            asked = world(tmp_path, tmp_path / file, loader=f"{loader}:{function}")
            return (await agent.call("open_session", **asked)).refused(code)["message"]

        assert "it lacks head.weight" in await refused("BAD_FILE", "other.pt", "Net")
        assert "no such function" in await refused("INVALID_ARGUMENT", "net.pt", "Nobody")
        assert "leave loader out" in await refused("INVALID_ARGUMENT", "script.pt", "Net")


@pytest.mark.slow
async def test_torchscript_takes_the_road_without_a_loader(tmp_path: Path):
    module = torch.nn.Linear(16, 4, bias=False)
    module.weight.data = torch.from_numpy(WEIGHTS.T.copy())
    torch.jit.script(module).save(tmp_path / "script.pt")
    async with at(settings(tmp_path)) as agent:
        opened = (await agent.call("open_session", **world(tmp_path, tmp_path / "script.pt"))).ok()
        assert [info["shape"] for info in opened["model"]["inputs"]] == [[None, 16]]
        answers = await road(agent, {"session_id": opened["session_id"]})
        assert answers["validation"]["status"] == "PASS"


def _cifar(model: str, folder: Path) -> tuple[dict[str, Any], Settings]:
    evaluation = {"dataset_path": real("cifar10/test_png_dev.npz"), "metric": "top1", "preprocessing": CIFAR}
    arguments = {"model_path": real(model), "target_device": "cpu-generic", "evaluation": evaluation}
    definitions = DATA.resolve() / "model_defs.py"
    return arguments, Settings(
        workspace=folder / "workspace", allow_roots=(DATA.resolve(),), user_code=pinned(definitions)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "loader"),
    [("cifar10/resnet20_cifar10.pt2", None), ("cifar10/resnet20_cifar10_state_dict.pt", "CifarResNet")],
)
async def test_real_networks_have_their_measured_score_and_keep_it_in_onnx(
    tmp_path: Path, model: str, loader: str | None
):
    arguments, allowed = _cifar(model, tmp_path)
    if loader:
        arguments["loader"] = f"{DATA.resolve() / 'model_defs.py'}:{loader}"
    async with at(allowed) as agent:
        of = {"session_id": (await agent.call("open_session", **arguments)).ok()["session_id"]}
        answers = await road(agent, of)
    assert round(100 * answers["baseline"]["accuracy"]["value"], 2) == 93.21
    assert (answers["validation"]["status"], answers["validation"]["changed_decisions"]) == ("PASS", 0)
    assert answers["comparison"]["speedup"]["verdict"] == "faster"
