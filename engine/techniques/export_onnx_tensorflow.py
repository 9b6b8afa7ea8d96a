"""ONNX of a TensorFlow model, by tf2onnx: the graph that runs, with its variables as constants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import GraphProto, ModelProto, NodeProto

from ...contract.measures import Interface
from ...contract.steps import ExportOnnx
from ...contract.text import untrusted
from ..bench import Bench
from ..models import onnx_file
from ..models.tensorflow_model import TensorFlowModel
from ..models.tensors import subgraphs
from ..problems import JobProblem
from ..runtimes.catalog import version
from ..runtimes.network import Network
from ..runtimes.tensorflow_quietly import tf
from .base import Made, write

# What every ONNX runtime of these years reads.
_OPSET = 17
# Older ones are not tested by its makers any more.
_OLDEST_OPSET = 14


def export(parent: Path, step: ExportOnnx, out: Path, interface: Interface, bench: Bench) -> Made:
    """Writes the model with the parent's own names and axes: channels stay last, open axes open.

    Raises JobProblem: UNAVAILABLE where tf2onnx is not installed, the model is over 2 GiB, or an operator has no ONNX;
    INVALID_ARGUMENT for an opset that tf2onnx does not write.
    """
    if version("tf2onnx") is None:
        raise JobProblem(
            "UNAVAILABLE", "tf2onnx is not installed, which makes ONNX of TensorFlow: pip install 'edgeopt[tensorflow]'"
        )
    source = TensorFlowModel(parent)
    if sum(file.stat().st_size for file in source.files) > onnx_file.MAX_BYTES:
        raise JobProblem("UNAVAILABLE", f"{untrusted(parent.name)} is over 2 GiB, the most that one ONNX file holds")
    bench.report(0.1, "exporting to ONNX")
    model = _converted(source.network, step.opset or _OPSET)
    _refuse_unknown(model)
    _name_axes(model)
    write(model, ModelProto(), out)
    return Made(onnx_file.precision(model), list(source.network.notes))


def _converted(network: Network, opset: int) -> ModelProto:
    import tf2onnx

    written = range(_OLDEST_OPSET, max(tf2onnx.constants.OPSET_TO_IR_VERSION) + 1)
    if opset not in written:
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"tf2onnx writes ONNX opsets {written[0]} to {written[-1]} and not {opset}: leave opset out, or name one of these",
        )
    signature = [
        tf.TensorSpec(port.shape, port.dtype, f"edgeopt_input_{place}") for place, port in enumerate(network.inputs)
    ]

    def compute(*tensors: Any) -> dict[str, Any]:
        outputs = network.function(*tensors)
        return {f"edgeopt_output_{place}": outputs[port.name] for place, port in enumerate(network.outputs)}

    function = tf.function(compute, input_signature=signature, autograph=False)
    model, _ = tf2onnx.convert.from_function(function, signature, opset=opset)
    _name(model.graph.input, [port.name for port in network.inputs], "input", model.graph)
    _name(model.graph.output, [port.name for port in network.outputs], "output", model.graph)
    return model


def _name(listed: Any, names: list[str], what: str, graph: GraphProto) -> None:
    """Gives the inputs or outputs of a graph, `edgeopt_input_0` and so on, the source's names, in the source's order."""
    wanted = {f"edgeopt_{what}_{place}": name for place, name in enumerate(names)}
    if {value.name for value in listed} != set(wanted):
        raise JobProblem(
            "TECHNIQUE_FAILED",
            f"tf2onnx left {len(listed)} {what}s of {len(names)}: what the model does not use must go before it is exported",
        )
    inner = {name: f"inner/{name}" for name in wanted.values() if name not in wanted}
    _rename(graph, inner | wanted)
    ordered = sorted(listed, key=lambda value: names.index(value.name))
    del listed[:]
    listed.extend(ordered)


def _rename(graph: GraphProto, names: dict[str, str]) -> None:
    """Tensors, also where the graphs inside of nodes name them."""
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for listed in (node.input, node.output):
            listed[:] = [names.get(name, name) for name in listed]
        for attribute in node.attribute:
            for inside in subgraphs(attribute):
                _rename(inside, names)


def _refuse_unknown(model: ModelProto) -> None:
    """tf2onnx leaves an operator that it has no ONNX for as it is, and says so in a log."""
    unknown = {onnx_file.operator(node) for node in onnx_file.nodes(model.graph) if not _is_standard(node, model)}
    if unknown:
        raise JobProblem(
            "UNAVAILABLE",
            f"tf2onnx {version('tf2onnx')} has no ONNX for {', '.join(untrusted(name, 40) for name in sorted(unknown)[:10])}:"
            " convert the model with the technique tflite, or write that part of it with other operators",
        )


def _is_standard(node: NodeProto, model: ModelProto) -> bool:
    versions = {entry.domain: entry.version for entry in model.opset_import}
    return onnx.defs.has(node.op_type, versions.get(node.domain, 0), node.domain)


def _name_axes(model: ModelProto) -> None:
    """tf2onnx numbers open axes as they come: the first of each tensor is the batch, the others are its own."""
    for value in (*model.graph.input, *model.graph.output):
        for place, axis in enumerate(value.type.tensor_type.shape.dim):
            if not axis.HasField("dim_value") or axis.dim_value < 0:
                axis.dim_param = f"{value.name}_{place}" if place else "batch"
    del model.graph.value_info[:]
