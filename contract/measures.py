"""What was measured: the fields that clients see, with their units."""

from __future__ import annotations

from typing import Any, Literal, Self

from .record import Record

Where = Literal["target", "host_estimate"]
Interval = tuple[float, float]
Precision = Literal["int8", "fp16"]
# Of ceilings: under the first there is nothing to hope for; the second stands for itself and all beyond.
NO_GAIN = 1.05
UNBOUNDED = 100.0


class Latency(Record):
    """One inference, milliseconds. `p99_is_bound`: n is enough (299) for a P99 at 95 % confidence; a P95 needs 59, and n is
    never below 100."""

    mean: float
    p50: float
    p95: float
    p99: float
    std: float
    n: int
    p99_is_bound: bool


class Accuracy(Record):
    """`user_code`: whose code had a hand in the value (file:function and digest): a metric's, an adapter's or both."""

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


class MachineCondition(Record):
    """The machine while something was measured; pairs are before and after, None is what its kernel does not show.

    `load`: its average over a minute. `foreign`, `steal`: shares of the CPU time that other work used and that the
    hypervisor took. `mhz`: mean clock of the CPUs. `throttled`: the clock was held down (heat, voltage) meanwhile.
    """

    load: tuple[float, float]
    foreign: float
    steal: float
    mhz: tuple[float, float] | None = None
    governor: str | None = None
    throttled: bool | None = None


class Measurement(Stamp):
    """Peak memory is that of a fresh process that holds the runtime and this model alone, in MB (2**20 bytes);
    `runtime_memory_mb` is that of such a process whose model is next to nothing
    (ONNX), or that has only loaded its runtime (the other formats). `machine`: of a profile; a comparison
    has it in its noise."""

    measurement_id: str
    runtime: str
    threads: int
    batch_size: int
    latency_ms: Latency
    throughput_per_s: float
    peak_memory_mb: float
    runtime_memory_mb: float | None = None
    file_size_bytes: int
    accuracy: Accuracy | None = None
    machine: MachineCondition | None = None


class Speedup(Record):
    """Baseline latency / variant latency, paired. faster or slower only where all of the interval is beyond 1 %."""

    value: float
    ci95: Interval
    verdict: Literal["faster", "slower", "undecided"]


class Noise(Record):
    """`half_width`: of the speedup's interval, relative. `disturbed`: other work, steal or throttling was seen in the
    `processes` that count; `replaced`: those that do not, being disturbed, or the counterpart of one that was."""

    half_width: float
    processes: int
    disturbed: bool
    replaced: int = 0
    machine: MachineCondition | None = None


class Sustained(Record):
    """The variant under constant load: its latency in the last `window_s` seconds against that in the first.

    `slowdown`: last / first - 1. slower where all of its interval is over 1 %, steady where all of it is under 5 %;
    undecided where neither, or where other work disturbed a window.
    """

    seconds: float
    calls: int
    window_s: float
    first_ms: float
    last_ms: float
    slowdown: float
    ci95: Interval
    verdict: Literal["steady", "slower", "undecided"]
    disturbed: bool
    machine: MachineCondition


class Execution(Record):
    """Shares of the time in operators by what their kernels compute in, by the runtime's profiler; they add up to 1.

    `operators_ms`: of one inference. `conversions`: Q/DQ and casts. `other`: arithmetic on shapes and indices.
    """

    operators_ms: float
    integer: float
    float32: float
    float16: float
    conversions: float
    other: float


class LayerScore(Record):
    """`score`: the power of the error in the model's outputs over their power, from quantizing this layer alone (1 / SNR).
    `accuracy_drop`: what that costs in the metric, where it was evaluated."""

    name: str
    op: str
    score: float
    accuracy_drop: float | None = None


class RunsAs(Record):
    """The precision that was asked for, and the one that runs. `share`: of the time in convolutions and matrix products,
    in kernels of the asked precision; `runs` is that from 0.9, fp32 where as much is in float32, mixed between."""

    asked: Precision
    runs: Literal["int8", "fp16", "fp32", "mixed"]
    share: float

    def __str__(self) -> str:
        kernels = "integer" if self.asked == "int8" else "float16"
        part = f"{self.share:.0%} of the time of its convolutions and matrix products is in {kernels} kernels"
        asked = self.asked.upper()
        if self.runs == self.asked:
            return f"{asked} runs: {part}"
        return f"asked for {asked}, runs {'in part' if self.runs == 'mixed' else 'as FP32'}: {part}"


