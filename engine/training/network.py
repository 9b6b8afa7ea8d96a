"""A PyTorch model that can be trained: an exported program whose operators on weights are modules again.

torch.export leaves a graph of operators with their weights beside it. What prunes and fuses layers wants modules that own
their weights, so convolutions, linear layers and batch norms become those again, under their own names. Whatever else
there is stays as it is, and its weights are trained all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from ...contract.measures import TensorInfo
from ...contract.text import untrusted
from ..models.formats import EXPORTED_PROGRAM, sniff
from ..models.model_file import open_file
from ..models.recurrent import teach_shapes
from ..problems import JobProblem

aten: Any = torch.ops.aten

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_BUFFERS = frozenset({"num_batches_tracked"})
# What an exporter notes of the source beside a graph: paths, lines of code, names of classes.
_AUTHORS = ("stack_trace", "nn_module_stack", "source_fn_stack", "custom", "from_node")

Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Network:
    """`module` takes the tensors of `inputs` in their order and gives a structure of tensors, `outputs` by name."""

    module: fx.GraphModule
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]

    def saved(self, path: Path, example: Tensors) -> None:
        """Writes the module as an exported program, with the axes open that are open in `inputs`.

        `example`: two samples or more, which fit the module.
        """
        self.module.eval()
        teach_shapes()
        program = self.exported(example)
        for node in program.graph.nodes:
            for note in _AUTHORS:
                node.meta.pop(note, None)
        torch.export.save(program, path)

    def exported(self, example: Tensors) -> ExportedProgram:
        with torch.no_grad():
            return torch.export.export(self.module, tuple(example), dynamic_shapes=self.shapes())

    def anything(self) -> list[torch.Tensor]:
        """Inputs of these shapes, to trace with where there are no samples: open axes are of two."""
        return [
            torch.zeros([2 if size is None else size for size in i.shape], dtype=getattr(torch, i.dtype))
            for i in self.inputs
        ]

    def shapes(self) -> tuple[dict[int, Any], ...]:
        """The axes that are open, of each input."""
        return tuple({axis: Dim.DYNAMIC for axis, size in enumerate(i.shape) if size is None} for i in self.inputs)


def leaves(structure: object) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(structure) if isinstance(leaf, torch.Tensor)]


def open_network(path: Path, technique: str) -> Network:
    """The model of an exported program, in evaluation mode, its floating-point weights ready to be trained.

    Raises JobProblem UNAVAILABLE for what cannot be trained here, by name: TorchScript, a fixed batch, inputs that are no
    plain tensors, no weights.
    """
    if sniff(path) != EXPORTED_PROGRAM:
        raise JobProblem(
            "UNAVAILABLE",
            f"{technique} trains exported programs, and this model is TorchScript (or could only be traced as such), whose"
            " graph cannot be trained: save it with torch.export.save and open the .pt2",
        )
    source = open_file(path)
    fixed = [info.name for info in source.inputs if not info.shape or info.shape[0] is not None]
    if fixed:
        raise JobProblem(
            "UNAVAILABLE",
            f"{technique} trains on batches, and the batch axis of {untrusted(fixed[0])} is fixed: export the model with an"
            " open one (torch.export.export(..., dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))) and open that",
        )
    program = torch.export.load(str(path))
    _check_call(program, len(source.inputs), technique)
    module = _lifted(program)
    floats = [parameter for parameter in module.parameters() if parameter.dtype == torch.float32]
    if not floats:
        raise JobProblem("UNAVAILABLE", f"{technique} trains float32 weights, and this model has none")
    for parameter in floats:
        parameter.requires_grad_(True)
    return Network(module.eval(), source.inputs, source.outputs)


def _check_call(program: ExportedProgram, inputs: int, technique: str) -> None:
    structure = program.call_spec.in_spec
    if structure == pytree.tree_structure(((0,) * inputs, {})):
        return
    raise JobProblem(
        "UNAVAILABLE",
        f"{technique} trains models whose forward() takes plain tensors one by one, and this one takes them by keyword, in"
        " lists or in dicts: wrap it in a module with one positional parameter an input, and export that",
    )


def _lifted(program: ExportedProgram) -> fx.GraphModule:
    module: Any = program.module(check_guards=False)
    graph = module.graph
    uses = Counter(str(node.target) for node in graph.nodes if node.op == "get_attr" for _ in node.users)
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        made = _module_of(node, module, uses)
        if made is not None:
            name, layer, given = made
            module.set_submodule(name, layer)
            with graph.inserting_before(node):
                call = graph.call_module(name, (given,))
            call.meta = dict(node.meta)
            _replace(node, call)
        elif _flattens(node):
            with graph.inserting_before(node):
                flat = graph.call_function(aten.flatten.using_ints, (node.args[0], 1, -1))
            flat.meta = dict(node.meta)
            _replace(node, flat)
    graph.eliminate_dead_code()
    return fx.GraphModule(module, graph)


def _replace(node: fx.Node, call: fx.Node) -> None:
    if isinstance(node.meta.get("val"), tuple | list):  # a norm of the core operators: its first result alone is used
        for user in list(node.users):
            user.replace_all_uses_with(call)
    else:
        node.replace_all_uses_with(call)


def _module_of(node: fx.Node, module: nn.Module, uses: Counter[str]) -> tuple[str, nn.Module, fx.Node] | None:
    """The layer that this operator is, its name and what it is given; None where it is none whose weights are its own."""
    given = _arguments(node)
    if node.target in (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default, aten.conv2d.padding) or (
        node.target == aten.convolution.default and not given["transposed"]
    ):
        layer = _convolution
    elif node.target == aten.linear.default:
        layer = _linear
    elif node.target in (aten.batch_norm.default, aten._native_batch_norm_legit_no_training.default):
        layer = _norm
    else:
        return None
    names = {
        role: str(given[key].target)
        for role, key in (("weight", "weight"), ("bias", "bias"), ("running_mean", "running_mean"), ("running_var", "running_var"))
        if isinstance(given.get(key), fx.Node)
    }  # fmt: skip
    if any(isinstance(given.get(role), fx.Node) and given[role].op != "get_attr" for role in names):
        return None
    prefixes = {name.removesuffix(f".{role}") for role, name in names.items()}
    if len(prefixes) != 1 or any(name == prefix for name in names.values() for prefix in prefixes):
        return None
    if any(uses[name] != 1 for name in names.values()) or _first_result_alone(node) is False:
        return None
    name = prefixes.pop()
    holder = module.get_submodule(name)
    own = {key for key, _ in [*holder.named_parameters(), *holder.named_buffers()]}
    if own - set(names) - _BUFFERS:
        return None
    tensors = {role: getattr(holder, role) for role in names}
    return name, layer(given, tensors), given["input"]


def _first_result_alone(node: fx.Node) -> bool:
    if not isinstance(node.meta.get("val"), tuple | list):
        return True
    return all(user.op == "call_function" and user.args[1:] == (0,) for user in node.users)


def _arguments(node: fx.Node) -> dict[str, Any]:
    """By the names of the operator's schema, with its defaults."""
    schema: Any = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    given = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    given |= dict(zip((a.name for a in schema.arguments), node.args, strict=False))
    return given | dict(node.kwargs)


