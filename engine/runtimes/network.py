"""A TensorFlow model in memory, whatever file it came from: one function on tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import saved_model
from .session import Port
from .tensorflow_quietly import tf


class Network(NamedTuple):
    """`function`: a ConcreteFunction that takes a tensor an input, in their order, and gives a dictionary by output.
    `variables`: those that it reads. `owner`: what must live as long as it does. `notes`: how the file was read, where that
    was not as it stands."""

    function: Any
    inputs: list[Port]
    outputs: list[Port]
    variables: list[Any]
    owner: Any
    notes: list[str]


def network(
    compute: Callable[..., dict[str, Any]],
    inputs: list[Port],
    outputs: list[Port],
    variables: Sequence[Any],
    owner: Any,
    notes: Sequence[str] = (),
) -> Network:
    """Traces `compute`, which takes and gives as `Network.function`, to one graph. NotLoadable where that does more than to
    compute."""
    signature = [tf.TensorSpec(port.shape, port.dtype, _name(port, place)) for place, port in enumerate(inputs)]
    function = tf.function(compute, input_signature=signature, autograph=False).get_concrete_function()
    saved_model.refuse_effects((node.op for node in saved_model.reached(function.graph.as_graph_def())), saver_too=True)
    return Network(function, inputs, outputs, list(variables), owner, list(notes))


def _name(port: Port, place: int) -> str:
    """The port's, where TensorFlow allows it for a node."""
    return port.name if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", port.name) else f"input_{place}"
