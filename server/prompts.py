"""The four prompts, read from Markdown beside the other texts that agents and people read."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

from mcp.server.mcpserver import MCPServer

TEXTS = Path(__file__).parents[1] / "prompts"


def _text(name: str, **values: str) -> str:
    return Template((TEXTS / f"{name}.md").read_text(encoding="utf-8")).substitute(values)


def optimize_model_prompt(model_path: str, target_device: str = "cpu-generic", dataset_path: str = "") -> str:
    """Optimize a trained model from baseline to package."""
    dataset = dataset_path or "(ask the user for a labelled evaluation set)"
    return _text("optimize-model", model_path=model_path, target_device=target_device, dataset_path=dataset)


def decide_tradeoff_prompt(session_id: str, variant_id: str) -> str:
    """Lay a FAIL or INCONCLUSIVE variant before the user."""
    return _text("decide-tradeoff", session_id=session_id, variant_id=variant_id)


def recover_from_error_prompt(session_id: str, error: str = "") -> str:
    """Find the way on after a failed or refused call."""
    return _text("recover-from-error", session_id=session_id, error=error or "(the last answer)")


def resume_session_prompt(session_id: str = "") -> str:
    """Pick up a session where it stands."""
    return _text("resume-session", session_id=session_id or "(list_sessions names it)")


def register(server: MCPServer[Any]) -> None:
    server.prompt("optimize-model")(optimize_model_prompt)
    server.prompt("decide-tradeoff")(decide_tradeoff_prompt)
    server.prompt("recover-from-error")(recover_from_error_prompt)
    server.prompt("resume-session")(resume_session_prompt)
