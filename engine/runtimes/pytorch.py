"""PyTorch on the CPU: exported programs (`.pt2`), and TorchScript that says what it is fed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export.exported_program import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from .session import NotLoadable, NotRunnable, Port, reject

# In a TorchScript archive: its inputs and outputs, which TorchScript itself does not record.
PORTS_FILE = "edgeopt_ports.json"

# PyTorch's errors share no base of their own, and a file may hold anything.
TORCH_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    OSError,
    EOFError,
)

Leaves = Sequence[torch.Tensor]


class PyTorchSession:
    """`answer` takes tensors in the inputs' order and gives a structure of tensors, of which the outputs are the leaves."""

    def __init__(
        self, inputs: Sequence[Port], outputs: Sequence[Port], casts: Sequence[torch.dtype | None], answer: Any
    ):
        self.runtime = f"pytorch {torch.__version__}"
        self.inputs = inputs
        self.outputs = outputs
        self._casts = casts
        self._answer: Callable[[Leaves], object] = answer

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[object]:
        try:
            return [np.array(value) for value in self._infer(self._arrays(feeds))]
        except TORCH_ERRORS as error:
            reject(NotRunnable, error)

    def call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        arrays = self._arrays(feeds)
        return lambda: self._infer(arrays)

    def _arrays(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        return [feeds[port.name] for port in self.inputs]

    def _infer(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        with torch.inference_mode():
            tensors = [torch.from_numpy(array) for array in arrays]
            for place, dtype in enumerate(self._casts):
                if dtype is not None:
                    tensors[place] = tensors[place].to(dtype)
            return [as_array(leaf) for leaf in tensor_leaves(self._answer(tensors))]


def open_session(path: Path, threads: int, cores: Sequence[int] = ()) -> PyTorchSession:
    """Loads an exported program or a TorchScript archive. NotLoadable.

    Threads are the process', not the model's. Whether the file may be trusted must have been asked before
    (`models.exported_program`): loading an exported program can run what it holds.
    """
    torch.set_num_threads(threads)
    if cores:
        _place_threads(cores)
    try:
        program, script = _load(path)
        return _of_program(program) if script is None else _of_script(script)
    except TORCH_ERRORS as error:
        reject(NotLoadable, error)


def _load(path: Path) -> tuple[Any, tuple[torch.jit.ScriptModule, str] | None]:
    """The exported program, or the TorchScript module with what the archive says of its ports."""
    reader = torch._C.PyTorchFileReader(str(path))
    if "archive_format" in reader.get_all_records():
        return torch.export.load(str(path)), None
    extra = {PORTS_FILE: ""}
    return None, (torch.jit.load(str(path), map_location="cpu", _extra_files=extra), extra[PORTS_FILE])


def _of_program(program: ExportedProgram) -> PyTorchSession:
    """The module without the guards that Python code checks at each call (a third of a small model's time): inputs were
    checked against the ports, and the program itself checks shapes."""
    inputs, casts, places = [], [], []
    specs = [spec for spec in program.graph_signature.input_specs if spec.kind == InputKind.USER_INPUT]
    values = _values(program)
    constants: list[object] = []
    for place, spec in enumerate(specs):
        if isinstance(spec.arg, ConstantArgument):
            constants.append(spec.arg.value)
            continue
        if not isinstance(spec.arg, TensorArgument):
            raise NotLoadable(f"its input {spec.arg.name} is no tensor")
        constants.append(None)
        value = values[spec.arg.name]
        inputs.append(port(spec.arg.name, value))
        casts.append(_cast(value.dtype))
        places.append(place)
    outputs = [
        port(name, values[spec.arg.name])
        for name, spec in zip(output_names(program.call_spec.out_spec), _user_outputs(program), strict=True)
        if isinstance(spec.arg, TensorArgument)
    ]
    return PyTorchSession(inputs, outputs, casts, _caller(program, constants, places))


def _caller(program: ExportedProgram, constants: list[object], places: list[int]) -> Callable[[Leaves], object]:
    module, structure = program.module(check_guards=False), program.call_spec.in_spec
    assert structure is not None, "an exported program knows how it is called"
    plain = structure == pytree.tree_structure(((0,) * len(constants), {}))
    if plain and len(places) == len(constants):
        return lambda tensors: module(*tensors)

    def call(tensors: Leaves) -> object:
        leaves = list(constants)
        for place, tensor in zip(places, tensors, strict=True):
            leaves[place] = tensor
        arguments, keywords = pytree.tree_unflatten(leaves, structure)
        return module(*arguments, **keywords)

    return call


def _user_outputs(program: ExportedProgram) -> list[Any]:
    return [spec for spec in program.graph_signature.output_specs if spec.kind == OutputKind.USER_OUTPUT]


def _values(program: ExportedProgram) -> dict[str, torch.Tensor]:
    """The stand-ins of the graph's tensors, with their dtypes and symbolic shapes."""
    nodes = program.graph_module.graph.nodes
    return {node.name: value for node in nodes if isinstance(value := node.meta.get("val"), torch.Tensor)}


def output_names(structure: pytree.TreeSpec | None) -> list[str]:
    """Of each leaf of what a model returns: its key, where it stands in a dict (`boxes`, `aux.0`), else `output_0` and so
    on."""
    if structure is None:
        return ["output_0"]
    places = [
        path
        for path, _ in pytree.tree_flatten_with_path(
            pytree.tree_unflatten(list(range(structure.num_leaves)), structure)
        )[0]
    ]
    names: list[str] = []
    for number, path in enumerate(places):
        keyed = any(isinstance(key, pytree.MappingKey) for key in path)
        names.append(".".join(_step(key) for key in path) if keyed else f"output_{number}")
    return names


def _step(key: Any) -> str:
    return str(key.key if isinstance(key, pytree.MappingKey) else getattr(key, "idx", key))


def port(name: str, value: torch.Tensor) -> Port:
    """A tensor's dtype and shape; an axis that the export left open is None. bfloat16 is fed and read as float32."""
    shape = tuple(axis if isinstance(axis, int) else None for axis in value.shape)
    return Port(name, numpy_name(value.dtype), shape)


def numpy_name(dtype: torch.dtype) -> str:
    return "float32" if dtype == torch.bfloat16 else str(dtype).removeprefix("torch.")


def _cast(dtype: torch.dtype) -> torch.dtype | None:
    return torch.bfloat16 if dtype == torch.bfloat16 else None


def tensor_leaves(structure: object) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(structure) if isinstance(leaf, torch.Tensor)]


def as_array(tensor: torch.Tensor) -> np.ndarray:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _of_script(loaded: tuple[torch.jit.ScriptModule, str]) -> PyTorchSession:
    module, recorded = loaded
    if not recorded:
        raise NotLoadable(
            "TorchScript does not record what it is fed; edgeopt finds out when a session is opened on it"
        )
    ports = json.loads(recorded)
    inputs, outputs = (
        [Port(p["name"], p["dtype"], tuple(p["shape"])) for p in ports[side]] for side in ("inputs", "outputs")
    )
    module.eval()
    return PyTorchSession(inputs, outputs, [None] * len(inputs), lambda tensors: module(*tensors))


def _place_threads(cores: Sequence[int]) -> None:
    """Each thread of the pool to a core of its own. They are born with the caller's mask, which is the first core alone."""
    before = _threads()
    torch.ones(1 << 20).add_(1.0)
    for core, thread in zip(cores[1:], sorted(_threads() - before), strict=False):
        os.sched_setaffinity(thread, {core})


def _threads() -> set[int]:
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}
