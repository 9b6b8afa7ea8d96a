"""Typed job specifications and their results: all that crosses the border between the server and a worker."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..contract.evaluation import Evaluation, Preprocessing, UserCode
from ..contract.measures import (
    Ceiling,
    Comparison,
    DataInfo,
    FileDigest,
    Interface,
    LayerScore,
    Measurement,
    ModelInfo,
    Precision,
    Stamp,
    Validation,
)
from ..contract.record import Record
from ..contract.steps import Step


class Inspect(Record):
    """Looks at a model, loads it once, reads its data sets. `roots`: where external data may lie. A model that takes
    over `load_seconds` to load is left to `profile`. Here and below, `user_code`: the function of the metric `custom`;
    `adapter`: that of `evaluation.adapter`."""

    kind: Literal["inspect"] = "inspect"
    model_path: str
    evaluation: Evaluation
    calibration_path: str | None
    training_path: str | None = None
    roots: list[str]
    load_seconds: float = 30
    user_code: UserCode | None = None
    adapter: UserCode | None = None


class Inspected(Record):
    """`preprocessing` is complete: what was left out has been derived from the model's inputs. `weights`: a digest of the
    model's constants, by which a variant is known again under another name."""

    kind: Literal["inspect"] = "inspect"
    model: ModelInfo
    preprocessing: Preprocessing
    evaluation: DataInfo
    calibration: DataInfo | None
    training: DataInfo | None = None
    model_files: list[str]
    weights: str
    warnings: list[str] = []


class Profile(Record):
    kind: Literal["profile"] = "profile"
    model_path: str
    evaluation: Evaluation
    data_digest: str
    iterations: int
    threads: int
    batch_size: int
    stamp: Stamp
    measurement_id: str
    user_code: UserCode | None = None
    adapter: UserCode | None = None


class Profiled(Record):
    """`outcomes` names the file, beside the answer, that holds the per-sample outcomes of the baseline. `samples`: a sketch
    of the evaluation samples, by which sets that share most of theirs are known. `ceilings`: the most that techniques can
    gain."""

    kind: Literal["profile"] = "profile"
    baseline: Measurement
    outcomes: str
    bottleneck: str
    samples: list[str]
    ceilings: list[Ceiling] = []


class Optimize(Record):
    """`file_name` is the name of the new file, decided by the server. `calibration_digest`: of the contents of the set, as
    `DataInfo` has it. Here and below, `interface`: the original's, which variants of every format are fed by; None where the
    model is its own. `device`: the target, whose processor decides the types of quantized numbers; None: this machine.
    `threads`: of the session's measurements, for steps that choose by time. Of steps that train alone: `training_path` and its
    digest, likewise; `baseline_path`, the original that the tolerance refers to; `student_path`, the model that is taught."""

    kind: Literal["optimize"] = "optimize"
    parent_path: str
    step: Step
    device: str | None = None
    file_stem: str
    interface: Interface | None = None
    threads: int = 1
    evaluation: Evaluation
    calibration_path: str | None
    calibration_digest: str | None = None
    training_path: str | None = None
    training_digest: str | None = None
    baseline_path: str | None = None
    tolerance: float = 0.02
    tolerance_kind: Literal["relative", "absolute"] = "relative"
    student_path: str | None = None
    student_sha256: str | None = None


class Optimized(Record):
    """`changed` is False where the step left the model as it was (a variant all the same, and it says so). `companions`: the
    files that its format keeps beside `file`. `weights` as in `Inspected`."""

    kind: Literal["optimize"] = "optimize"
    file: FileDigest
    companions: list[FileDigest] = []
    precision: str
    format: str
    changed: bool
    parameters: dict[str, Any]
    notes: list[str]
    weights: str


class Analyze(Record):
    """Ranks the layers of a float model; ranges and outputs are those of calibration samples."""

    kind: Literal["analyze"] = "analyze"
    parent_path: str
    interface: Interface | None = None
    evaluation: Evaluation
    calibration_path: str
    user_code: UserCode | None = None
    adapter: UserCode | None = None


class Analyzed(Record):
    """The worst layers of `of`, the worst first. `confirmation`: on what accuracy drops were measured, or why none."""

    kind: Literal["analyze"] = "analyze"
    layers: list[LayerScore]
    of: int
    samples: int
    confirmation: str


def comparison_seconds(threads: int) -> float:
    """The time budget of a comparison's latency by default: with memory, half a minute on one thread, which is stable, and
    a minute on more, where disturbed processes are repeated."""
    return 25.0 if threads == 1 else 50.0


