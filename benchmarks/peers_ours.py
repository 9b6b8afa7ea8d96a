"""What a user of edgeopt gets: the package that its autopilot ends with, by its own policy, over MCP, for cpu-generic."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from edgeopt.autopilot.calling import Answer, finish, server
from edgeopt.autopilot.driver import Ended, drive
from edgeopt.autopilot.history import History, Trial
from edgeopt.autopilot.policy import Call, Goal
from edgeopt.benchmarks.peers_models import Model, user_code
from edgeopt.contract.record import Record
from mcp import Client
from mcp.types import ElicitResult

# The session's default, by which the peers are judged, too.
TOLERANCE = 0.02


class Recommended(Record):
    """`file`: of the package, or the original where nothing better was found. `how`: the steps that made it. `tried`: a line
    for each variant. `seconds`: the whole run, measuring and judging included; `peak_mb`: of its greediest job."""

    file: str
    how: str
    tried: list[str]
    seconds: float
    peak_mb: float


class Owner:
    """The person of a run, and who watches it: keeps what loses no more than the tolerance by its point estimate, since that
    is how the peers are judged, and nothing else."""

    def __init__(self) -> None:
        self.history: History | None = None
        self.asked = ""

    def begins(self, call: Call) -> None:
        self.asked = call.variant_id or ""

    def goes_on(self, share: float, message: str) -> None:
        """Nobody looks on."""

    def answers(self, call: Call, answer: Answer, history: History) -> None:
        self.history = history
        if call.tool in ("optimize_model", "validate_variant", "decide_variant") or not answer.ok:
            line = answer.log.partition("\n")[0] if answer.ok else answer.problem
            print(f"    {call.tool}: {line}"[:200], file=sys.stderr, flush=True)

    async def decide(self, context: Any, params: Any) -> ElicitResult:
        trial = self.history.trials.get(self.asked) if self.history else None
        bearable = trial is not None and trial.validation is not None and trial.validation.relative_drop <= TOLERANCE
        outcome = "keep" if bearable else "revert"
        reason = f"the point estimate is {'within' if bearable else 'outside'} the tolerance"
        return ElicitResult(action="accept", content={"outcome": outcome, "reason": reason})


async def recommend(model: Model, folder: Path, scratch: Path, budget_s: float | None = None) -> Recommended:
    """Plays one session to its end. The package goes below `folder`; `scratch` has the model's data sets, and the workspace."""
    began = time.monotonic()
    owner, workspace = Owner(), scratch / "workspace"
    roots = [model.path.parent, scratch, Path(model.calibration).parent, Path(model.evaluation.dataset_path).parent]
    more = ("--output-root", str(folder), "--allow-user-code", str(user_code()))
    async with Client(server(workspace, roots, *more), elicitation_callback=owner.decide) as client:
        opened = await finish(
            client,
            "open_session",
            {
                "model_path": str(model.path),
                "target_device": "cpu-generic",
                "evaluation": model.opening,
                "calibration_path": model.calibration,
                "accuracy_tolerance": TOLERANCE,
            },
        )
        if not opened.ok:
            raise RuntimeError(f"edgeopt did not open {model.name}: {opened.problem}")
        goal = Goal(budget_s=budget_s, person=True, output_dir=str(folder))
        ended = await drive(client, opened.data["session_id"], goal, owner)
    return Recommended(
        file=str(packaged(ended) or model.path),
        how=how_made(ended.history, ended.packaged),
        tried=[_tried(trial) for trial in ended.history.trials.values()],
        seconds=round(time.monotonic() - began, 1),
        peak_mb=_peak_mb(workspace),
    )


def packaged(ended: Ended) -> Path | None:
    """The model's file in the package."""
    if ended.unfinished:
        raise RuntimeError(f"edgeopt could not package what it found: {ended.problem}")
    if ended.packaged is None:
        return None
    package = ended.history.packages[ended.packaged]
    return Path(package.path) / Path(ended.history.trials[ended.packaged].artifact.path).name


def how_made(history: History, variant: str | None) -> str:
    """The steps from the original to a variant."""
    steps: list[str] = []
    while variant in history.trials:
        made = history.trials[variant].artifact
        chosen = [
            str(value)
            for name, value in made.parameters.items()
            if name in ("precision", "quantization", "float_layers")
        ]
        steps.insert(0, " ".join([made.technique, *chosen]))
        variant = made.parent_id
    return ", ".join(steps) or "the original"


def _tried(trial: Trial) -> str:
    of = how_made(History("", "", "", "", None, 0, "relative", trials={trial.variant_id: trial}), trial.variant_id)
    judged, by = trial.validation, " by the person" if trial.by_person else ""
    drop = f"{judged.status} {judged.relative_drop:+.2%}" if judged else "not judged"
    return f"{of}: {trial.speedup:.2f}x, {drop}, {trial.outcome or 'undecided'}{by}"


def _peak_mb(workspace: Path) -> float:
    """Of the jobs, by their supervisor's word."""
    ends = [json.loads(end.read_bytes()) for end in workspace.rglob("out/result.json")]
    return float(max((end.get("peak_memory_mb", 0) for end in ends), default=0))
