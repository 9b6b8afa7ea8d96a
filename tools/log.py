"""The phases' Markdown logs: what a model and a person read of each answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..contract.measures import (
    BY_POINT,
    Comparison,
    MachineCondition,
    Measurement,
    Package,
    Sustained,
    TensorInfo,
    Validation,
)
from ..reports.words import MB, memory_text, table
from ..state.events import (
    BaselineMeasured,
    Event,
    JobFailed,
    JobStarted,
    PackageBuilt,
    SensitivityAnalyzed,
    SessionOpened,
    VariantBenchmarked,
    VariantCreated,
    VariantValidated,
)
from ..state.session import Session

LISTED_TENSORS = 8


def shape(tensor: TensorInfo) -> str:
    axes = ", ".join("?" if a is None else str(a) for a in tensor.shape)
    return f"{tensor.name} [{axes}], dtype={tensor.dtype}"


def _shapes(of: str, tensors: Sequence[TensorInfo]) -> list[str]:
    """A line each; a decoder with a cache has hundreds of them."""
    shown = [f"**{of} Shape**: {shape(tensor)}" for tensor in tensors[:LISTED_TENSORS]]
    more = len(tensors) - len(shown)
    return [*shown, f"**{of} Shape**: {more} more"] if more else shown


def p99_text(measured: Measurement) -> str:
    """The P99, marked where so few runs cannot bound it."""
    value = f"{measured.latency_ms.p99:.3f}"
    return value if measured.latency_ms.p99_is_bound else f"{value} (of {measured.latency_ms.n} runs: no P99 bound)"


def machine_text(machine: MachineCondition | None) -> list[str]:
    """One line: what the kernel shows of the machine's condition, before and after."""
    if machine is None:
        return []
    load, clocks = machine.load, machine.mhz
    parts = [f"load {load[0]:.2f} -> {load[1]:.2f}", f"other work {machine.foreign:.0%}", f"steal {machine.steal:.1%}"]
    parts += [f"clock {clocks[0]:.0f} -> {clocks[1]:.0f} MHz"] if clocks else []
    parts += [f"governor {machine.governor}"] if machine.governor else []
    throttling = {None: "throttling not shown by this kernel", True: "THROTTLED", False: "not throttled"}
    return [f"**Machine**: {', '.join([*parts, throttling[machine.throttled]])}"]


def preflight_log(opened: SessionOpened) -> str:
    rows = [
        f"- [{'x' if i.ok else ' '}] {i.item}{'' if i.required else ' (optional)'}: {i.detail}"
        for i in opened.preflight
    ]
    return "\n".join([f"### Pre-flight: {opened.model_name}", "", *rows, "", "Proceeding to PROFILE phase."])


def _cut(session: Session) -> list[str]:
    """Says that an absolute tolerance is more than the policy allows of this baseline."""
    opened, counts = session.opened, session.tolerance
    if counts >= opened.accuracy_tolerance:
        return []
    return [
        f"**Tolerance**: {counts:.6g} absolute, the policy's {opened.max_tolerance:.6g} of the baseline's value; the "
        f"{opened.accuracy_tolerance:.6g} that was asked for is wider. Only the policy file allows more (max_tolerance)."
    ]


def profile_log(session: Session, measured: Measurement) -> str:
    opened, latency = session.opened, measured.latency_ms
    accuracy = measured.accuracy
    metric_rows = [[accuracy.metric, f"{accuracy.value:.4f}"]] if accuracy else []
    return "\n".join(
        [
            "### PROFILE Phase",
            "",
            f"**Model**: {opened.model_name} ({opened.model.framework}, {opened.source_format})",
            f"**File Size**: {measured.file_size_bytes / MB:.2f} MB",
            *_shapes("Input", opened.model.inputs),
            *_shapes("Output", opened.model.outputs),
            "",
            f"**Latency** (N={latency.n}, device={measured.device}, threads={measured.threads}, {measured.label}):",
            table(
                ["Metric", "Value"],
                [
                    ["Mean", f"{latency.mean:.3f} ms"],
                    ["P50", f"{latency.p50:.3f} ms"],
                    ["P95", f"{latency.p95:.3f} ms"],
                    ["P99", f"{p99_text(measured)} ms"],
                ],
            ),
            "",
            f"**Accuracy** (dataset={Path(opened.evaluation.dataset_path).name}, N={accuracy.n if accuracy else 0}):",
            table(["Metric", "Value"], metric_rows),
            *_cut(session),
            *([f"The value is computed by user code: {accuracy.user_code}"] if accuracy and accuracy.user_code else []),
            "",
            f"**Memory**: {memory_text(measured)} peak",
            *machine_text(measured.machine),
            f"**Bottleneck**: {session.bottleneck}",
            *(["**Ceilings** (Amdahl's law):", *(f"- {c}" for c in session.ceilings)] if session.ceilings else []),
            f"**Measurement**: {measured.measurement_id}",
            "",
            "Proceeding to OPTIMIZE phase.",
        ]
    )


