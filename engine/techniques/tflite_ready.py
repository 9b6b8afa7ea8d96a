"""A TensorFlow Lite file as ai-edge-quantizer wants it, which files of older converters are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools.flatbuffer_utils import (
    convert_object_to_bytearray,
    get_builtin_code_from_operator_code,
    read_model_from_bytearray,
)

from ...contract.text import untrusted
from ..models.tflite_model import TFLiteModel
from ..problems import JobProblem

SIGNATURE = "serving_default"


def ready(path: Path) -> bytes:
    """The same model with one signature of the names that its runner has, every operator under its present code, and no
    two tensors of one name.

    The quantizer feeds a model by its signature, reads codes that old files leave at 0 (every operator would be an
    addition), and keeps its books by the tensors' names. JobProblem UNAVAILABLE for a model of several signatures.
    """
    source = TFLiteModel(path)
    model: Any = read_model_from_bytearray(memoryview(path.read_bytes()))
    if len(model.signatureDefs or []) > 1:
        raise JobProblem(
            "UNAVAILABLE",
            f"{untrusted(path.name)} has {len(model.signatureDefs)} signatures, and this version quantizes models of one:"
            " convert the function that is deployed by itself",
        )
    for code in model.operatorCodes:
        code.builtinCode = get_builtin_code_from_operator_code(code)
    for graph in model.subgraphs:
        _name_apart(graph)
    sign(model, [info.name for info in source.inputs], [info.name for info in source.outputs])
    return bytes(convert_object_to_bytearray(model))


def sign(model: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Gives the model's first subgraph a signature, the only one, with these names in its own order."""
    graph = model.subgraphs[0]
    model.signatureDefs = [
        schema.SignatureDefT(
            inputs=_named(graph.inputs, inputs),
            outputs=_named(graph.outputs, outputs),
            signatureKey=SIGNATURE.encode(),
            subgraphIndex=0,
        )
    ]


def _named(indices: Sequence[int], names: Sequence[str]) -> list[Any]:
    pairs = zip(indices, names, strict=True)
    return [schema.TensorMapT(name=name.encode(), tensorIndex=int(index)) for index, name in pairs]


def _name_apart(graph: Any) -> None:
    taken: set[bytes] = set()
    for index, tensor in enumerate(graph.tensors):
        name = tensor.name or b"tensor"
        tensor.name = name if name not in taken else name + f"_{index}".encode()
        taken.add(tensor.name)
