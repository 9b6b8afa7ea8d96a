"""What a comparison says beside its figures: what the variant really runs as, and why it is not faster."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ...contract.measures import Execution, Precision, RunsAs
from ..models import onnx_file
from . import kernels
from .causes import Evidence, Zeros, explain
from .kinds import execution, runs_as
from .operators import Workload, call_us, profile
from .probe import balance
from .weights import zeros


class Explained(NamedTuple):
    execution: Execution | None
    runs_as: RunsAs | None
    why_not_faster: str | None


def explained(
    baseline: Workload,
    variant: Workload,
    threads: int,
    tmp: Path,
    *,
    faster: bool,
    asked: Precision | None,
) -> Explained:
    """From one profiled run of both. `asked`: by the steps that made the variant; else its file says."""
    before, after = profile([baseline, variant], threads, tmp)
    asked = asked or precision_of(variant.model)
    why = None
    if not faster:
        evidence = Evidence(
            baseline=before,
            variant=after,
            asked=asked,
            kernels=kernels.of_this_machine(),
            balance=balance(threads),
            zeros=_zeros(Path(baseline.model), Path(variant.model)),
            call_us=call_us(variant, threads),
        )
        why = explain(evidence)
    return Explained(execution(after), runs_as(asked, after) if asked else None, why)


def _zeros(baseline: Path, variant: Path) -> Zeros | None:
    before, after = zeros(baseline), zeros(variant)
    return None if before is None or after is None else Zeros(before, after)


def precision_of(model: str | Path) -> Precision | None:
    """int8 or fp16, by the graph; None for float32."""
    match onnx_file.precision(onnx_file.read(Path(model))):
        case "int8":
            return "int8"
        case "fp16":
            return "fp16"
    return None
