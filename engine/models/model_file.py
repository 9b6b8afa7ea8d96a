"""What every format's module says of a model file, without running the model."""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Protocol

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..problems import JobProblem
from ..runtimes.catalog import RUNTIMES, missing
from . import formats
from .formats import sniff

# The module of each format, and what it needs that may not be installed: the format whose runtime it is read with.
_MODULES = {
    "onnx": "onnx_model",
    "pytorch": "pytorch_model",
    "tensorflow": "tensorflow_model",
    "tflite": "tflite_model",
    "openvino": "openvino_model",
    "tensorrt": "tensorrt_model",
}

# Of a file by its format: the suffix that its runtime and its users expect.
SUFFIXES = {"onnx": ".onnx", "pytorch": ".pt2", "tflite": ".tflite", "openvino": ".xml", "tensorrt": ".engine"}


class ModelFile(Protocol):
    """A model as its file describes it. Names are a stranger's text: clean them before showing them. Properties read the
    file when they are asked for, and raise JobProblem BAD_FILE where it is not whole."""

    path: Path
    format: str

    @property
    def framework(self) -> str:
        """What wrote the file, by its own words; "" where it does not say."""
        ...

    @property
    def inputs(self) -> list[TensorInfo]:
        """As a runner of `runtimes.runner` has them. Empty where the file does not say their shapes."""
        ...

    @property
    def outputs(self) -> list[TensorInfo]: ...

    @property
    def parameters(self) -> int | None:
        """The number of weights; None where the file cannot be asked."""
        ...

    @property
    def operators(self) -> Counter[str]:
        """How often each operator occurs, in the format's own names."""
        ...

    @property
    def opset(self) -> int | None:
        """The version of ONNX's standard operators; None for other formats."""
        ...

    @property
    def precision(self) -> str:
        """int8 where anything is quantized, fp16 where it is half floats for the most part, else fp32."""
        ...

    @property
    def files(self) -> list[Path]:
        """All files that the model is made of, resolved through links; the one that is named first, unless it is a
        folder."""
        ...

    @property
    def weights(self) -> str:
        """A digest over the numbers of all constants of some size, whatever they are called; "" where there are none or
        they cannot be read."""
        ...

    @property
    def graph(self) -> str:
        """A digest over what the model computes; of the file where the format tells no more."""
        ...

    def check(self, roots: list[str]) -> list[str]:
        """Whether the file is whole and everything that it names may be read; what is odd about it, a sentence each.

        Raises JobProblem: BAD_FILE, PATH_NOT_ALLOWED (external data outside the roots).
        """
        ...


def open_file(path: Path) -> ModelFile:
    """Raises JobProblem: BAD_FILE where there is no such file, or it is no model; UNAVAILABLE where what reads its format
    is not installed; UNTRUSTED_CODE for a pickle."""
    if not path.exists():
        raise JobProblem("BAD_FILE", f"the model file {untrusted(path.name)} does not exist")
    found = sniff(path)
    if path.is_dir() and found.format == "unknown":
        raise JobProblem("BAD_FILE", f"{untrusted(path.name)} is a {found.what}: name the model's own file or folder")
    if found.pickle:
        raise JobProblem("UNTRUSTED_CODE", f"{untrusted(path.name)} is a {found.what}: opening it would run its code")
    named = formats.SUFFIXES.get(path.suffix.lower(), (found.format, ""))[0]
    if found.format not in ("unknown", named):
        raise JobProblem(
            "BAD_FILE",
            f"{untrusted(path.name)} is named like a model in {named}, and it is a {found.what}: give it the suffix of what it is",
        )
    format = found.format if found.format != "unknown" else "onnx"  # whose module says what is wrong with the bytes
    if format not in _MODULES:
        raise JobProblem("UNAVAILABLE", f"{untrusted(path.name)} is a {found.what}, which this version does not open")
    if format in RUNTIMES and (lacking := missing(format)):
        raise JobProblem("UNAVAILABLE", f"{untrusted(path.name)} is a {found.what}. {lacking[0].upper()}{lacking[1:]}")
    return import_module(f".{_MODULES[format]}", __package__).open_file(path)
