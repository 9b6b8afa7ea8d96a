"""Shapes of recurrent layers, told to PyTorch's exporters at once.

To learn what shape an operator gives, they run it on stand-ins without numbers; recurrent layers they run step by step, a
thousand small operators for each layer of a signal of a thousand steps: minutes for a network of 60,000 weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._decomp import meta_table
from torch._subclasses.fake_impls import op_implementations_dict, register_op_impl

_WITH_ONE_STATE = (torch.ops.aten.gru.input, torch.ops.aten.rnn_tanh.input, torch.ops.aten.rnn_relu.input)
_LSTM = torch.ops.aten.lstm.input


def teach_shapes() -> None:
    """For this process; nothing where PyTorch knows better by itself."""
    for operators, shapes in ((_WITH_ONE_STATE, _one_state), ((_LSTM,), _lstm)):
        for operator in operators:
            if operator not in meta_table and operator not in op_implementations_dict:
                meta_table[operator] = shapes
                register_op_impl(operator)(shapes)


def _one_state(mode: Any, operator: Any, *given: Any, **named: Any) -> tuple[torch.Tensor, torch.Tensor]:
    layer = _arguments(operator, given, named)
    with mode:
        state = layer["hx"]
        return _output(layer, state), state.new_empty(state.shape)


def _lstm(mode: Any, operator: Any, *given: Any, **named: Any) -> tuple[torch.Tensor, ...]:
    layer = _arguments(operator, given, named)
    with mode:
        states: Sequence[torch.Tensor] = layer["hx"]
        return _output(layer, states[0]), *(state.new_empty(state.shape) for state in states)


def _arguments(operator: Any, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    names = [argument.name for argument in operator._schema.arguments]
    return dict(zip(names, given, strict=False)) | named


def _output(layer: dict[str, Any], state: torch.Tensor) -> torch.Tensor:
    """In memory step by step, as the layers themselves leave it: what follows may depend on that (view)."""
    of = layer["input"]
    width = state.shape[-1] * (2 if layer["bidirectional"] else 1)
    if not layer["batch_first"]:
        return of.new_empty(*of.shape[:-1], width)
    batch, steps = of.shape[:2]
    return of.new_empty(steps, batch, width).transpose(0, 1)
