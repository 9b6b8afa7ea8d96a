"""A TensorFlow model in OpenVINO's operators, by way of its network in memory: whatever file that came from."""

from __future__ import annotations

from pathlib import Path

from ...contract.text import untrusted
from ..problems import JobProblem
from ..runtimes.openvino_quietly import ov
from ..runtimes.session import NotLoadable
from ..runtimes.tensorflow import load
from ..runtimes.tensorflow_quietly import tf  # noqa: F401

# After TensorFlow was made quiet.
# isort: split
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def convert(path: Path, scratch: Path) -> ov.Model:
    """The model, with the names of the source's signature; by way of a file in the folder `scratch`. JobProblem BAD_FILE."""
    try:
        network = load(path)
    except NotLoadable as error:
        raise JobProblem("BAD_FILE", f"{untrusted(path.name)} does not load in tensorflow: {error}") from error
    frozen = convert_variables_to_constants_v2(network.function)
    # As a file, whose calls of functions OpenVINO follows; in memory it does not follow those of TensorFlow 1.
    graph = scratch / "frozen.pb"
    graph.write_bytes(frozen.graph.as_graph_def().SerializeToString(deterministic=True))
    model = ov.convert_model(graph)
    # A function's results are flattened in the order of their names.
    inputs = zip(frozen.inputs, [port.name for port in network.inputs], strict=True)
    outputs = zip(frozen.outputs, sorted(port.name for port in network.outputs), strict=True)
    names = {tensor.name: name for tensor, name in (*inputs, *outputs)}
    for port in (*model.inputs, *model.outputs):
        if known := {names[tensor] for tensor in port.get_names() if tensor in names}:
            port.get_tensor().set_names(known)
    return model
