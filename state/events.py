"""Every fact that a session can record. Events are appended, never changed; a session is what they add up to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from ..contract.evaluation import Evaluation, UserCode
from ..contract.measures import (
    Artifact,
    Ceiling,
    Comparison,
    DataInfo,
    LayerScore,
    Measurement,
    ModelInfo,
    Package,
    Validation,
)
from ..contract.record import Record

Sha256 = str


class FileIdentity(Record):
    """A file as it was when the session was opened: absolute real path and digest of its contents. A folder has the digest
    of its files' names and contents, and no bytes of its own: its files are listed after it."""

    path: str
    sha256: Sha256
    bytes: int


class PreflightItem(Record):
    item: str
    ok: bool
    required: bool
    detail: str


class Origin(Record):
    """The first original of a model that is itself a variant: `accuracy` and the per-sample `outcomes` of its baseline, in
    session `session_id`, are what the tolerance refers to. `allowed_by`: the person who let it be opened so."""

    session_id: str
    file: FileIdentity
    weights: Sha256
    accuracy: float
    outcomes: FileIdentity
    allowed_by: str = ""


class SessionOpened(Record):
    """`files` are the original's: the model first, which may be a folder, then its other files. Digests of data sets are over their files;
    `data.digest` is over the samples as they were read. `user_code`: the metric's, where that is custom; `adapter`: that of
    the model's outputs; `loader`: that which makes the module of the original's weights."""

    kind: Literal["SessionOpened"] = "SessionOpened"
    session_id: str
    owner: str
    model_name: str
    source_format: str
    target_device: str
    files: list[FileIdentity]
    weights: Sha256
    model: ModelInfo
    evaluation: Evaluation
    evaluation_digest: Sha256
    data: DataInfo
    calibration_path: str | None
    calibration_digest: Sha256 | None
    calibration: DataInfo | None
    training_path: str | None = None
    training_digest: Sha256 | None = None
    training: DataInfo | None = None
    accuracy_tolerance: float
    tolerance_kind: Literal["relative", "absolute"]
    max_tolerance: float
    evidence: Literal["proven", "point"]
    latency_target_ms: float | None
    preflight: list[PreflightItem]
    loosened_by: str | None = None
    decisions: Literal["chat", "terminal", "none"] = "chat"
    user_code: UserCode | None = None
    adapter: UserCode | None = None
    loader: UserCode | None = None
    derived_from: Origin | None = None

    @property
    def metric_codes(self) -> list[UserCode]:
        """Whoever's code decides the metric's values: the adapter's, the metric's."""
        return [code for code in (self.adapter, self.user_code) if code is not None]

    @property
    def user_codes(self) -> list[UserCode]:
        """Whoever's code has a hand in the numbers: the loader's too."""
        return [*self.metric_codes, *([self.loader] if self.loader else [])]


class JobStarted(Record):
    """`request` identifies the call: the same request joins the running job. `variant_id`: of the variant concerned.
    `spec` is the whole job specification, so that any server can start the work if this one dies first."""

    kind: Literal["JobStarted"] = "JobStarted"
    job_id: str
    tool: str
    request: str
    arguments: dict[str, Any]
    spec: dict[str, Any]
    variant_id: str | None = None


class JobFailed(Record):
    kind: Literal["JobFailed"] = "JobFailed"
    job_id: str
    code: str
    message: str
    missing: list[str] = []
    log_tail: str = ""


class BaselineMeasured(Record):
    kind: Literal["BaselineMeasured"] = "BaselineMeasured"
    job_id: str
    baseline: Measurement
    outcomes: FileIdentity
    bottleneck: str
    request: str
    samples: list[str] = []
    ceilings: list[Ceiling] = []


class SensitivityAnalyzed(Record):
    """The layers of `parent_id` that suffer most from being quantized alone, the worst first of `of`."""

    kind: Literal["SensitivityAnalyzed"] = "SensitivityAnalyzed"
    job_id: str
    parent_id: str
    layers: list[LayerScore]
    of: int
    samples: int
    confirmation: str


class VariantCreated(Record):
    kind: Literal["VariantCreated"] = "VariantCreated"
    job_id: str
    artifact: Artifact
    changed: bool


class VariantBenchmarked(Record):
    kind: Literal["VariantBenchmarked"] = "VariantBenchmarked"
    job_id: str
    variant_id: str
    comparison: Comparison


class VariantValidated(Record):
    kind: Literal["VariantValidated"] = "VariantValidated"
    job_id: str
    variant_id: str
    variant_sha256: Sha256
    validation: Validation


class DecisionRequested(Record):
    """A person is being asked; `number` counts the questions on this variant."""

    kind: Literal["DecisionRequested"] = "DecisionRequested"
    variant_id: str
    variant_sha256: Sha256
    number: int
    client: str


class QuestionClosed(Record):
    """The question was closed unanswered; it stays open for another time."""

    kind: Literal["QuestionClosed"] = "QuestionClosed"
    variant_id: str
    variant_sha256: Sha256
    client: str


