"""What kind of model file this is, by its name and a few of its bytes. The server asks, so: stdlib, nothing is opened
by a framework, nothing is unpickled, and no more than `EDGE` bytes are read from either end."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .plan_header import MAGIC, plan_version

Format = Literal["onnx", "pytorch", "tensorflow", "tflite", "openvino", "tensorrt", "unknown"]

EDGE = 1 << 20
# Before the graph of an OpenVINO model stands its XML declaration and nothing else.
_XML_HEAD = 1 << 10

# Suffixes whose files are pickles unless their bytes say otherwise (protocol 0 has no magic number).
PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})
SUFFIXES: dict[str, tuple[Format, str]] = {
    ".onnx": ("onnx", "ONNX model"),
    ".pb": ("tensorflow", "TensorFlow graph"),
    ".h5": ("tensorflow", "Keras HDF5 model"),
    ".keras": ("tensorflow", "Keras archive"),
    ".tflite": ("tflite", "TensorFlow Lite model"),
    ".engine": ("tensorrt", "TensorRT engine"),
    ".plan": ("tensorrt", "TensorRT engine"),
    ".trt": ("tensorrt", "TensorRT engine"),
}


@dataclass(frozen=True)
class Sniffed:
    """`pickle`: opening the file would run whatever code its author put there. `what` is for a person to read."""

    format: Format
    pickle: bool
    what: str


EXPORTED_PROGRAM = Sniffed("pytorch", False, "PyTorch exported program")
TORCHSCRIPT = Sniffed("pytorch", False, "TorchScript archive")
SAFETENSORS = Sniffed("pytorch", False, "file of safetensors weights")


def is_only_a_source(found: Sniffed) -> bool:
    """Whether the file is no model yet that says what it is fed: weights alone, a pickle, TorchScript. Workers make one of
    it (`materialize`)."""
    return found.format == "pytorch" and found != EXPORTED_PROGRAM


def sniff(path: Path) -> Sniffed:
    """The format of a model file, or of a SavedModel folder. Raises OSError where it cannot be read."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        if (path / "saved_model.pb").is_file():
            return Sniffed("tensorflow", False, "TensorFlow SavedModel")
        return Sniffed("unknown", False, "folder without a saved_model.pb")
    if not stat.S_ISREG(status.st_mode):
        return Sniffed("unknown", False, "device or pipe")
    with path.open("rb") as file:
        head = file.read(EDGE)
        file.seek(max(0, status.st_size - EDGE))
        tail = file.read(EDGE)
    return _by_bytes(head, tail, path.suffix.lower()) or _by_suffix(path.suffix.lower(), head)


def _by_bytes(head: bytes, tail: bytes, suffix: str) -> Sniffed | None:
    """What the magic number says; None where the format has none (protobuf, pickle protocol 0)."""
    if head.startswith(b"PK\x03\x04"):
        return _archive(head + tail, suffix)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and len(head) > 2:
        return Sniffed("pytorch", True, "Python pickle")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Sniffed("tensorflow", False, "Keras HDF5 model")
    if head[4:8] == b"TFL3":
        return Sniffed("tflite", False, "TensorFlow Lite model")
    if head[4:8] == b"ORTM":
        return Sniffed("unknown", False, "ONNX Runtime's own format (.ort)")
    if head.startswith(MAGIC):
        built = plan_version(head)
        return Sniffed("tensorrt", False, f"TensorRT engine, built by TensorRT {built}" if built else "TensorRT engine")
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") and re.search(rb"<net\s", head[:_XML_HEAD]):
        return Sniffed("openvino", False, "OpenVINO model")
    if suffix == ".xml":
        return Sniffed("unknown", False, "file named .xml without the <net> of an OpenVINO model near its start")
    if head.startswith(b"version https://git-lfs"):
        return Sniffed("unknown", False, "Git LFS pointer: the model itself was not downloaded (run: git lfs pull)")
    if SUFFIXES.get(suffix, ("", ""))[0] == "tensorrt":
        return Sniffed("unknown", False, f"file named {suffix} that does not begin as a TensorRT engine does (ftrt)")
    return None


def _archive(edges: bytes, suffix: str) -> Sniffed:
    """A zip file, by the names of its members: they stand in its directory at the end, and in front of each member."""
    if b"serialized_exported_program.json" in edges:
        return Sniffed("pytorch", True, "exported program of PyTorch 2.7 or older, which is made of pickles")
    if b"/data/aotinductor/" in edges:
        return Sniffed("pytorch", True, "PyTorch package of compiled code")
    if b"/archive_format" in edges or suffix == ".pt2":
        return EXPORTED_PROGRAM
    if b"/constants.pkl" in edges and b"/code/" in edges:
        return TORCHSCRIPT  # its pickles are read by TorchScript's own reader, which makes nothing but its types
    if b".pkl" in edges:
        return Sniffed("pytorch", True, "PyTorch archive with a pickle")
    if b"model.weights.h5" in edges:
        return Sniffed("tensorflow", False, "Keras archive")
    return (
        Sniffed("pytorch", True, "PyTorch archive")
        if suffix in PICKLE_SUFFIXES
        else Sniffed("unknown", False, "zip archive")
    )


def _by_suffix(suffix: str, head: bytes) -> Sniffed:
    if suffix in PICKLE_SUFFIXES:
        return Sniffed("pytorch", True, "file with a pickle's name")
    if suffix == ".safetensors":
        return SAFETENSORS
    if suffix in SUFFIXES:
        format, what = SUFFIXES[suffix]
        return Sniffed(format, False, what)
    return (
        Sniffed("onnx", False, "ONNX model")
        if begins_like_onnx(head)
        else Sniffed("unknown", False, "file of a kind that edgeopt does not know")
    )


def begins_like_onnx(head: bytes) -> bool:
    """A ModelProto as every exporter writes it: field 1, the IR version, then another field of the message."""
    return len(head) > 3 and head[0] == 0x08 and 0 < head[1] < 0x20 and head[2] in b"\x12\x1a\x22\x28\x32\x3a\x42"
