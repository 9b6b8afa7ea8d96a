"""Files that PyTorch runs: exported programs, and TorchScript."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..problems import JobProblem
from ..runtimes.pytorch import PORTS_FILE, TORCH_ERRORS, numpy_name, output_names
from .exported_program import ExportedArchive, dtype_of
from .formats import EXPORTED_PROGRAM, TORCHSCRIPT, sniff
from .model_file import ModelFile

# As `identity.weights_digest` has it, so that the same weights are known again in ONNX.
_LEAST_WEIGHTS = 64
_QUANTIZED = ("quantized", "torchao", "_weight_int8", "_weight_int4")


class _OneFile(ABC):
    """What both kinds are alike in: one file, and its named tensors."""

    format = "pytorch"
    opset = None

    @property
    @abstractmethod
    def operators(self) -> Counter[str]: ...

    def __init__(self, path: Path, tensors: _Tensors):
        self.path = path
        self._tensors = tensors

    @property
    def parameters(self) -> int | None:
        return self._tensors.parameters

    @property
    def precision(self) -> str:
        return "int8" if _any_quantized(self.operators) else self._tensors.precision

    @property
    def files(self) -> list[Path]:
        return [self.path.resolve()]

    @property
    def weights(self) -> str:
        return self._tensors.digest


class ExportedProgramFile(_OneFile):
    def __init__(self, path: Path):
        self.archive = ExportedArchive(path)
        super().__init__(path, _Tensors(dict(self.archive.weights())))

    @property
    def framework(self) -> str:
        return f"PyTorch {self.archive.program.get('torch_version') or ''}, torch.export".replace(" ,", ",")

    @property
    def inputs(self) -> list[TensorInfo]:
        return [_info(name, meta) for name, meta in self.archive.user_tensors("input")]

    @property
    def outputs(self) -> list[TensorInfo]:
        names = output_names(pytree.treespec_loads(self.archive.out_spec))
        specs = [
            spec["user_output"]["arg"]
            for spec in self.archive.module["signature"]["output_specs"]
            if "user_output" in spec
        ]
        named = [name for name, arg in zip(names, specs, strict=True) if "as_tensor" in arg]
        return [_info(name, meta) for name, (_, meta) in zip(named, self.archive.user_tensors("output"), strict=True)]

    @property
    def operators(self) -> Counter[str]:
        return Counter(_operator(node["target"]) for node in self.archive.nodes())

    @property
    def graph(self) -> str:
        """Over the program and its weights; names of files and lines of its author are left out."""
        described = json.dumps(_without_metadata(self.archive.module), sort_keys=True)
        return hashlib.sha256((described + self._tensors.all_digest).encode()).hexdigest()

    def check(self, roots: list[str]) -> list[str]:
        if not self.inputs:
            raise JobProblem(
                "BAD_FILE", f"{untrusted(self.path.name)} has no tensors among its inputs: nothing to feed it"
            )
        return [*self._fixed_batch(), *self._training()]

    def _fixed_batch(self) -> list[str]:
        fixed = {info.shape[0] for info in self.inputs if info.shape and info.shape[0] is not None}
        if not fixed:
            return []
        return [
            f"the batch axis is fixed at {', '.join(map(str, sorted(fixed)))} in this export: other batch sizes cannot be"
            " measured (torch.export with dynamic_shapes and an example of two or more samples leaves it open)"
        ]

    def _training(self) -> list[str]:
        told = ({i["name"]: i["arg"] for i in node["inputs"]} for node in self.archive.nodes())
        if any((flags.get("train") or flags.get("training") or {}).get("as_bool") for flags in told):
            return [
                "the model was exported in training mode (dropout or batch norm are active): call eval() before exporting"
            ]
        return []


class TorchScriptFile(_OneFile):
    """Its inputs and outputs are known where edgeopt has written them into the archive (`materialize`)."""

    framework = "TorchScript"

    def __init__(self, path: Path):
        self.module, self._ports = _load_script(path)
        super().__init__(path, _Tensors(self.module.state_dict()))

    @property
    def inputs(self) -> list[TensorInfo]:
        return [TensorInfo.model_validate(port) for port in self._ports["inputs"]]

    @property
    def outputs(self) -> list[TensorInfo]:
        return [TensorInfo.model_validate(port) for port in self._ports["outputs"]]

    @property
    def operators(self) -> Counter[str]:
        kinds = (_operator(node.kind()) for node in _script_nodes(self.module.inlined_graph))
        return Counter(kind for kind in kinds if not kind.startswith("prim::"))

    @property
    def graph(self) -> str:
        return hashlib.sha256((str(self.module.inlined_graph) + self._tensors.all_digest).encode()).hexdigest()

    def check(self, roots: list[str]) -> list[str]:
        return []


class _Tensors:
    """Weights by name."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        self._tensors = tensors

    @property
    def parameters(self) -> int:
        return sum(t.numel() for t in self._tensors.values() if t.dtype != torch.int64)

    @property
    def precision(self) -> str:
        count: Counter[torch.dtype] = Counter()
        for tensor in self._tensors.values():
            count[tensor.dtype] += tensor.numel()
        half = count[torch.float16] + count[torch.bfloat16]
        return "fp16" if half > count[torch.float32] + count[torch.float64] else "fp32"

    @property
    def digest(self) -> str:
        found = [_digest(tensor) for tensor in self._tensors.values() if tensor.numel() >= _LEAST_WEIGHTS]
        return hashlib.sha256("".join(sorted(found)).encode()).hexdigest() if found else ""

    @property
    def all_digest(self) -> str:
        return "".join(f"{name}:{_digest(tensor)}" for name, tensor in sorted(self._tensors.items()))