class DecisionMade(Record):
    """`by_person` is False where the agent kept or reverted what the guardrails let it decide."""

    kind: Literal["DecisionMade"] = "DecisionMade"
    variant_id: str
    variant_sha256: Sha256
    outcome: Literal["keep", "revert"]
    by_person: bool
    decided_by: str
    reason: str

    @classmethod
    def by_agent(
        cls, artifact: Artifact, outcome: Literal["keep", "revert"], reason: str, how: str = "agent"
    ) -> DecisionMade:
        """What the guardrails let the agent decide. `how`: by whom it is said to be decided."""
        return cls(
            variant_id=artifact.variant_id,
            variant_sha256=artifact.sha256,
            outcome=outcome,
            by_person=False,
            decided_by=how,
            reason=reason,
        )


class PackageBuilt(Record):
    kind: Literal["PackageBuilt"] = "PackageBuilt"
    job_id: str
    variant_id: str
    package: Package


class ReportRendered(Record):
    kind: Literal["ReportRendered"] = "ReportRendered"
    report: Literal["summary", "tradeoff"]


class CallRefused(Record):
    kind: Literal["CallRefused"] = "CallRefused"
    tool: str
    code: str
    message: str


class LookTaken(Record):
    """In the ledger of an original: evaluation samples (a sketch of them, and their number) are looked at to judge a
    variant, the `number`-th time. Recorded before the work begins: a look that was cut short is a look."""

    kind: Literal["LookTaken"] = "LookTaken"
    session_id: str
    variant_sha256: Sha256
    data_digest: Sha256
    samples: list[str]
    count: int
    number: int
    alpha: float


class VariantJudged(Record):
    """In the ledger of an original: what a look at a variant showed."""

    kind: Literal["VariantJudged"] = "VariantJudged"
    variant_sha256: Sha256
    data_digest: Sha256
    samples: list[str]
    count: int
    status: Literal["PASS", "FAIL", "INCONCLUSIVE"]


class PersonAnswered(Record):
    """In the ledger of an original: what a person said of a variant, in whatever session."""

    kind: Literal["PersonAnswered"] = "PersonAnswered"
    session_id: str
    variant_sha256: Sha256
    outcome: Literal["keep", "revert"]
    decided_by: str


class QuestionLeft(Record):
    """In the ledger of an original: a question about this file was closed unanswered; `number` counts in the session."""

    kind: Literal["QuestionLeft"] = "QuestionLeft"
    session_id: str
    variant_sha256: Sha256
    number: int
    client: str


class LeaveRefused(Record):
    """In the ledger of an original: a person did not let this variant be opened as an original."""

    kind: Literal["LeaveRefused"] = "LeaveRefused"
    variant_sha256: Sha256
    refused_by: str


class LooseningRefused(Record):
    """In the ledger of an original: a person did not allow this bar, as a share of the baseline and a kind of evidence."""

    kind: Literal["LooseningRefused"] = "LooseningRefused"
    tolerance: float
    evidence: Literal["proven", "point"]
    refused_by: str


class LooseningLeft(Record):
    """In the ledger of an original: a question about a looser bar was closed unanswered, the `number`-th."""

    kind: Literal["LooseningLeft"] = "LooseningLeft"
    number: int
    client: str


class LookAnswered(Record):
    """In the ledger of an original: what a person said of one look more than the policy allows, at this variant and these
    samples; `number` counts the questions on the variant that nobody answered."""

    kind: Literal["LookAnswered"] = "LookAnswered"
    session_id: str
    variant_sha256: Sha256
    data_digest: Sha256
    outcome: Literal["accept", "refuse", "unanswered"]
    number: int
    answered_by: str


class VariantMade(Record):
    """In the stream of a file's or of weights' digest: these are a variant of that original, and no original."""

    kind: Literal["VariantMade"] = "VariantMade"
    original_sha256: Sha256
    original_path: str
    session_id: str
    variant_id: str


Event = (
    SessionOpened
    | JobStarted
    | JobFailed
    | BaselineMeasured
    | SensitivityAnalyzed
    | VariantCreated
    | VariantBenchmarked
    | VariantValidated
    | DecisionRequested
    | QuestionClosed
    | DecisionMade
    | PackageBuilt
    | ReportRendered
    | CallRefused
    | LookTaken
    | VariantJudged
    | PersonAnswered
    | QuestionLeft
    | LeaveRefused
    | LooseningRefused
    | LooseningLeft
    | LookAnswered
    | VariantMade
)
JOB_ENDS = (
    JobFailed,
    BaselineMeasured,
    SensitivityAnalyzed,
    VariantCreated,
    VariantBenchmarked,
    VariantValidated,
    PackageBuilt,
)

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="kind")])


def parse(body: str) -> Event:
    """The event that `body` (JSON) holds; pydantic's ValidationError where it holds none."""
    return _ADAPTER.validate_json(body)


def ends(event: Event) -> str | None:
    """The job that this event ends, if it ends one."""
    return event.job_id if isinstance(event, JOB_ENDS) else None