def _convolution(given: dict[str, Any], tensors: dict[str, torch.Tensor]) -> nn.Module:
    weight, groups = tensors["weight"], given["groups"]
    dimensions = weight.ndim - 2

    def each(value: Any) -> Any:
        return value if isinstance(value, str) else tuple(value) * (dimensions if len(value) == 1 else 1)

    layer = _CONVOLUTIONS[dimensions](
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=each(given["stride"]),
        padding=each(given["padding"]),
        dilation=each(given["dilation"]),
        groups=groups,
        bias="bias" in tensors,
    )
    return _with(layer, tensors)


def _linear(_given: dict[str, Any], tensors: dict[str, torch.Tensor]) -> nn.Module:
    weight = tensors["weight"]
    return _with(nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in tensors), tensors)


def _norm(given: dict[str, Any], tensors: dict[str, torch.Tensor]) -> nn.Module:
    axes = given["input"].meta["val"].ndim
    layer = _NORMS[axes](
        len(tensors["running_mean"]), eps=given["eps"], momentum=given["momentum"], affine="weight" in tensors
    )
    return _with(layer, tensors)


def _with(layer: nn.Module, tensors: dict[str, torch.Tensor]) -> nn.Module:
    for role, tensor in tensors.items():
        is_weight = role in ("weight", "bias")
        setattr(layer, role, nn.Parameter(tensor.detach()) if is_weight else tensor.detach().clone())
    return layer


def _flattens(node: fx.Node) -> bool:
    """Whether a reshape makes one vector of each sample, whatever numbers it was traced with."""
    if node.target not in (aten.view.default, aten.reshape.default, aten._unsafe_view.default):
        return False
    source: Any = node.args[0]
    before, after = source.meta.get("val"), node.meta.get("val")
    if before is None or after is None or after.ndim != 2 or before.ndim < 3:
        return False
    return str(before.shape[0]) == str(after.shape[0]) and not isinstance(before.shape[0], int)