class Benchmark(Record):
    """`seconds`: the time budget of the latency comparison. `sustained_seconds`: of the constant load after it, if any.
    `asked`: the precision that the variant's steps were to give it."""

    kind: Literal["benchmark"] = "benchmark"
    baseline_path: str
    variant_path: str
    interface: Interface | None = None
    evaluation: Evaluation
    iterations: int
    threads: int
    batch_size: int
    stamp: Stamp
    measurement_ids: tuple[str, str]
    seconds: float = comparison_seconds(1)
    sustained_seconds: float = 0.0
    asked: Precision | None = None


class Benchmarked(Record):
    kind: Literal["benchmark"] = "benchmark"
    comparison: Comparison


class Validate(Record):
    """`tolerance` is the allowed drop; relative to the baseline's value or absolute. `exact`: the step claims parity."""

    kind: Literal["validate"] = "validate"
    baseline_path: str
    baseline_outcomes: str
    baseline_outcomes_sha256: str
    baseline_accuracy: float
    variant_path: str
    interface: Interface | None = None
    evaluation: Evaluation
    data_digest: str
    tolerance: float
    tolerance_kind: Literal["relative", "absolute"]
    evidence: Literal["proven", "point"]
    exact: bool
    look_number: int
    alpha: float
    user_code: UserCode | None = None
    adapter: UserCode | None = None


class Validated(Record):
    kind: Literal["validate"] = "validate"
    validation: Validation


class BuildPackage(Record):
    """`metadata` is written as it is; the worker adds only what it alone can know (files, verification)."""

    kind: Literal["package"] = "package"
    variant_path: str
    interface: Interface | None = None
    file_name: str
    evaluation: Evaluation
    metadata: dict[str, Any]


class Packaged(Record):
    """The package lies in the folder `package` beside the answer."""

    kind: Literal["package"] = "package"
    files: list[FileDigest]
    verified: bool
    verification: str


class VerifyPackage(Record):
    """`public_key` (PEM): the one that must have signed the package, where the caller names one."""

    kind: Literal["verify"] = "verify"
    path: str
    public_key: str | None = None


class Verified(Record):
    kind: Literal["verify"] = "verify"
    verified: bool
    verification: str


Task = Annotated[
    Inspect | Profile | Analyze | Optimize | Benchmark | Validate | BuildPackage | VerifyPackage,
    Field(discriminator="kind"),
]
Result = Annotated[
    Inspected | Profiled | Analyzed | Optimized | Benchmarked | Validated | Packaged | Verified,
    Field(discriminator="kind"),
]


class PinnedFile(Record):
    path: str
    sha256: str


class Pinned(Record):
    """A file that a task opens, as it was recorded; a model's external data after it. `code`: the problem where it is not
    what is found."""

    code: Literal["ORIGINAL_PROTECTED", "VARIANT_CHANGED", "BAD_FILE"]
    files: list[PinnedFile]


class Source(Record):
    """How a PyTorch file that is no model yet becomes one (`models.materialize`): `loader` gives the module that its weights
    go into; `allow_pickle`: by the operator's leave a whole module may be unpickled. `interface`: of the session's original,
    once that is known; before, inputs are derived from the data."""

    loader: UserCode | None = None
    allow_pickle: bool = False
    interface: Interface | None = None


class JobSpec(Record):
    """One job: what to do and within which limits. Written once as `spec.json` in the job's folder. `roots`: where its data
    sets may lie, and what they name. `pinned`: the recorded files that it names; it works on copies of them. `hidden`:
    files that it must not read. `source`: of an original that is PyTorch's. `toolchains`: the folder that holds those that
    are installed."""

    job_id: str
    task: Task
    roots: list[str] | None = None
    memory_mb: int
    timeout_s: float
    attempts: int = 3
    pinned: list[Pinned] = []
    hidden: list[str] = []
    source: Source | None = None
    toolchains: str | None = None


class JobEnd(Record):
    """How a job ended, by the supervisor: `code` is None where the worker answered. `sandbox`: what held on this
    machine (sandbox.capabilities)."""

    status: Literal["done", "failed"]
    code: str | None
    returncode: int | None
    peak_memory_mb: int
    wall_s: float
    attempt: int
    clean: bool
    sandbox: dict[str, int | bool] = {}


class Progress(Record):
    """`done` runs from 0 to 1."""

    done: float
    message: str