def sensitivity_log(event: SensitivityAnalyzed) -> str:
    rows = [
        [
            layer.name,
            layer.op,
            f"{layer.score:.3g}",
            "" if layer.accuracy_drop is None else f"{layer.accuracy_drop:+.4f}",
        ]
        for layer in event.layers
    ]
    names = [layer.name for layer in event.layers[:3]]
    return "\n".join(
        [
            "### OPTIMIZE Phase: layer sensitivity",
            "",
            f"**Parent**: {event.parent_id}; {event.of} layers, each quantized alone on {event.samples} calibration samples",
            table(["Layer", "Operator", "Error / signal", "Accuracy drop"], rows),
            "",
            f"{event.confirmation}.",
            f"To keep the worst in float: int8_static with keep_float={names}.",
        ]
    )


def optimize_log(event: VariantCreated) -> str:
    made = event.artifact.brief()
    options = ", ".join(f"{k}={v}" for k, v in made.parameters.items()) or "defaults"
    nothing = [] if event.changed else ["", "This step changed nothing: the variant computes what its parent does."]
    return "\n".join(
        [
            "### OPTIMIZE Phase",
            "",
            f"**Strategy**: {made.technique} on {made.parent_id} ({options})",
            f"**Output**: {Path(made.path).name} ({made.size_bytes / MB:.2f} MB), variant {made.variant_id}",
            *(f"- {note}" for note in made.notes),
            *nothing,
            "",
            "Proceeding to BENCHMARK phase.",
        ]
    )


def benchmark_log(variant_id: str, c: Comparison) -> str:
    b, v = c.baseline, c.variant
    low, high = c.speedup.ci95
    rows = [
        ["File Size", f"{b.file_size_bytes / MB:.2f} MB", f"{v.file_size_bytes / MB:.2f} MB", f"{c.compression:.2f}x"],
        ["Latency (mean)", f"{b.latency_ms.mean:.3f} ms", f"{v.latency_ms.mean:.3f} ms", f"{c.speedup.value:.3f}x"],
        [
            "Latency (P95)",
            f"{b.latency_ms.p95:.3f} ms",
            f"{v.latency_ms.p95:.3f} ms",
            f"{b.latency_ms.p95 / v.latency_ms.p95:.3f}x",
        ],
        [
            "Latency (P99)",
            f"{p99_text(b)} ms",
            f"{p99_text(v)} ms",
            f"{b.latency_ms.p99 / v.latency_ms.p99:.3f}x",
        ],
        ["Memory", memory_text(b), memory_text(v), f"{c.memory_ratio:.2f}x"],
    ]
    replaced = f" ({c.noise.replaced} more set aside as disturbed)" if c.noise.replaced else ""
    disturbed = (
        ["", "Other work, the hypervisor or throttling disturbed this run: repeat it on a quiet machine."]
        if c.noise.disturbed
        else []
    )
    why = ["", f"Why not faster: {c.why_not_faster}"] if c.why_not_faster else []
    runs = ["", f"**Precision**: {c.runs_as}."] if c.runs_as else []
    return "\n".join(
        [
            "### BENCHMARK Phase",
            "",
            f"**{v.label}**, {v.device}, threads={v.threads}, {c.noise.processes} processes{replaced}, both models in"
            " alternation",
            "",
            table(["Metric", "Baseline", f"Optimized ({variant_id})", "Change"], rows),
            "",
            f"**Speedup**: {c.speedup.value:.3f} (95 % interval {low:.3f} to {high:.3f}): {c.speedup.verdict}",
            *machine_text(c.noise.machine),
            *(sustained_lines(c.sustained) if c.sustained else []),
            *disturbed,
            *runs,
            *why,
            "",
            "Proceeding to VALIDATE phase.",
        ]
    )