class Ceiling(Record):
    """The most that a technique can gain on this model here, by Amdahl's law from the baseline's operator profile.

    `share`: of the operators' time, in the convolutions and matrix products (`operators`) that it can change. `at_most`:
    the speedup if these took no time (100 stands for more). `realistic`: if they gained what 8-bit kernels gain on this
    machine, as measured; None where nothing was. `warning`: what the technique would slow down, or why there is no gain.
    """

    technique: str
    operators: list[str]
    share: float
    at_most: float
    realistic: float | None = None
    warning: str | None = None

    def __str__(self) -> str:
        warning = f" {self.warning}" if self.warning else ""
        if self.at_most < NO_GAIN:
            return f"{self.technique}: no gain.{warning}"
        where = f"{self.share:.0%} of the time is in {', '.join(self.operators)}"
        realistic = f", about {self.realistic:.1f}x with this machine's 8-bit kernels" if self.realistic else ""
        return f"{self.technique}: at most {self.at_most:.1f}x{realistic} ({where}).{warning}"


class Comparison(Record):
    """Two measurements of one interleaved run. compression and memory_ratio are baseline / variant; memory is what
    each model takes over the runtime's own footprint, differences of less than 1 MB being nobody's, or all of it where the
    runtimes are two. `execution`: of the
    variant. `runs_as`: of a variant that was asked to be INT8 or FP16."""

    baseline: Measurement
    variant: Measurement
    speedup: Speedup
    compression: float
    memory_ratio: float
    noise: Noise
    why_not_faster: str | None = None
    execution: Execution | None = None
    runs_as: RunsAs | None = None
    sustained: Sustained | None = None


class Look(Record):
    """The number of times that these samples were looked at to judge a variant, and the error this look may spend."""

    number: int
    alpha: float


class Flip(Record):
    """A sample that the baseline had right and the variant has wrong. For a detector an image that lost: `label` is the
    number of its objects, `baseline` and `variant` the AP on it alone."""

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


# How the method of a verdict by parity begins, and what stands beside one by the point estimate.
PARITY = "parity: "
BY_POINT = "point estimate, not proven"


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

    @property
    def verdict(self) -> str:
        """The status as every place shows it: one by the point estimate says so. Parity is no estimate, and a ruined class
        is proven."""
        settled = self.evidence == "proven" or self.method.startswith(PARITY) or self.ruined
        return self.status if settled else f"{self.status} ({BY_POINT})"


class FileDigest(Record):
    name: str
    sha256: str
    bytes: int


class Artifact(Record):
    """A variant as it was made: the file never changes afterwards. `companions`: what its format keeps in files of their
    own beside it; they do not change either, and `size_bytes` counts them."""

    variant_id: str
    parent_id: str | None
    technique: str
    parameters: dict[str, Any]
    path: str
    format: str
    precision: str
    size_bytes: int
    sha256: str
    companions: list[FileDigest] = []
    notes: list[str] = []

    @property
    def title(self) -> str:
        """Its id, its technique, and the parameter without which two variants are called the same."""
        chosen = self.parameters.get("quantization") or self.parameters.get("precision")
        per_tensor = self.technique == "int8_static" and self.parameters.get("per_channel") is False
        return " ".join(
            [
                self.variant_id,
                self.technique,
                *([f"{chosen}"] if chosen else []),
                *(["per-tensor"] if per_tensor else []),
            ]
        )

    @property
    def files(self) -> list[tuple[str, str]]:
        """Path and sha256 of the file and of its companions."""
        folder = self.path.rpartition("/")[0]
        return [(self.path, self.sha256), *((f"{folder}/{file.name}", file.sha256) for file in self.companions)]

    def brief(self, most: int = 8) -> Self:
        """As answers hold it: of a long list of names the first `most`, and how many more there are."""
        parameters = {name: _beginning(value, most) for name, value in self.parameters.items()}
        return self.model_copy(update={"parameters": parameters, "notes": _beginning(self.notes, 20)})


def _beginning(value: Any, most: int) -> Any:
    if not isinstance(value, list) or len(value) <= most:
        return value
    return [*value[:most], f"and {len(value) - most} more"]


class Variant(Artifact):
    """An artifact and what has become of it (derived from the session's events). `verdict`: of its validation, and whether
    that is a point estimate; None before there is one."""

    status: Literal["original", "created", "benchmarked", "PASS", "FAIL", "INCONCLUSIVE", "kept", "reverted"]
    verdict: str | None = None


class Package(Record):
    path: str
    files: list[FileDigest]
    verified: bool
    verification: str


class Quantization(Record):
    """How a model's file holds a tensor of real numbers: as integers of `dtype`, real = (integer - zero_point) * scale."""

    dtype: str
    scale: float
    zero_point: int


class TensorInfo(Record):
    """A model's input or output. A dynamic axis is None in `shape`. A quantized one is float32, and says how it is held."""

    name: str
    dtype: str
    shape: list[int | None]
    quantization: Quantization | None = None


class Interface(Record):
    """What a session's original is fed and answers: a variant in another format is fed and read the same way."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


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
    kind: Literal["npz", "npz_named", "folder", "csv", "coco"]
