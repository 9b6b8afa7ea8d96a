"""A TensorRT engine, built on and for the GPU of this machine."""

from __future__ import annotations

from pathlib import Path

from ...contract.measures import Interface
from ...contract.steps import TensorRT
from ..bench import Bench
from ..data.dataset import Dataset
from ..models import onnx_file
from ..models.engine_origin import EngineOrigin, companion
from ..models.tensorrt_layers import precisions
from ..problems import JobProblem
from ..quantization.samples import Samples
from ..runtimes.catalog import missing
from .base import Made
from .tensorrt_graph import BATCHES, profile_shapes, typed_graph


def run(
    parent: Path, step: TensorRT, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    if lacking := missing("tensorrt"):
        raise JobProblem("UNAVAILABLE", lacking)
    # TensorRT itself is imported by these, where it is installed.
    from ..models.tensorrt_model import TensorRTModel, this_machine
    from .tensorrt_build import build

    machine = this_machine()
    model = onnx_file.load(parent)
    shapes = profile_shapes(model)
    samples = None if calibration is None else Samples.open(calibration, parent, interface)
    graph = typed_graph(model, step, samples, bench)
    bench.report(0.4, "building the engine")
    out.write_bytes(build(graph.SerializeToString(), step.workspace_mb, shapes))
    companion(out).write_text(machine.model_dump_json() + "\n", encoding="utf-8")
    made = TensorRTModel(out)
    # Without types of layers there is only what the graph asked for.
    runs = made.precision if precisions(made.layers) else step.precision
    return Made(runs, [_bound(machine, out), *made.check([]), *_planned(bool(shapes))])


def _bound(machine: EngineOrigin, out: Path) -> str:
    return (
        f"the engine runs on TensorRT {machine.tensorrt} and GPUs of compute capability {machine.compute_capability} alone"
        f" (built on {machine.gpu}); {companion(out).name} beside it says so"
    )


def _planned(dynamic: bool) -> list[str]:
    least, best, most = BATCHES
    return [f"it takes batches of {least} to {most} samples, planned for {best}"] if dynamic else []
