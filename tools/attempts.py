"""What a session has tried, so that it is said and not advised again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from ..contract.steps import Step
from ..state.events import JobFailed
from ..state.session import Session

_STEP: TypeAdapter[Any] = TypeAdapter(Step)
_MOST = 6


class Attempt(NamedTuple):
    """A step that was taken: what it was asked for, and what became of it."""

    technique: str
    parameters: Mapping[str, Any]
    name: str
    end: str

    def covers(self, step: Step) -> bool:
        """Whether it had everything that `step` asks for by name."""
        asked = step.model_dump(exclude_unset=True, exclude={"technique"})
        return self.technique == step.technique and all(self.parameters.get(k) == v for k, v in asked.items())


def attempts(session: Session) -> list[Attempt]:
    """The steps that made variants, then those that broke, oldest first."""
    made = [
        Attempt(r.artifact.technique, r.artifact.parameters, variant_id, _became(r.shown))
        for variant_id, r in session.variants.items()
    ]
    return [*made, *(a for job_id, event in session.ended.items() if (a := _broken(session, job_id, event)))]


def _became(status: str) -> str:
    return {"created": "not measured yet", "benchmarked": "not validated yet"}.get(status, status)


def _broken(session: Session, job_id: str, event: object) -> Attempt | None:
    step = session.jobs[job_id].arguments.get("step") if job_id in session.jobs else None
    if not isinstance(event, JobFailed) or not step or event.code == "CANCELLED":
        return None
    try:
        parameters = _STEP.validate_python(step).model_dump(exclude={"technique"})
    except ValidationError:  # recorded by another version
        parameters = dict(step)
    return Attempt(str(step["technique"]), parameters, job_id, event.code)


def tried_text(session: Session) -> str | None:
    """One sentence: what was tried and how it ended, the newest last; None where nothing was."""
    known = attempts(session)
    if not known:
        return None
    shown = known[-_MOST:]
    more = f"{len(known) - len(shown)} more, " if len(known) > len(shown) else ""
    return f"Tried so far, and not repeated here: {more}{'; '.join(map(_told, shown))}."


def _told(attempt: Attempt) -> str:
    telling = ("quantization", "precision", "per_channel", "calibrator", "ratio", "sparsity", "epochs", "workspace_mb", "opset")  # fmt: skip
    options = ", ".join(f"{k}={attempt.parameters[k]}" for k in telling if attempt.parameters.get(k) is not None)
    return f"{attempt.name} {attempt.technique}{f' ({options})' if options else ''}: {attempt.end}"
