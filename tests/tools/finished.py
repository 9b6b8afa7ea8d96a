"""One whole session on a small real model, by real workers: open, profile, simplify, benchmark, validate, keep, package,
report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.small_models import classifier, evaluation_set
from .agents import Agent, Answer, at, settings


@dataclass(frozen=True)
class Finished:
    folder: Path
    session_id: str
    answers: dict[str, Answer]

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    @property
    def package(self) -> Path:
        return Path(self.answers["package_variant"].data["package"]["path"])


def small_world(folder: Path) -> dict[str, Any]:
    """A model and its evaluation set in `folder`: the arguments of open_session."""
    evaluation = evaluation_set(folder / "test.npz")
    return {
        "model_path": classifier(folder / "net.onnx"),
        "target_device": "cpu-generic",
        "evaluation": {"dataset_path": evaluation.dataset_path, "metric": evaluation.metric},
    }


async def opened(agent: Agent, folder: Path, **more: Any) -> str:
    """A session on a small real model."""
    return (await agent.call("open_session", **small_world(folder), **more)).ok()["session_id"]


async def finish(folder: Path) -> Finished:
    """The whole road, once: about the time of one benchmark."""
    answers: dict[str, Answer] = {}
    async with at(settings(folder)) as agent:

        async def step(tool: str, **arguments: Any) -> dict[str, Any]:
            answers[tool] = await agent.finish(tool, **arguments)
            return answers[tool].ok()

        of = {"session_id": (await step("open_session", **small_world(folder)))["session_id"]}
        answers["too early"] = await agent.call("optimize_model", **of, step={"technique": "simplify"})
        await step("profile_model", **of, iterations=100)
        again: dict[str, Any] = {**of, "step": {"technique": "simplify"}}
        answers["started"] = await agent.call("optimize_model", **again, wait_s=0)
        answers["joined"] = await agent.call("optimize_model", **again, wait_s=0)
        answers["profiled again"] = await agent.call("profile_model", **of, iterations=100)
        answers["busy"] = await agent.call("benchmark_variant", **of, variant_id="baseline")
        made = await step("optimize_model", **again)
        variant = {**of, "variant_id": made["variant"]["variant_id"]}
        await step("benchmark_variant", **variant, iterations=100)
        await step("validate_variant", **variant)
        await step("decide_variant", **variant, outcome="keep", reason="the same function")
        await step("package_variant", **of)
        await step("render_report", **of)
        await step("get_state", **of)
    return Finished(folder, of["session_id"], answers)
