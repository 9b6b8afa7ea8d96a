"""The evaluations that the operator's policy fixes: where there are any, no model is judged by another one."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from ..contract.evaluation import Evaluation
from ..contract.text import untrusted
from .answers import refuse
from .paths import real_path, shown
from .workshop import FixedEvaluation, Settings


def fixed_for(settings: Settings, model: Path) -> Evaluation | None:
    """What the policy has this model judged by: the first entry that names it. `model`: a real path."""
    named = (fixed for fixed in settings.policy.evaluations if _names(fixed, model))
    return next((fixed.evaluation for fixed in named), None)


def check_evaluation(settings: Settings, model: Path, asked: Evaluation) -> None:
    """That a session's evaluation is the policy's, where the policy fixes evaluations.

    Raises:
        Refused: SAME_DATASET.
    """
    if not settings.policy.evaluations:
        return
    fixed = fixed_for(settings, model)
    if fixed is None:
        raise refuse(
            "SAME_DATASET",
            f"The operator's policy fixes what models are judged by, and has no evaluation for {shown(model)}. Open one that "
            "it names, or tell the operator to add this one to the policy file.",
        )
    ours, theirs = _comparable(fixed), _comparable(asked)
    other = [name for name in ours if ours[name] != theirs[name]]
    if other:
        raise refuse(
            "SAME_DATASET",
            f"The operator's policy fixes what {untrusted(model.name)} is judged by: evaluation.{', evaluation.'.join(other)}"
            " differ(s). Open it with the policy's evaluation, which the next call has.",
        )


def _names(fixed: FixedEvaluation, model: Path) -> bool:
    return not fixed.models or any(fnmatchcase(str(model), pattern) for pattern in fixed.models)


def _comparable(evaluation: Evaluation) -> dict[str, object]:
    """What it says, files by their real paths."""
    said: dict[str, object] = evaluation.model_dump(mode="json")
    said["dataset_path"] = str(real_path(evaluation.dataset_path, "evaluation set"))
    for name in ("adapter", "metric_code"):
        if named := getattr(evaluation, name):
            file, _, function = named.rpartition(":")
            said[name] = f"{real_path(file, name)}:{function}"
    return said
