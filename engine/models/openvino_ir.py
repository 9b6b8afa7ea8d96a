"""The two files of an OpenVINO IR, read without OpenVINO: the graph in XML, the constants' numbers in a .bin beside it.

The file is a stranger's: whatever declares a document type, by which entities could be defined, is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

import numpy as np

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..problems import JobProblem
from .formats import sniff

_INTEGERS = {f"{short}{bits}": bits for short in "iu" for bits in (8, 16, 32, 64)}
_FEW_BITS = {"u1": 1, "u2": 2, "u3": 3, "i4": 4, "u4": 4, "u6": 6, "nf4": 4, "f4e2m1": 4}
_BITS = {"boolean": 8, "f8e4m3": 8, "f8e5m2": 8, "f8e8m0": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64}
# Of an element in the .bin; strings have lengths of their own.
BITS = _INTEGERS | _FEW_BITS | _BITS
# Integers of eight bits or fewer, and the floats that stand in for them.
LOW_BITS = frozenset({"i8", "u8", "f8e4m3", "f8e5m2", *_FEW_BITS})

_DTYPES = {"fp16": "float16", "fp32": "float32", "fp64": "float64", "bool": "bool", "boolean": "bool"} | {
    f"{short}{bits}": f"{long}{bits}" for short, long in (("i", "int"), ("u", "uint")) for bits in (8, 16, 32, 64)
}


class Constant(NamedTuple):
    """`kind` is OpenVINO's name of the element type; `offset` and `size` are bytes in the .bin."""

    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    size: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


class _NoDoctype(TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise ParseError("it declares a document type, which no IR does")


def read(path: Path) -> Element:
    """The `<net>` of the .xml. JobProblem BAD_FILE where it is empty, cut, foreign or no graph."""
    name = untrusted(path.name)
    if not path.is_file():
        raise JobProblem("BAD_FILE", f"the model file {name} does not exist or is not a regular file")
    content = path.read_bytes()
    if not content:
        raise JobProblem("BAD_FILE", f"the model file {name} is empty (0 bytes)")
    if (found := sniff(path)).format != "openvino":
        raise JobProblem("BAD_FILE", f"{name} is not an OpenVINO IR: it is a {found.what}")
    parser = XMLParser(target=_NoDoctype())
    try:
        parser.feed(content)
        root = parser.close()
    except (ParseError, ValueError, LookupError) as error:  # the last two: encodings that there are not
        reason = untrusted(str(error), 200)
        raise JobProblem("BAD_FILE", f"{name} is not a whole OpenVINO IR ({len(content):,} bytes): {reason}") from error
    if root.tag != "net" or root.find("layers") is None or root.find("edges") is None:
        raise JobProblem("BAD_FILE", f"{name} holds no graph of an OpenVINO IR: layers and edges of a net")
    return root


def layers(net: Element) -> Iterator[Element]:
    """Every operator, those in the bodies of loops and branches too."""
    return net.iter("layer")


def kind_of(layer: Element) -> str:
    return layer.get("type", "")


def inputs(net: Element) -> list[TensorInfo]:
    return [_info(layer, layer.find("output/port")) for layer in _outermost(net, "Parameter")]


def outputs(net: Element) -> list[TensorInfo]:
    """Named as the tensor that is given out: by the port that it comes from."""
    sources = {(edge.get("to-layer"), edge.get("to-port")): edge for edge in net.iterfind("edges/edge")}
    ports = {
        (layer.get("id"), port.get("id")): port
        for layer in net.iterfind("layers/layer")
        for port in layer.iterfind("output/port")
    }
    found = []
    for layer in _outermost(net, "Result"):
        port = layer.find("input/port")
        edge = None if port is None else sources.get((layer.get("id"), port.get("id")))
        source = None if edge is None else ports.get((edge.get("from-layer"), edge.get("from-port")))
        found.append(_info(layer, source))
    return found


def _outermost(net: Element, kind: str) -> list[Element]:
    """Layers of this kind outside of any body, in the model's own order of inputs and outputs."""
    return [layer for layer in net.iterfind("layers/layer") if kind_of(layer) == kind]


def _info(layer: Element, port: Element | None) -> TensorInfo:
    if port is None:
        raise JobProblem("BAD_FILE", f"the layer {_shown(layer)} of the IR is connected to nothing")
    kind = port.get("precision", "").lower()
    axes = [_number(axis.text, layer) for axis in port.iterfind("dim")]
    shape: list[int | None] = [None if axis < 0 else axis for axis in axes]
    # Names are separated by commas; a comma within one has a backslash before it.
    names = sorted(name.replace("\\,", ",") for name in re.split(r"(?<!\\),", port.get("names", "")) if name)
    return TensorInfo(name=names[0] if names else layer.get("name", ""), dtype=_DTYPES.get(kind, kind), shape=shape)


def constants(net: Element) -> Iterator[Constant]:
    for layer in layers(net):
        if kind_of(layer) != "Const":
            continue
        data = layer.find("data")
        if data is None:
            raise JobProblem("BAD_FILE", f"the constant {_shown(layer)} of the IR says nothing of its data")
        shape = tuple(_number(axis, layer) for axis in data.get("shape", "").split(",") if axis.strip())
        offset, size = (_number(data.get(key), layer) for key in ("offset", "size"))
        if min(*shape, offset, size, 0) < 0:
            raise JobProblem("BAD_FILE", f"the constant {_shown(layer)} of the IR has a negative size or place")
        yield Constant(layer.get("name", ""), data.get("element_type", ""), shape, offset, size)


def _number(text: str | None, layer: Element) -> int:
    try:
        return int(text or "")
    except ValueError as error:
        raise JobProblem("BAD_FILE", f"the layer {_shown(layer)} of the IR has a size that is no number") from error


def _shown(layer: Element) -> str:
    return untrusted(layer.get("name", "")) or "(unnamed)"


def weights_path(path: Path) -> Path:
    """The .bin of an .xml: beside it, under the same name. It may be missing, or a link."""
    return path.with_suffix(".bin")


class Numbers:
    """The .bin of a model, of which parts are read. JobProblem BAD_FILE where it is missing, or shorter than a constant
    says."""

    def __init__(self, path: Path):
        self._file = weights_path(path)
        shown = untrusted(self._file.name)
        if not self._file.is_file():
            raise JobProblem(
                "BAD_FILE",
                f"the model keeps its weights in {shown} beside it, and that file is missing or not a regular file: put"
                " it into the model's folder",
                [shown],
            )
        size = self._file.stat().st_size
        self._bytes = np.memmap(self._file, np.uint8, "r") if size else np.empty(0, np.uint8)

    def of(self, constant: Constant) -> memoryview:
        """The constant's bytes, as many as its shape and type need."""
        bits = BITS.get(constant.kind)
        wanted = constant.size if bits is None else -(-constant.elements * bits // 8)
        held = max(0, min(constant.size, self._bytes.size - constant.offset))
        if held != wanted:
            raise JobProblem(
                "BAD_FILE",
                f"the constant {untrusted(constant.name) or '(unnamed)'} of shape {list(constant.shape)} needs"
                f" {wanted:,} bytes and {untrusted(self._file.name)} holds {held:,}: the file is cut or another model's",
            )
        return self._bytes[constant.offset : constant.offset + held].data
