"""Pruning, training for INT8 and distillation through whole sessions, by real workers, on nets that were trained in the test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeopt.tools.workshop import Settings

from .agents import Agent, at, settings

torch = pytest.importorskip("torch", reason="the extra torch is not installed")
pytest.importorskip("torch_pruning", reason="the extra torch is not installed")
from ..engine import trained_models  # noqa: E402
from ..engine.tiny_models import CIFAR, DATA, real  # noqa: E402
from .test_pytorch_sources import pinned  # noqa: E402

pytestmark = pytest.mark.anyio
PRUNE = {"technique": "prune_structured", "ratio": 0.5, "finetune_epochs": 3}


def world(folder: Path, **more: Any) -> dict[str, Any]:
    """The arguments of open_session."""
    model = trained_models.trained(folder / "net.pt2")
    test = trained_models.data(folder / "test.npz", 600, 7)
    return {
        "model_path": str(model),
        "target_device": "cpu-generic",
        "evaluation": {"dataset_path": str(test), "metric": "top1"},
        "training_path": str(trained_models.data(folder / "train.npz", 500, 8)),
        **more,
    }


async def begun(agent: Agent, arguments: dict[str, Any]) -> dict[str, Any]:
    """A profiled session."""
    of = {"session_id": (await agent.call("open_session", **arguments)).ok()["session_id"]}
    (await agent.finish("profile_model", **of, iterations=100)).ok()
    return of


async def judged(agent: Agent, of: dict[str, Any], variant: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its comparison and its validation."""
    about = {**of, "variant_id": variant["variant_id"]}
    comparison = (await agent.finish("benchmark_variant", **about, iterations=100)).ok()["comparison"]
    return comparison, (await agent.finish("validate_variant", **about)).ok()["validation"]


async def test_training_takes_a_set_of_its_own_and_the_refusal_says_the_next_call(tmp_path: Path):
    arguments = world(tmp_path)
    del arguments["training_path"]
    async with at(settings(tmp_path)) as agent:
        opened = (await agent.call("open_session", **arguments)).ok()
        item = next(i for i in opened["preflight"] if i["item"] == "Training dataset available")
        assert (item["ok"], item["required"]) == (False, False)
        of = {"session_id": opened["session_id"]}
        (await agent.finish("profile_model", **of, iterations=100)).ok()
        for step in (PRUNE, {"technique": "qat_int8"}, {"technique": "distill"}):
            refusal = (await agent.call("optimize_model", **of, step=step)).refused("TRAINING_REQUIRED")
            assert refusal["missing"] == ["training_path"]
            assert "open_session with the same arguments and training_path=" in refusal["message"]


async def test_a_training_set_is_read_and_fingerprinted_when_the_session_is_opened(tmp_path: Path):
    arguments = world(tmp_path)
    unlabelled = tmp_path / "bare.npz"
    np.savez(unlabelled, inputs=trained_models.samples(200, 9)[0])
    async with at(settings(tmp_path)) as agent:
        (await agent.call("open_session", **{**arguments, "training_path": str(unlabelled)})).refused("BAD_FILE")
        outside = await agent.call("open_session", **{**arguments, "training_path": "/etc/hostname"})
        outside.refused("PATH_NOT_ALLOWED", "BAD_FILE")
        of = await begun(agent, arguments)
        trained_models.data(tmp_path / "train.npz", 500, 10)
        changed = (await agent.call("optimize_model", **of, step=PRUNE)).refused("TRAINING_REQUIRED")
        assert "changed" in changed["message"]


