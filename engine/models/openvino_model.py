"""An OpenVINO IR: an .xml and the .bin beside it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from xml.etree.ElementTree import Element

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..digests import file_digest
from ..problems import JobProblem
from . import openvino_ir
from .openvino_ir import LOW_BITS, Constant, Numbers, kind_of, weights_path
from .openvino_said import COMMITMENT, FLOAT_LAYERS

_QUANTIZING = frozenset({"FakeQuantize", "FakeConvert", "DynamicQuantize"})
_NO_OPERATORS = frozenset({"Const", "Parameter", "Result"})
# Smaller tensors (a shape, a scalar, an epsilon) are alike in many networks: as `identity.weights_digest` has it.
_LEAST_WEIGHTS = 64
# Of a layer and of its parts: what says nothing of what is computed.
_COMMENTS = {"layer": {"name"}, "port": {"names"}, "net": {"name"}}
_PLACES = {"offset", "size"}


class OpenVINOModel:
    format = "openvino"
    opset = None

    def __init__(self, path: Path):
        self.path = path

    @cached_property
    def net(self) -> Element:
        return openvino_ir.read(self.path)

    @property
    def framework(self) -> str:
        version = self.net.find("rt_info/info[@name='OpenVINO Runtime']")
        return "OpenVINO" if version is None else f"OpenVINO {version.get('value', '')}".strip()

    @property
    def inputs(self) -> list[TensorInfo]:
        return openvino_ir.inputs(self.net)

    @property
    def outputs(self) -> list[TensorInfo]:
        return openvino_ir.outputs(self.net)

    @property
    def parameters(self) -> int:
        """Without shapes and indices, which are wide integers."""
        return sum(c.elements for c in self._constants if c.kind not in ("i64", "u64", "i32", "u32"))

    @property
    def operators(self) -> Counter[str]:
        """`version:Type` outside of OpenVINO's own operator sets."""
        found = (layer for layer in openvino_ir.layers(self.net) if kind_of(layer) not in _NO_OPERATORS)
        return Counter(_operator(layer) for layer in found)

    @property
    def precision(self) -> str:
        """What it computes in where it is asked for float32 (as `runtimes.openvino` asks): half floats are only stored."""
        if any(kind_of(layer) in _QUANTIZING for layer in openvino_ir.layers(self.net)):
            return "int8"
        count: Counter[str] = Counter()
        for constant in self._constants:
            count[constant.kind] += constant.elements
        if any(count[kind] >= _LEAST_WEIGHTS for kind in LOW_BITS):
            return "int8"
        if self.net.find("/".join(("rt_info", *FLOAT_LAYERS))) is not None:
            return "bf16"
        return "fp16" if count["f16"] + count["bf16"] > count["f32"] else "fp32"

    @property
    def files(self) -> list[Path]:
        """The .bin is not there for a model without constants."""
        beside = weights_path(self.path)
        return [self.path.resolve(), *([beside.resolve()] if beside.exists() else [])]

    @property
    def weights(self) -> str:
        numbers = self._numbers
        found = {_digest(c, numbers.of(c)) for c in self._constants if numbers and c.elements >= _LEAST_WEIGHTS}
        return hashlib.sha256("".join(sorted(found)).encode()).hexdigest() if found else ""

    @property
    def graph(self) -> str:
        """Over operators, attributes, wiring, constants and interface. Left out: who wrote the file, names inside, and
        where constants lie."""
        digest = hashlib.sha256()
        for line in _lines(self.net):
            digest.update(line.encode())
        for constant in self._constants:
            if numbers := self._numbers:
                digest.update(_digest(constant, numbers.of(constant)).encode())
        for info in (*self.inputs, *self.outputs):
            digest.update(info.model_dump_json().encode())
        return digest.hexdigest()

    def check(self, roots: list[str]) -> list[str]:
        name = untrusted(self.path.name)
        self._check_place(roots)
        for constant in self._constants:
            if numbers := self._numbers:
                numbers.of(constant)
        committed = self.net.find("/".join(("rt_info", *COMMITMENT)))
        if committed is not None and file_digest(weights_path(self.path)).sha256 != committed.get("value"):
            raise JobProblem(
                "BAD_FILE", f"{untrusted(weights_path(self.path).name)} is not the file that {name} was written with"
            )
        if not self.inputs:
            raise JobProblem(
                "BAD_FILE", f"{name} has no inputs: it computes constants, and there is nothing to feed it"
            )
        return [] if self.outputs else [f"{name} has no outputs"]

    def _check_place(self, roots: list[str]) -> None:
        """A link may lead the .bin elsewhere: below the roots, or into the model's own folder."""
        allowed = [self.path.parent.resolve(), *(Path(root).resolve() for root in roots)]
        file = weights_path(self.path).resolve()
        if not any(file.is_relative_to(place) for place in allowed):
            raise JobProblem(
                "PATH_NOT_ALLOWED",
                f"the model's weights lie in {untrusted(str(file))}, outside the allowed roots: move them beside the"
                " model, or ask the operator to start the server with --allow-root",
            )

    @cached_property
    def _constants(self) -> list[Constant]:
        return list(openvino_ir.constants(self.net))

    @cached_property
    def _numbers(self) -> Numbers | None:
        """None for a model without constants, which has no .bin."""
        return Numbers(self.path) if any(constant.size for constant in self._constants) else None


def _operator(layer: Element) -> str:
    version = layer.get("version", "")
    return kind_of(layer) if version.startswith("opset") else f"{version}:{kind_of(layer)}"


def _digest(constant: Constant, content: memoryview) -> str:
    return hashlib.sha256(f"{constant.kind}{constant.shape}".encode() + content).hexdigest()


def _lines(net: Element) -> Iterator[str]:
    """The graph element by element, from the outermost inwards, without comments."""
    left = [net]
    while left:
        element = left.pop()
        if element.tag == "rt_info":
            continue
        dropped = _COMMENTS.get(element.tag, set()) | (_PLACES if "offset" in element.attrib else set())
        kept = sorted((key, value) for key, value in element.attrib.items() if key not in dropped)
        yield f"{element.tag}{kept}{(element.text or '').strip()}{len(element)}\n"
        left.extend(reversed(element))


def open_file(path: Path) -> OpenVINOModel:
    return OpenVINOModel(path)
