"""The evaluations that a policy fixes: no model is judged by another one, and the refusal holds the call that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgeopt.server.settings import read_policy
from edgeopt.tools.workshop import Policy

from ..engine.small_models import evaluation_set
from .agents import at, settings
from .finished import small_world

pytestmark = pytest.mark.anyio


def policy(folder: Path, *lines: str) -> Policy:
    """One that fixes test.npz, with these lines more in its entry."""
    file = folder / "policy.toml"
    file.write_text("\n".join(["[[evaluations]]", 'dataset_path = "test.npz"', 'metric = "top1"', *lines]))
    return read_policy(file)


@pytest.mark.parametrize(
    "other",
    [
        {"metric": "f1_macro"},
        {"dataset_path": "{folder}/easy.npz"},
        {"preprocessing": {"scale": 0.5}},
        {"task": "classification"},
    ],
)
async def test_another_evaluation_is_refused_with_the_call_that_fits(tmp_path: Path, other: dict[str, Any]):
    world = small_world(tmp_path)
    evaluation_set(tmp_path / "easy.npz")
    other = {name: v.format(folder=tmp_path) if isinstance(v, str) else v for name, v in other.items()}
    async with at(settings(tmp_path, policy=policy(tmp_path))) as agent:
        answer = await agent.call("open_session", **world | {"evaluation": world["evaluation"] | other})
        refusal = answer.refused("SAME_DATASET")
        assert next(iter(other)) in refusal["message"]
        (fits,) = refusal["next_calls"]
        opened = (await agent.call(fits["tool"], **fits["arguments"])).ok()
        assert opened["state"]["phase"]


async def test_the_fixed_evaluation_opens_by_whatever_path_leads_to_it(tmp_path: Path):
    world = small_world(tmp_path)
    (tmp_path / "link.npz").symlink_to(tmp_path / "test.npz")
    linked = world["evaluation"] | {"dataset_path": str(tmp_path / "link.npz")}
    async with at(settings(tmp_path, policy=policy(tmp_path))) as agent:
        (await agent.call("open_session", **world | {"evaluation": linked})).ok()


async def test_a_model_that_the_policy_has_no_evaluation_for_is_not_opened(tmp_path: Path):
    world = small_world(tmp_path)
    (tmp_path / "copy.onnx").write_bytes(Path(world["model_path"]).read_bytes())
    async with at(settings(tmp_path, policy=policy(tmp_path, 'models = ["net*"]'))) as agent:
        (await agent.call("open_session", **world)).ok()
        other = await agent.call("open_session", **world | {"model_path": str(tmp_path / "copy.onnx")})
        assert "no evaluation for" in other.refused("SAME_DATASET")["message"]
