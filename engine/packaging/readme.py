"""README.md of a package: what it is, how to run it, and where its figures were measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...contract.measures import Comparison, Measurement, Validation
from ...contract.text import untrusted

_RUN = """## Run it

The model is run by {runtime}, the version that verified this package.{note}

    pip install -r requirements.txt
    python infer.py image.png                  # or a .npy / .npz file of raw samples
    python infer.py inputs.npz --output outputs.npz
    python infer.py --verify                   # repeats the recorded inferences and compares

`infer.py` needs nothing else of this project. It prepares raw samples as `preprocessing.json` says, in this order: {order}.
"""

# What a user of a format has to know before running it.
_NOTES = {
    "openvino": "`infer.py` has its layers in float compute as they were measured: in float32, or in bfloat16 where the .xml"
    " says so. OpenVINO's own default is bfloat16 where the CPU has it.",
    "tflite": "Where ai-edge-litert cannot be installed, `infer.py` takes tflite-runtime.",
    "tensorrt": "**The engine runs only on the GPU architecture, and with the TensorRT version, that built it**, which"
    " `{model}.json` names where edgeopt built it: for any other machine, build it again there.",
}

_FILES = """## Files

| file | what |
|---|---|
| `{model}` | the model |
| `preprocessing.json` | its inputs and outputs, and how raw samples become inputs |
| `infer.py`, `requirements.txt` | code that runs it, and the versions that it was verified with |
| `verification.npz` | raw samples and the outputs recorded for them |
| `metadata.json` | where the model comes from, what was done to it, what was measured, who decided |
| `SHA256SUMS` | check with `sha256sum -c SHA256SUMS` |
"""


def render(model: str, format: str, runtime: str, order: list[str], metadata: dict[str, Any]) -> str:
    """Markdown. `runtime`: what verified the package, with its version. Of a session's metadata it reads `model_name`, `target_device`, `original`, `steps`, `decisions`, the last
    of `measurements` and of `validations`, any of which may be missing, and every `label` of a measurement."""
    parts = [
        f"# {_text(metadata.get('model_name') or model)}",
        "\n".join(_provenance(metadata)),
        _RUN.format(runtime=_text(runtime), note=_note(format, model), order=", ".join(order)),
        _FILES.format(model=model),
        "## Figures",
        *_figures(metadata),
    ]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def _note(format: str, model: str) -> str:
    return f"\n{_NOTES[format].format(model=_text(model))}" if format in _NOTES else ""


def _text(value: Any) -> str:
    return untrusted(str(value))


def _provenance(metadata: dict[str, Any]) -> Iterator[str]:
    if device := metadata.get("target_device"):
        yield f"- For: {_text(device)}"
    for file in (metadata.get("original") or {}).get("files") or []:
        yield f"- Made from: `{_text(file['path'])}` (sha256 `{_text(file['sha256'])}`)"
    for step in metadata.get("steps") or []:
        yield f"- Step: {_text(step['technique'])}, precision {_text(step['precision'])}"
    for decision in metadata.get("decisions") or []:
        yield f"- Decision: {_text(decision['outcome'])}, by {_text(decision['decided_by'])}"


def _figures(metadata: dict[str, Any]) -> Iterator[str]:
    comparisons, validations = metadata.get("measurements") or [], metadata.get("validations") or []
    labels = sorted(set(_labels(metadata)))
    yield f"Measured on: {'; '.join(labels)}." if labels else "No figures were recorded for this package."
    if comparisons:
        yield _latency_table(Comparison.model_validate(comparisons[-1]))
    if validations:
        yield _accuracy(Validation.model_validate(validations[-1]))


def _labels(value: Any) -> Iterator[str]:
    """Every label of a measurement, at any depth, with its device."""
    if isinstance(value, dict):
        if isinstance(value.get("label"), str):
            device = value.get("device")
            yield untrusted(f"{value['label']}, {device}" if device else value["label"])
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _labels(item)


def _latency_table(comparison: Comparison) -> str:
    columns = (comparison.baseline, comparison.variant)
    low, high = comparison.speedup.ci95
    rows = [
        ("where", [measurement.label for measurement in columns]),
        ("latency, mean", [_ms(measurement.latency_ms.mean) for measurement in columns]),
        ("latency, P95", [_ms(measurement.latency_ms.p95) for measurement in columns]),
        ("peak memory", [f"{measurement.peak_memory_mb:.1f} MB" for measurement in columns]),
        ("file size", [f"{measurement.file_size_bytes:,} bytes" for measurement in columns]),
    ]
    table = ["| | original | this model |", "|---|---|---|"]
    table += [f"| {name} | {' | '.join(untrusted(value) for value in values)} |" for name, values in rows]
    speedup = (
        f"Speedup {comparison.speedup.value:.2f} (95 % interval {low:.2f} to {high:.2f}: {comparison.speedup.verdict});"
        f" {_conditions(comparison.variant)}."
    )
    return "\n".join(table) + f"\n\n{speedup}"


def _ms(value: float) -> str:
    return f"{value:.3g} ms"


def _conditions(measurement: Measurement) -> str:
    return (
        f"{untrusted(measurement.runtime)}, threads: {measurement.threads}, batch size: {measurement.batch_size},"
        f" timed runs: {measurement.latency_ms.n}"
    )


def _accuracy(validation: Validation) -> str:
    low, high = validation.ci95_relative_drop
    code = f" Computed by user code: {untrusted(validation.user_code)}." if validation.user_code else ""
    ruined = "".join(f" {str(c).capitalize()}." for c in validation.ruined)
    return (
        f"{untrusted(validation.metric)}: original {validation.baseline:.4f}, this model {validation.optimized:.4f}, on the"
        f" same {validation.samples} samples. Relative drop {validation.relative_drop:+.2%}"
        f" (95 % interval {low:+.2%} to {high:+.2%}); tolerance {untrusted(validation.tolerance)}: {validation.verdict}.{ruined}{code}"
    )