def open_file(path: Path) -> ModelFile:
    """JobProblem: BAD_FILE; UNAVAILABLE for what is no model without a loader, or the session's data."""
    if path.stat().st_size == 0:
        raise JobProblem("BAD_FILE", f"the model file {untrusted(path.name)} is empty (0 bytes)")
    found = sniff(path)
    try:
        if found == EXPORTED_PROGRAM:
            return ExportedProgramFile(path)
        if found == TORCHSCRIPT:
            return TorchScriptFile(path)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        reason = untrusted(f"{type(error).__name__}: {error}", 200)
        raise JobProblem("BAD_FILE", f"{untrusted(path.name)} is not a whole PyTorch model: {reason}") from error
    raise JobProblem("UNAVAILABLE", f"{untrusted(path.name)} is a {found.what}, which is no model without its loader")


def _load_script(path: Path) -> tuple[torch.jit.ScriptModule, dict[str, Any]]:
    extra = {PORTS_FILE: ""}
    try:
        module = torch.jit.load(str(path), map_location="cpu", _extra_files=extra)
    except TORCH_ERRORS as error:
        reason = untrusted(str(error).splitlines()[0] if str(error) else type(error).__name__, 200)
        raise JobProblem("BAD_FILE", f"{untrusted(path.name)} is not a whole TorchScript archive: {reason}") from error
    return module, json.loads(extra[PORTS_FILE] or '{"inputs": [], "outputs": []}')


def _info(name: str, meta: dict[str, Any]) -> TensorInfo:
    shape = [axis.get("as_int") for axis in meta["sizes"]]
    return TensorInfo(name=name, dtype=numpy_name(dtype_of(meta)), shape=shape)


def _operator(target: str) -> str:
    """`torch.ops.aten.conv2d.default` and `aten::conv2d` as `aten::conv2d`."""
    parts = target.removeprefix("torch.ops.").split(".")
    return "::".join(parts[:2]) if target.startswith("torch.ops.") else target


def _any_quantized(operators: Iterable[str]) -> bool:
    return any(word in operator for operator in operators for word in _QUANTIZED)


def _script_nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _script_nodes(inner)


def _without_metadata(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_metadata(inner) for key, inner in value.items() if key != "metadata"}
    return [_without_metadata(inner) for inner in value] if isinstance(value, list) else value


def _digest(tensor: torch.Tensor) -> str:
    whole = tensor.detach().cpu().contiguous()
    kind = (
        f"{numpy_name(whole.dtype)}{tuple(whole.shape)}"
        if whole.dtype != torch.bfloat16
        else f"bfloat16{tuple(whole.shape)}"
    )
    return hashlib.sha256(kind.encode() + whole.view(-1).view(torch.uint8).numpy().tobytes()).hexdigest()
