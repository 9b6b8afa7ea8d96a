"""What the guardrails judge: a call, and what was looked up about the world beforehand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ..contract.steps import Step

FileState = Literal["intact", "changed", "gone"]


WORK = frozenset(
    {
        "profile_model",
        "analyze_sensitivity",
        "optimize_model",
        "benchmark_variant",
        "validate_variant",
        "package_variant",
    }
)


@dataclass(frozen=True)
class Request:
    """A call, with "best" already resolved to a variant id."""

    tool: str
    variant_id: str | None = None
    step: Step | None = None
    outcome: Literal["keep", "revert"] | None = None
    identity: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def keeps(self) -> bool:
        """Whether the call would make a variant a kept one."""
        return self.tool == "package_variant" or (self.tool == "decide_variant" and self.outcome == "keep")


@dataclass(frozen=True)
class Facts:
    """What was looked up about the world before the rules judge. `output`: what is wrong with an output folder.
    `turned_down_before`, `left_open_before`: a person's answer on this file, and unanswered questions, in any session.
    `architecture`: this machine's, as `uname -m` has it. `engine`: why the engine concerned does not run here. `instead`:
    steps that work here and make a format of the device, for a call that asks for another."""

    owner: str = ""
    original: FileState = "intact"
    variant_file: FileState = "intact"
    evaluation: FileState = "intact"
    calibration: FileState = "intact"
    training: FileState = "intact"
    user_code: FileState | Literal["not_allowed"] = "intact"
    output: Literal["outside", "occupied", "original"] | None = None
    asking: Literal["nobody", "chat", "terminal"] = "nobody"
    cannot_ask_because: str = "this client cannot ask one"
    where: Literal["target", "host_estimate"] = "host_estimate"
    disk_free_mb: float | None = None
    disk_needed_mb: float = 0.0
    looks_allowed: int | None = None
    looks_spent: int = 0
    turned_down_before: bool = False
    left_open_before: int = 0
    architecture: str = ""
    engine: str | None = None
    instead: tuple[Step, ...] = ()
    unavailable: str | None = None
