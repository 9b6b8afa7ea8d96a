"""ONNX of a PyTorch model: of an exported program by the dynamo exporter, of TorchScript by the older one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto

from ...contract.measures import Interface, TensorInfo
from ...contract.steps import ExportOnnx
from ...contract.text import untrusted
from ..bench import Bench
from ..models import onnx_file
from ..models.formats import TORCHSCRIPT, sniff
from ..models.model_file import ModelFile, open_file
from ..models.recurrent import teach_shapes
from ..problems import JobProblem
from .base import Made, write

# Of the exporter of exported programs. ONNX's own converter takes next to no model to an older one.
_LEAST_OPSET = 18
# Of the exporter of TorchScript: its default, and the newest that it knows.
_SCRIPT_OPSET, _LAST_SCRIPT_OPSET = 17, 20


def export(parent: Path, step: ExportOnnx, out: Path, interface: Interface, bench: Bench) -> Made:
    """Writes the model with the parent's own names, open axes open, all weights in one file.

    Raises JobProblem UNAVAILABLE over 2 GiB, and where an operator has no form in the opset that is asked for.
    """
    source = open_file(parent)
    if sum(file.stat().st_size for file in source.files) > onnx_file.MAX_BYTES:
        raise JobProblem("UNAVAILABLE", f"{untrusted(parent.name)} is over 2 GiB, the most that one ONNX file holds")
    bench.report(0.1, "exporting to ONNX")
    teach_shapes()
    if sniff(parent) == TORCHSCRIPT:
        model = _of_script(parent, _opset(step, 1, _LAST_SCRIPT_OPSET) or _SCRIPT_OPSET, source, bench)
    else:
        model = _of_program(parent, _opset(step, _LEAST_OPSET, onnx.defs.onnx_opset_version()), source)
    forget_author(model)
    write(model, ModelProto(), out)
    return Made(onnx_file.precision(model))


def _opset(step: ExportOnnx, least: int, last: int) -> int | None:
    """The opset that was asked for. JobProblem UNAVAILABLE where the exporter does not write it."""
    if step.opset is not None and not least <= step.opset <= last:
        raise JobProblem(
            "UNAVAILABLE",
            f"PyTorch {torch.__version__} writes this model in the ONNX opsets {least} to {last}, not in {step.opset}: leave"
            " opset out, or name one of these",
        )
    return step.opset


def _of_program(parent: Path, opset: int | None, source: ModelFile) -> ModelProto:
    program: Any = torch.onnx.export(
        torch.export.load(str(parent)),
        dynamo=True,
        input_names=_names(source.inputs),
        output_names=_names(source.outputs),
        opset_version=opset,
        external_data=False,
        verbose=False,
    )
    return program.model_proto


def _of_script(parent: Path, opset: int, source: ModelFile, bench: Bench) -> ModelProto:
    written = bench.tmp / "traced.onnx"
    torch.onnx.export(
        torch.jit.load(str(parent), map_location="cpu"),
        tuple(_anything(info) for info in source.inputs),
        written,
        dynamo=False,
        input_names=_names(source.inputs),
        output_names=_names(source.outputs),
        dynamic_axes={info.name: _open_axes(info) for info in (*source.inputs, *source.outputs)},
        opset_version=opset,
    )
    return onnx_file.read(written)


def _names(infos: Iterable[TensorInfo]) -> list[str]:
    return [info.name for info in infos]


def _anything(info: TensorInfo) -> torch.Tensor:
    """An input of this shape: the older exporter wants one. TorchScript keeps its branches, whatever it holds."""
    return torch.zeros([2 if axis is None else axis for axis in info.shape], dtype=getattr(torch, info.dtype))


def _open_axes(info: TensorInfo) -> dict[int, str]:
    names = {axis: f"{info.name}_{axis}" if axis else "batch" for axis in range(len(info.shape))}
    return {axis: name for axis, name in names.items() if info.shape[axis] is None}


def forget_author(model: ModelProto) -> None:
    """Drops what an exporter writes of the source beside the graph: stack traces with paths, names of classes."""
    everything: list[Any] = [model.graph, *model.graph.input, *model.graph.output, *model.graph.value_info]
    everything += [*model.graph.initializer, *onnx_file.nodes(model.graph), *model.functions]
    for part in everything:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
