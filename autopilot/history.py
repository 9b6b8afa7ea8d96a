"""What a session has recorded, as a client reads it: the resource `events`, folded into what the policy looks at."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..contract.measures import Artifact, Comparison, Measurement, Package, Validation
from ..drawing.pareto import Picture, picture

Outcome = Literal["keep", "revert"]


@dataclass(frozen=True)
class Trial:
    """One variant: what it is, what was measured of it, and what was decided."""

    artifact: Artifact
    comparison: Comparison | None = None
    validation: Validation | None = None
    outcome: Outcome | None = None
    by_person: bool = False

    @property
    def variant_id(self) -> str:
        return self.artifact.variant_id

    @property
    def kept(self) -> bool:
        return self.outcome == "keep"

    @property
    def passed(self) -> bool:
        return self.validation is not None and self.validation.status == "PASS"

    @property
    def unmeasured(self) -> bool:
        """Nobody has decided, and there is something left to measure."""
        return self.outcome is None and (self.comparison is None or self.validation is None)

    @property
    def faster(self) -> bool:
        """Measured as such: all of the interval is beyond 1 %."""
        return self.comparison is not None and self.comparison.speedup.verdict == "faster"

    @property
    def speedup(self) -> float:
        return self.comparison.speedup.value if self.comparison else 0.0

    @property
    def compression(self) -> float:
        return self.comparison.compression if self.comparison else 0.0


@dataclass(frozen=True)
class History:
    """What the policy and the screen know of a session. `files`: the model, the evaluation set, the calibration set
    and the training set; `code`: the files of the user's code. `running`: the tools of the jobs that have not ended, by the
    jobs' ids."""

    session_id: str
    model_name: str
    target_device: str
    metric: str
    latency_target_ms: float | None
    tolerance: float
    tolerance_kind: Literal["relative", "absolute"]
    files: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    baseline: Measurement | None = None
    trials: dict[str, Trial] = field(default_factory=dict)
    packages: dict[str, Package] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)

    def picture(self) -> Picture:
        """Accuracy against latency.

        Raises:
            ValueError: the baseline is not measured.
        """
        return picture(
            self.trials.values(),
            title=f"{self.model_name} on {self.target_device}",
            metric=self.metric,
            baseline=self.baseline,
            tolerance=self.tolerance,
            tolerance_kind=self.tolerance_kind,
        )


def read(lines: Iterable[str]) -> History:
    """The history that these events (JSON objects, oldest first) add up to.

    Raises:
        ValueError: they do not begin with the opening of a session.
    """
    history: History | None = None
    for line in lines:
        event: dict[str, Any] = json.loads(line)
        kind = event["kind"]
        if history is None:
            if kind != "SessionOpened":
                raise ValueError(f"a session's events begin with SessionOpened, not with {kind}")
            history = _opened(event)
        elif kind in _READERS:
            history = _READERS[kind](history, event)
        if history.running and "job_id" in event and kind != "JobStarted":  # it ends that job
            left = {job: tool for job, tool in history.running.items() if job != event["job_id"]}
            history = replace(history, running=left)
    if history is None:
        raise ValueError("a session without events")
    return history


def _opened(event: dict[str, Any]) -> History:
    sets = (event["evaluation"]["dataset_path"], event["calibration_path"], event["training_path"])
    files = (event["files"][0]["path"], *sets)
    codes = (event[name] for name in ("user_code", "adapter", "loader"))
    return History(
        session_id=event["session_id"],
        model_name=event["model_name"],
        target_device=event["target_device"],
        metric=event["evaluation"]["metric"],
        latency_target_ms=event["latency_target_ms"],
        tolerance=event["accuracy_tolerance"],
        tolerance_kind=event["tolerance_kind"],
        files=tuple(path for path in files if path),
        code=tuple(code["path"] for code in codes if code),
    )


def _started(history: History, event: dict[str, Any]) -> History:
    return replace(history, running=history.running | {event["job_id"]: event["tool"]})


def _measured(history: History, event: dict[str, Any]) -> History:
    return replace(history, baseline=Measurement.model_validate(event["baseline"]))


def _created(history: History, event: dict[str, Any]) -> History:
    made = Artifact.model_validate(event["artifact"])
    return replace(history, trials=history.trials | {made.variant_id: Trial(made)})


def _benchmarked(history: History, event: dict[str, Any]) -> History:
    return _of_a_trial(history, event, comparison=Comparison.model_validate(event["comparison"]))


def _validated(history: History, event: dict[str, Any]) -> History:
    return _of_a_trial(history, event, validation=Validation.model_validate(event["validation"]))


def _decided(history: History, event: dict[str, Any]) -> History:
    return _of_a_trial(history, event, outcome=event["outcome"], by_person=event["by_person"])


def _packaged(history: History, event: dict[str, Any]) -> History:
    package = Package.model_validate(event["package"])
    return replace(history, packages=history.packages | {event["variant_id"]: package})


def _of_a_trial(history: History, event: dict[str, Any], **changes: Any) -> History:
    """The history with changes of one variant; an A/A run is of none."""
    trial = history.trials.get(event["variant_id"])
    if trial is None:
        return history
    return replace(history, trials=history.trials | {trial.variant_id: replace(trial, **changes)})


_READERS: dict[str, Callable[[History, dict[str, Any]], History]] = {
    "JobStarted": _started,
    "BaselineMeasured": _measured,
    "VariantCreated": _created,
    "VariantBenchmarked": _benchmarked,
    "VariantValidated": _validated,
    "DecisionMade": _decided,
    "PackageBuilt": _packaged,
}