def sustained_lines(s: Sustained) -> list[str]:
    low, high = s.ci95
    said = "undecided, because other work disturbed it" if s.disturbed else s.verdict
    return [
        "",
        f"**Constant load of the variant** ({s.seconds:.0f} s, {s.calls} calls): {s.first_ms:.3f} ms in the first"
        f" {s.window_s:.0f} s, {s.last_ms:.3f} ms in the last: {s.slowdown:+.1%} (95 % interval {low:+.1%} to {high:+.1%}):"
        f" {said}",
        *machine_text(s.machine),
    ]


def validation_log(session: Session, variant_id: str, v: Validation) -> str:
    low, high = v.ci95_relative_drop
    says = {
        "PASS": "PASS -- within tolerance",
        "FAIL": "FAIL -- a class is provably ruined" if v.ruined else "FAIL -- exceeds tolerance",
        "INCONCLUSIVE": "INCONCLUSIVE -- these samples cannot decide",
    }[v.status]
    says += f" ({BY_POINT})" if v.verdict != v.status else ""
    more = f" About {v.more_samples_needed} more labelled samples would settle it." if v.more_samples_needed else ""
    stop = ["", "STOP: only a person can keep this variant. Show these numbers to the user, or revert it."]
    options = [f"- {a}" for a in v.alternatives]
    classes = ["", "**Classes that lose most**:", *(f"- {c}" for c in v.classes)] if v.classes else []
    artifact = session.variants[variant_id].artifact if variant_id in session.variants else None
    return "\n".join(
        [
            "### VALIDATE Phase",
            "",
            f"**Optimized Model**: {Path(artifact.path).name if artifact else 'baseline'} ({variant_id})",
            f"**Test Dataset**: {Path(session.opened.evaluation.dataset_path).name} (N={v.samples})",
            "",
            table(
                ["Metric", "Baseline", "Optimized", "Delta", "Tolerance", "Status"],
                [[v.metric, f"{v.baseline:.4f}", f"{v.optimized:.4f}", f"{v.delta:+.4f}", v.tolerance, v.verdict]],
            ),
            "",
            f"**Relative drop**: {v.relative_drop:+.2%} (95 % interval {low:+.2%} to {high:+.2%}); {v.method}",
            *([f"**User code** computed both values: {v.user_code}"] if v.user_code else []),
            f"**Verdict**: {says}.{more}",
            *classes,
            *([*stop, *options] if v.decision_required else []),
        ]
    )


def package_log(package: Package) -> str:
    return "\n".join(
        [
            "### PACKAGE Phase",
            "",
            f"**Folder**: {package.path}",
            table(["File", "Bytes", "SHA-256"], [[f.name, str(f.bytes), f.sha256[:16] + "…"] for f in package.files]),
            "",
            f"**Verification**: {package.verification}",
        ]
    )


def failure_log(job: JobStarted, event: JobFailed, steps: list[str]) -> str:
    lines = [f"### {job.tool} failed: {event.code}", "", event.message, ""]
    lines += [f"{n}. {step}" for n, step in enumerate(steps, 1)]
    if event.log_tail:
        lines += ["", "The end of the worker's log (untrusted text):", "", event.log_tail]
    return "\n".join(lines)


def job_log(session: Session, event: Event) -> str:
    """The log of the phase that this event ends."""
    match event:
        case BaselineMeasured():
            return profile_log(session, event.baseline)
        case SensitivityAnalyzed():
            return sensitivity_log(event)
        case VariantCreated():
            return optimize_log(event)
        case VariantBenchmarked():
            return benchmark_log(event.variant_id, event.comparison)
        case VariantValidated():
            return validation_log(session, event.variant_id, event.validation)
        case PackageBuilt():
            return package_log(event.package)
    return event.kind