@pytest.mark.slow
async def test_pruning_gives_a_smaller_model_that_goes_on_through_the_pipeline(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        of = await begun(agent, world(tmp_path))
        variant = (await agent.finish("optimize_model", **of, step=PRUNE)).ok()["variant"]
        assert (variant["format"], variant["precision"]) == ("pytorch", "fp32")
        assert variant["path"].endswith("net_prune_structured_fp32.pt2")
        assert any("multiply-accumulates" in note for note in variant["notes"])
        comparison, validation = await judged(agent, of, variant)
        assert comparison["compression"] > 1.5
        assert validation["optimized"] > 0.9
        about = {**of, "variant_id": variant["variant_id"]}
        (await agent.call("package_variant", **about)).refused("FORMAT_DEVICE_MISMATCH", "DECISION_REQUIRED")
        if validation["status"] != "PASS":
            pytest.skip(f"{validation['status']}: nothing more to see")
        (await agent.call("decide_variant", **about, outcome="keep", reason="smaller")).ok()
        again = (await agent.finish("optimize_model", **of, step={**PRUNE, "ratio": 0.4}, parent="v1")).ok()["variant"]
        assert again["parent_id"] == "v1"
        onnx = (await agent.finish("optimize_model", **of, step={"technique": "export_onnx"}, parent="v1")).data
        assert onnx["refusal"]["code"] == "ONE_AT_A_TIME"


async def test_a_model_at_its_accuracy_floor_is_not_pruned(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        of = await begun(agent, world(tmp_path, accuracy_tolerance=0.0))
        refusal = (await agent.call("optimize_model", **of, step=PRUNE)).refused("NO_HEADROOM")
        assert "accuracy floor" in refusal["message"]


@pytest.mark.slow
async def test_qat_gives_onnx_that_runs_in_integer_kernels(tmp_path: Path):
    pytest.importorskip("torchao", reason="the extra torch is not installed")
    async with at(settings(tmp_path)) as agent:
        of = await begun(agent, world(tmp_path))
        step = {"technique": "qat_int8", "epochs": 1}
        variant = (await agent.finish("optimize_model", **of, step=step)).ok()["variant"]
        assert (variant["format"], variant["precision"]) == ("onnx", "int8")
        assert any("before training" in note for note in variant["notes"])
        comparison, validation = await judged(agent, of, variant)
        assert comparison["runs_as"]["runs"] == "int8"
        assert comparison["compression"] > 2
        assert validation["relative_drop"] < 0.05


@pytest.mark.slow
async def test_a_student_is_derived_or_given_and_is_pinned_by_its_contents(tmp_path: Path):
    narrow = trained_models.exported(trained_models.Residual(16), tmp_path / "student.pt2")
    other = trained_models.exported(
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 7)), tmp_path / "other.pt2"
    )
    step = {"technique": "distill", "epochs": 4}
    async with at(settings(tmp_path)) as agent:
        of = await begun(agent, world(tmp_path))
        (await agent.call("optimize_model", **of, step={**step, "student_path": "/etc/passwd"})).refused(
            "PATH_NOT_ALLOWED"
        )
        unlike = await agent.finish("optimize_model", **of, step={**step, "student_path": str(other)})
        assert "answers otherwise" in unlike.refused("INVALID_ARGUMENT")["message"]
        variant = (await agent.finish("optimize_model", **of, step={**step, "student_path": str(narrow)})).ok()[
            "variant"
        ]
        assert len(variant["parameters"]["student_sha256"]) == 64
        comparison, validation = await judged(agent, of, variant)
        assert comparison["compression"] > 1.5
        assert validation["optimized"] > 0.5  # of four classes, by a student that knew nothing
        about = {**of, "variant_id": variant["variant_id"]}
        (await agent.call("decide_variant", **about, outcome="revert", reason="the other student")).ok()
        derived = (await agent.finish("optimize_model", **of, step=step)).ok()["variant"]
        assert any("teacher with fewer channels" in note for note in derived["notes"])


async def test_zeros_compress_and_the_notes_say_that_they_are_not_faster(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        of = await begun(agent, world(tmp_path))
        step = {"technique": "prune_unstructured", "sparsity": 0.5}
        variant = (await agent.finish("optimize_model", **of, step=step)).ok()["variant"]
        said = " ".join(variant["notes"])
        assert "(50.0%)" in said
        assert "no faster" in said


@pytest.mark.slow
async def test_a_real_network_is_trained_for_int8_and_keeps_its_score(tmp_path: Path):
    pytest.importorskip("torchao", reason="the extra torch is not installed")
    definitions = DATA.resolve() / "model_defs.py"
    arguments = {
        "model_path": real("cifar10/resnet20_cifar10_state_dict.pt"),
        "loader": f"{definitions}:CifarResNet",
        "target_device": "cpu-generic",
        "evaluation": {"dataset_path": real("cifar10/test_png_dev.npz"), "metric": "top1", "preprocessing": CIFAR},
        "training_path": real("cifar10/train_png_1000.npz"),
    }
    allowed = Settings(workspace=tmp_path / "workspace", allow_roots=(DATA.resolve(),), user_code=pinned(definitions))
    async with at(allowed) as agent:
        of = await begun(agent, arguments)
        step = {"technique": "qat_int8", "epochs": 1}
        variant = (await agent.finish("optimize_model", **of, step=step)).ok()["variant"]
        comparison, validation = await judged(agent, of, variant)
    assert comparison["runs_as"]["runs"] == "int8"
    assert comparison["speedup"]["verdict"] == "faster"
    assert validation["relative_drop"] < 0.02
