"""Loading a SavedModel folder: by TensorFlow's own loader, or where that does not take it by its first one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import saved_model
from .network import Network, network
from .session import NotLoadable, Port, reject
from .tensorflow_quietly import tf


def load(folder: Path) -> Network:
    """NotLoadable."""
    name, signature = saved_model.signature(saved_model.read(folder))
    inputs, outputs = saved_model.ports(signature.inputs), saved_model.ports(signature.outputs)
    try:
        return _load(folder, name, inputs, outputs)
    except (NotLoadable, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 (a stranger's file makes TensorFlow raise anything)
        second = error
    try:
        return _load_as_constants(folder, signature, inputs, outputs)
    except (NotLoadable, MemoryError):
        raise
    except Exception:  # noqa: BLE001 (likewise; what the second loader said is what people know)
        reject(NotLoadable, second)


def _load(folder: Path, name: str, inputs: list[Port], outputs: list[Port]) -> Network:
    loaded = tf.saved_model.load(str(folder), tags=[saved_model.SERVE])
    served = loaded.signatures[name]

    def compute(*tensors: Any) -> dict[str, Any]:
        return served(**{port.name: tensor for port, tensor in zip(inputs, tensors, strict=True)})

    return network(compute, inputs, outputs, served.variables, loaded)


def _load_as_constants(
    folder: Path, signature: saved_model.SignatureDef, inputs: list[Port], outputs: list[Port]
) -> Network:
    """What is not part of the inference, as the state of an optimizer that today's TensorFlow does not know, is left out."""
    fed = [signature.inputs[port.name].name for port in inputs]
    fetched = [signature.outputs[port.name].name for port in outputs]
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        tf.compat.v1.saved_model.load(session, [saved_model.SERVE], str(folder))
        nodes = [tensor.partition(":")[0] for tensor in fetched]
        frozen = tf.compat.v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), nodes)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(frozen, name=""), [])
    pruned = wrapped.prune(*([wrapped.graph.as_graph_element(name) for name in names] for names in (fed, fetched)))

    def compute(*tensors: Any) -> dict[str, Any]:
        return {port.name: value for port, value in zip(outputs, pruned(*tensors), strict=True)}

    note = (
        "TensorFlow's own loader does not take this SavedModel: it was read by the loader of TensorFlow 1, as constants"
    )
    return network(compute, inputs, outputs, [], pruned, [note])
