"""The checklist that a session begins with."""

from __future__ import annotations

from pathlib import Path

from ..contract.devices import DEVICES
from ..contract.instead import deployable
from ..contract.measures import ModelInfo
from ..contract.text import untrusted
from ..engine.jobs import Inspected
from ..engine.runtimes.catalog import RUNTIMES, installed
from ..engine.sandbox import capabilities
from ..state.block import tolerance_text
from ..state.events import PreflightItem, SessionOpened
from ..state.session import Session
from .inspecting import LOAD_SECONDS
from .workshop import Workshop


def _descent(opened: SessionOpened) -> str:
    origin = opened.derived_from
    if origin is None:
        return "no variant that was made here"
    name, accuracy = untrusted(Path(origin.file.path).name), origin.accuracy
    return f"a variant of {name}, by leave of {origin.allowed_by}: the tolerance refers to {name}'s {accuracy:.4f}"


def _framework(model: ModelInfo) -> str:
    opset = f"opset {model.opset}" if model.opset is not None else ""
    return ", ".join(part for part in (model.framework, model.format, opset) if part)


def _runtime(format: str) -> str:
    """What measures the original, and its version."""
    runtime = RUNTIMES[format]
    return f"{runtime.distribution} {installed(runtime) or '(not installed)'}"


def _deployment(device: str, format: str) -> str:
    """What deploys on the device, and whether the original would as it is."""
    facts = DEVICES[device]
    if facts.takes(format):
        return f"{device}: {facts.runs}"
    way = (
        "is to be converted" if deployable(device, format) else "is none of these, and this version converts it to none"
    )
    return f"{device}: {facts.runs}; {format} {way}"


def _bar(opened: SessionOpened) -> str:
    """The tolerance that counts, as far as it is known yet, and the kind of evidence."""
    text = tolerance_text(Session(opened).tolerance, opened.tolerance_kind)
    unbounded = opened.tolerance_kind == "absolute" and opened.derived_from is None
    bound = f", at most {opened.max_tolerance:.6g} of the baseline's once that is measured" if unbounded else ""
    return f"{text}{bound}, {opened.evidence}"


def preflight(shop: Workshop, opened: SessionOpened, seen: Inspected) -> list[PreflightItem]:
    """The seeds' checklist, and whether the sandbox holds."""
    data, load = opened.data, seen.model.load_seconds
    size = sum(f.bytes for f in opened.files)
    free = shop.disk_free_mb()
    loaded = (
        f"loads in {load:.2f} s" if load is not None else f"takes over {LOAD_SECONDS} s to load: profile_model will"
    )
    target = opened.latency_target_ms
    calibration, training = opened.calibration, opened.training
    abi = capabilities()["landlock"]
    origin = opened.derived_from
    by_user = "; ".join(str(code) for code in opened.metric_codes)
    loaded += f", its module made by user code: {opened.loader}" if opened.loader else ""

    def item(text: str, ok: bool, detail: str, required: bool = True) -> PreflightItem:
        return PreflightItem(item=text, ok=ok, required=required, detail=detail)

    return [
        item("Source model file exists and is loadable", True, f"{opened.files[0].path} ({size / 2**20:.2f} MB), {loaded}"),
        item("Model is an original", origin is None, _descent(opened), False),
        item("Model framework identified", True, f"{_framework(seen.model)}; measured with {_runtime(seen.model.format)}"),
        item("Target device identified", True, f"{_deployment(opened.target_device, seen.model.format)}; {shop.stamp(opened.target_device).label}"),
        item("Test dataset available", True, f"{data.samples} samples, {data.classes or 'no'} classes"),
        item("Accuracy metric defined", True, f"{opened.evaluation.metric}{f', by user code: {by_user}' if by_user else ''}"),
        item("Accuracy tolerance defined", True, _bar(opened)),
        item("Latency target defined", target is not None, f"{target} ms" if target else "none given", False),
        item("Calibration dataset available", calibration is not None, f"{calibration.samples} samples" if calibration else "none: INT8 with calibration will be refused", False),
        item("Training dataset available", training is not None, f"{training.samples} samples" if training else "none: pruning, QAT and distillation will be refused", False),
        item("Disk space sufficient", free > 64 + 4 * size / 2**20, f"{free:.0f} MB free in the workspace"),
        item("Workers are sandboxed", bool(abi), f"Landlock ABI {abi}" if abi else "no Landlock in this kernel: only fingerprints protect the original", False),
    ]  # fmt: skip
