"""What ONNX Runtime wants done before it quantizes: the graph optimized, every shape known, every node named, no product that
its quantizers get wrong."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, version_converter
from onnxruntime.quantization.shape_inference import quant_pre_process

from ...contract.text import untrusted
from ..models import onnx_file
from ..problems import JobProblem
from ..quantization.products import plain_products

# The first opset in which quantized weights may have one scale a channel.
PER_CHANNEL = 13
# The first opset that ONNX Runtime quantizes.
_LEAST = 11


def prepare(model: ModelProto, scratch: Path) -> ModelProto:
    """The pre-processed model. Symbolic shape inference is left out: it needs sympy, and helps transformers alone."""
    source, target = scratch / "parent.onnx", scratch / "preprocessed.onnx"
    onnx.save(_converted_first(model), source)
    quant_pre_process(source, target, skip_symbolic_shape=True)
    prepared = onnx_file.read(target)
    _name_nodes(prepared)
    plain_products(prepared)
    return prepared


def _converted_first(model: ModelProto) -> ModelProto:
    """At the opset to which ONNX Runtime converts it, after it has put operators into the graph that do not convert."""
    if (onnx_file.opset(model) or 0) >= _LEAST:
        return model
    try:
        return version_converter.convert_version(model, _LEAST)
    except (RuntimeError, ValueError):
        return model


def _name_nodes(model: ModelProto) -> None:
    """Names those that have none, apart from all others: exporters name nodes in the same way."""
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        name = node.name or f"{node.op_type}_{index}"
        while not node.name:
            if name not in taken:
                node.name = name
                taken.add(name)
            name += "_"


def raised(model: ModelProto, opset: int) -> ModelProto:
    """The model at this opset at least. JobProblem UNAVAILABLE where it cannot be converted."""
    if (onnx_file.opset(model) or 0) >= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except (RuntimeError, ValueError) as error:
        reason = untrusted(str(error), 200)
        raise JobProblem(
            "UNAVAILABLE",
            f"one scale a channel takes opset {opset}, the model has {onnx_file.opset(model)}, and it does not convert"
            f" ({reason}): export it again with a newer opset, or use per_channel=false",
        ) from error


def surviving_names(name: str, parent: ModelProto, prepared: ModelProto) -> list[str]:
    """The prepared nodes that do the work of the parent's node: itself, or the node that it was merged into.

    A merged node is found by its output, else by the outputs of the nodes that use it, and so on downstream. Empty
    where its work was done in advance (folded into a constant).
    """
    if any(node.name == name for node in prepared.graph.node):
        return [name]
    producer = {output: node.name for node in prepared.graph.node for output in node.output}
    consumers: dict[str, list[NodeProto]] = {}
    for node in parent.graph.node:
        for used in node.input:
            consumers.setdefault(used, []).append(node)
    front = [node for node in parent.graph.node if node.name == name]
    seen: set[str] = set()
    while front:
        outputs = [output for node in front for output in node.output if output and output not in seen]
        if found := [producer[output] for output in outputs if output in producer]:
            return list(dict.fromkeys(found))
        seen.update(outputs)
        front = [node for output in outputs for node in consumers.get(output, [])]
    return []
