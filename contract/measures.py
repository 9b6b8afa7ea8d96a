"""What was measured: the fields that clients see, with their units."""

from __future__ import annotations

from typing import Any, Literal

from .record import Record

Where = Literal["target", "host_estimate"]
Interval = tuple[float, float]


class Latency(Record):
    """One inference, milliseconds. `p99_is_bound`: n is enough (299) for a P99 at 95 % confidence."""

    mean: float
    p50: float
    p95: float
    p99: float
    std: float
    n: int
    p99_is_bound: bool


class Accuracy(Record):
    """`user_code`: whose code had a hand in the value (file:function and digest), where the metric is custom."""

    metric: str
    value: float
    n: int
    ci95: Interval
    user_code: str | None = None


class Stamp(Record):
    """Where a number was taken. `label` is what a person reads beside it."""

    where: Where
    label: str
    device: str


class Measurement(Stamp):
    """Peak memory is that of a fresh process that holds the runtime and this model alone, in MB (2**20 bytes)."""

    measurement_id: str
    runtime: str
    threads: int
    batch_size: int
    latency_ms: Latency
    throughput_per_s: float
    peak_memory_mb: float
    file_size_bytes: int
    accuracy: Accuracy | None = None


class Speedup(Record):
    """Baseline latency / variant latency, paired. faster or slower only where all of the interval is beyond 1 %."""

    value: float
    ci95: Interval
    verdict: Literal["faster", "slower", "undecided"]


class Noise(Record):
    """`half_width`: of the speedup's interval, relative. `disturbed`: other work on the machine was seen."""

    half_width: float
    processes: int
    disturbed: bool


class Comparison(Record):
    """Two measurements of one interleaved run. compression and memory_ratio are baseline / variant."""

    baseline: Measurement
    variant: Measurement
    speedup: Speedup
    compression: float
    memory_ratio: float
    noise: Noise
    why_not_faster: str | None = None


class Look(Record):
    """The number of times that these samples were looked at to judge a variant, and the error this look may spend."""

    number: int
    alpha: float


class Flip(Record):
    """A sample that the baseline had right and the variant has wrong."""

    sample: int
    label: float
    baseline: float
    variant: float


class ClassDrop(Record):
    """One class: the share of its samples that each model has right. `ruined`: the drop, which is positive when worse, is
    proven larger than the tolerance."""

    label: int
    samples: int
    baseline: float
    optimized: float
    drop: float
    ruined: bool

    def __str__(self) -> str:
        ruin = "is ruined" if self.ruined else "loses"
        return f"class {self.label} {ruin}: {self.baseline:.2f} -> {self.optimized:.2f} on {self.samples} samples"


class Validation(Record):
    """Both models on the same samples. `delta` is positive when worse; `relative_drop` = delta / |baseline|. `classes`:
    those that lose, at most 10, the provably ruined ones first. `user_code` as in `Accuracy`."""

    metric: str
    baseline: float
    optimized: float
    delta: float
    relative_drop: float
    ci95_relative_drop: Interval
    tolerance: str
    evidence: Literal["proven", "point"]
    method: str
    samples: int
    status: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    more_samples_needed: int | None = None
    look: Look
    decision_required: bool
    alternatives: list[str]
    flips: list[Flip]
    changed_decisions: int | None = None
    classes: list[ClassDrop] = []
    user_code: str | None = None

    @property
    def ruined(self) -> list[ClassDrop]:
        """The classes that are provably ruined, of those that are listed."""
        return [c for c in self.classes if c.ruined]


class FileDigest(Record):
    name: str
    sha256: str
    bytes: int


class Artifact(Record):
    """A variant as it was made: the file never changes afterwards."""

    variant_id: str
    parent_id: str | None
    technique: str
    parameters: dict[str, Any]
    path: str
    format: str
    precision: str
    size_bytes: int
    sha256: str
    notes: list[str] = []


class Variant(Artifact):
    """An artifact and what has become of it (derived from the session's events)."""

    status: Literal["original", "created", "benchmarked", "PASS", "FAIL", "INCONCLUSIVE", "kept", "reverted"]


class Package(Record):
    path: str
    files: list[FileDigest]
    verified: bool
    verification: str


class TensorInfo(Record):
    """A model's input or output. A dynamic axis is None in `shape`."""

    name: str
    dtype: str
    shape: list[int | None]


class ModelInfo(Record):
    """What static inspection and one load say of a model file."""

    format: str
    framework: str
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    parameters: int | None
    operators: dict[str, int]
    opset: int | None = None
    load_seconds: float | None = None


class DataInfo(Record):
    """A data set as it was read: `digest` is over the contents of its samples and labels."""

    samples: int
    classes: int | None
    digest: str
    kind: Literal["npz", "npz_named", "folder", "csv"]
