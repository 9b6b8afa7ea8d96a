"""The inputs and outputs of a converted model: under the names that its source has for them, and in real numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from openvino import opset13 as ops

from ...contract.measures import TensorInfo
from ..runtimes.openvino_quietly import ov

# OpenVINO's nodes and ports, as its Python half has them: without types.
Node = Any
Port = Any


def as_in(inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo], model: ov.Model) -> ov.Model:
    """The model with the names of the source's `inputs` and `outputs`, as far as it is plain which is which.

    Where the source holds real numbers as integers, the model takes and gives the real numbers: an IR has no place for
    their scale, so the conversion becomes a part of the graph.
    """
    parameters, results = list(model.get_parameters()), list(model.get_results())
    for place, info in _places(inputs, model.inputs):
        model.inputs[place].get_tensor().set_names({info.name})
        if info.quantization is not None:
            parameters[place] = _taking_real(parameters[place], info)
    for place, info in _places(outputs, model.outputs):
        model.outputs[place].get_tensor().set_names({info.name})
        if info.quantization is not None:
            results[place] = _giving_real(results[place], info)
    if all(info.quantization is None for info in (*inputs, *outputs)):
        return model
    name = model.get_friendly_name()
    return ov.Model(results, model.get_sinks(), parameters, name)  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]


def _places(infos: Sequence[TensorInfo], ports: Sequence[Port]) -> list[tuple[int, TensorInfo]]:
    """Each of the source's tensors with the place of its port; none where it is not plain."""
    if len(infos) == len(ports) == 1:
        return [(0, infos[0])]
    known = {name: place for place, port in enumerate(ports) for name in port.get_names()}
    found = [(known[info.name], info) for info in infos if info.name in known]
    return found if len({place for place, _ in found}) == len(ports) == len(infos) else []


def _taking_real(parameter: Node, info: TensorInfo) -> Node:
    """In place of a parameter of integers, one of float32 that is rounded to them as the source's users round."""
    how = info.quantization
    assert how is not None
    real = ops.parameter(parameter.get_partial_shape(), ov.Type.f32, name=parameter.get_friendly_name())
    real.output(0).get_tensor().set_names({info.name})
    parameter.output(0).get_tensor().set_names(set())
    limits = np.iinfo(how.dtype)
    steps = ops.round(ops.divide(real, _number(how.scale)), "half_to_even")
    clipped = ops.clamp(ops.add(steps, _number(how.zero_point)), float(limits.min), float(limits.max))
    held = ops.convert(clipped, parameter.get_element_type().get_type_name())
    for user in parameter.output(0).get_target_inputs():
        user.replace_source_output(held.output(0))
    return real


def _giving_real(result: Node, info: TensorInfo) -> Node:
    """In place of a result of integers, one of the float32 that they stand for."""
    how = info.quantization
    assert how is not None
    held = result.input_value(0)
    held.get_tensor().set_names(set())
    real = ops.multiply(ops.subtract(ops.convert(held, "f32"), _number(how.zero_point)), _number(how.scale))
    real.output(0).get_tensor().set_names({info.name})
    return ops.result(real)


def _number(value: float) -> Node:
    return ops.constant(np.float32(value))
