"""An ONNX file."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path

import onnx
from onnx import ModelProto

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..problems import JobProblem
from . import onnx_file
from .identity import graph_digest, weights_digest
from .tensors import check_tensors, external_file, external_tensors


class OnnxModel:
    format = "onnx"

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def model(self) -> ModelProto:
        """The graph, external data left where it is."""
        return onnx_file.read(self.path)

    @property
    def framework(self) -> str:
        return f"{self.model.producer_name} {self.model.producer_version}".strip()

    @property
    def inputs(self) -> list[TensorInfo]:
        return onnx_file.inputs(self.model)

    @property
    def outputs(self) -> list[TensorInfo]:
        return onnx_file.outputs(self.model)

    @property
    def parameters(self) -> int:
        return onnx_file.parameters(self.model)

    @property
    def operators(self) -> Counter[str]:
        return onnx_file.operators(self.model)

    @property
    def opset(self) -> int | None:
        return onnx_file.opset(self.model)

    @property
    def precision(self) -> str:
        return onnx_file.precision(self.model)

    @property
    def files(self) -> list[Path]:
        return onnx_file.files(self.model, self.path)

    @property
    def weights(self) -> str:
        return weights_digest(onnx_file.load(self.path))

    @property
    def graph(self) -> str:
        return graph_digest(onnx_file.load(self.path))

    def check(self, roots: list[str]) -> list[str]:
        self._check_places(roots)
        check_tensors(self.model, self.path.parent)
        if not self.inputs:
            raise JobProblem(
                "BAD_FILE",
                f"{untrusted(self.path.name)} has no inputs: it computes constants, and there is nothing to feed it. Export"
                " it again with its inputs",
            )
        return self._objections()

    def _check_places(self, roots: list[str]) -> None:
        """External data may lie below the roots or in the model's own folder, wherever links lead."""
        allowed = [self.path.parent.resolve(), *(Path(root).resolve() for root in roots)]
        for tensor in external_tensors(self.model):
            file = external_file(tensor, self.path.parent)
            if not any(file.is_relative_to(place) for place in allowed):
                raise JobProblem(
                    "PATH_NOT_ALLOWED",
                    f"the model wants to read its weights from {untrusted(str(file))}, outside the allowed roots: move them"
                    " beside the model, or ask the operator to start the server with --allow-root",
                )

    def _objections(self) -> list[str]:
        """What the ONNX checker holds against a model that may load all the same."""
        if next(external_tensors(self.model), None) is not None:
            return []  # the checker wants the files on its own terms; the runtime will read them
        try:
            onnx.checker.check_model(self.model)
        except onnx.checker.ValidationError as error:
            return [untrusted(f"the model is not valid ONNX: {error}", 300)]
        return []


def open_file(path: Path) -> OnnxModel:
    return OnnxModel(path)
