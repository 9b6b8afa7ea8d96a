"""Half-precision weights and arithmetic; inputs and outputs keep their types."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path

from onnx import ModelProto, NodeProto
from onnxruntime.transformers.float16 import convert_float_to_float16

from ...contract.measures import Interface
from ...contract.steps import Float16
from ..bench import Bench
from ..data.dataset import Dataset
from ..models import onnx_file
from ..models.tensors import subgraphs
from .base import Made, refuse_unless_float32, write

# ONNX Runtime takes the casts between two operators away again, so that nothing overflows that would elsewhere.
_ON_A_CPU = (
    "the file is half the size; ONNX Runtime on a CPU computes it in float32 all the same, so that it is hardly faster"
    " there, and its accuracy on hardware that computes in half precision must be measured on that hardware"
)


def run(
    parent: Path, step: Float16, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
) -> Made:
    model = onnx_file.load(parent)
    refuse_unless_float32(onnx_file.precision(model), "float16")
    write(halved(onnx_file.load(parent)), model, out)
    return Made("fp16", [_ON_A_CPU])


def halved(model: ModelProto) -> ModelProto:
    """The float model in half precision, which it is changed into; its inputs and outputs keep their types."""
    changed = convert_float_to_float16(model, keep_io_types=True)
    _sort_nodes(changed)
    return changed


def _sort_nodes(model: ModelProto) -> None:
    """Producers before consumers, as ONNX demands: the converter puts its casts of the inputs at the end."""
    nodes = list(model.graph.node)
    producer = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = {index: {producer[name] for name in _used(node) if name in producer} for index, node in enumerate(nodes)}
    sorter = TopologicalSorter(needs)
    sorter.prepare()
    order: list[int] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    del model.graph.node[:]
    model.graph.node.extend(nodes[index] for index in order)


def _used(node: NodeProto) -> set[str]:
    """The tensors that a node takes, those that its subgraphs take from outside among them."""
    inner = (graph for attribute in node.attribute for graph in subgraphs(attribute))
    return {name for graph in inner for within in onnx_file.nodes(graph) for name in within.input} | set(node.input)
