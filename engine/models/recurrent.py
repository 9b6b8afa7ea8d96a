"""Shapes of recurrent layers, told to PyTorch's exporters at once.

To learn what shape an operator gives, they run it on stand-ins without numbers. Recurrent layers they run step by step, some
ten operators for each step of each layer: minutes for a network of 60,000 weights on a signal of a thousand steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch._C import DispatchKey
from torch._decomp import meta_table
from torch._subclasses.fake_impls import op_implementations_dict, register_op_impl
from torch._subclasses.fake_tensor import FakeTensor

_LAYERS = (
    torch.ops.aten.gru.input,
    torch.ops.aten.lstm.input,
    torch.ops.aten.rnn_tanh.input,
    torch.ops.aten.rnn_relu.input,
)
_STEP_BY_STEP = (DispatchKey.Autograd, DispatchKey.CompositeImplicitAutograd)

Outputs = tuple[torch.Tensor, ...]


def teach_shapes() -> None:
    """For this process. What the layers compute is left alone, and so is a PyTorch that knows their shapes by itself."""
    for layer in _LAYERS:
        if layer in meta_table or layer in op_implementations_dict:
            continue
        meta_table[layer] = register_op_impl(layer)(_of_stand_ins)
        for key in _STEP_BY_STEP:
            if key in layer.py_kernels:
                layer.py_kernels[key] = _unless_stand_ins(layer, layer.py_kernels[key])
        layer._dispatch_cache.clear()


def _unless_stand_ins(layer: Any, kernel: Callable[..., Outputs]) -> Callable[..., Outputs]:
    def call(*given: Any, **named: Any) -> Outputs:
        first = given[0] if given else named["input"]
        return shapes(layer, given, named) if isinstance(first, FakeTensor) else kernel(*given, **named)

    return call


def _of_stand_ins(mode: Any, layer: Any, *given: Any, **named: Any) -> Outputs:
    with mode:
        return shapes(layer, given, named)


def shapes(layer: Any, given: tuple[Any, ...], named: dict[str, Any]) -> Outputs:
    """Tensors without values, of the shapes and strides of the output and of the last states."""
    arguments = dict(zip((a.name for a in layer._schema.arguments), given, strict=False)) | named
    states = arguments["hx"] if isinstance(arguments["hx"], list | tuple) else [arguments["hx"]]
    return _output(arguments, states[0]), *(state.new_empty(state.shape) for state in states)


def _output(arguments: dict[str, Any], state: torch.Tensor) -> torch.Tensor:
    """In memory step by step, as the layers leave it: what follows may depend on that (view)."""
    of, width = arguments["input"], state.shape[-1] * (2 if arguments["bidirectional"] else 1)
    first, second = of.shape[:2]
    if not arguments["batch_first"]:
        return of.new_empty(first, second, width)
    return of.new_empty(second, first, width).transpose(0, 1)
