"""Loading a .keras or .h5 file: safe mode, no code of the author's, not compiled for training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import keras_archive
from .keras_archive import Architecture
from .network import Network, network
from .session import NotLoadable, Port

import keras  # isort: skip  (after `network`: its first import chooses Keras' backend)


class OldDepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """As Keras 2 wrote it: with `groups`, an argument of its base class that it never used, always at its default."""

    def __init__(self, *args: Any, groups: int = 1, **settings: Any):
        if groups != 1:
            raise ValueError(f"a DepthwiseConv2D with groups={groups}")
        super().__init__(*args, **settings)


def load(path: Path) -> Network:
    """NotLoadable, with what to do about a file that Keras 3 does not take."""
    architecture = keras_archive.read(path)
    old = _depthwise_with_groups(architecture)
    known = {"DepthwiseConv2D": OldDepthwiseConv2D} if old else {}
    try:
        loaded = _network(keras.models.load_model(path, custom_objects=known, compile=False, safe_mode=True))
    except (NotLoadable, MemoryError):
        raise
    except Exception as error:  # layers raise what they like at settings that they do not know
        raise NotLoadable(_why(error, architecture)) from error
    if not old:
        return loaded
    note = f"{old} DepthwiseConv2D layers state groups=1, which Keras 3 does not know and which meant nothing"
    return loaded._replace(notes=[note])


def _network(model: Any) -> Network:
    inputs, outputs = _ports(model.inputs), _ports(model.outputs, model.output_names)
    if not inputs:
        raise NotLoadable("it does not say the shape of its input: call the model on a sample, and save it again")

    def compute(*tensors: Any) -> dict[str, Any]:
        given = model(keras.tree.pack_sequence_as(model.input, tensors), training=False)
        return {port.name: value for port, value in zip(outputs, keras.tree.flatten(given), strict=True)}

    return network(compute, inputs, outputs, model.variables, model)


def _depthwise_with_groups(architecture: Architecture) -> int:
    found = [one for one in keras_archive.objects(architecture.config) if one["class_name"] == "DepthwiseConv2D"]
    return sum("groups" in one["config"] for one in found if isinstance(one.get("config"), dict))


def _ports(tensors: list[Any] | None, names: list[str] | None = None) -> list[Port]:
    """A layer that gives several outputs gives them all its name: they are numbered."""
    ports: list[Port] = []
    for tensor, name in zip(tensors or [], names or [tensor.name for tensor in tensors or []], strict=True):
        if tensor.sparse or tensor.ragged:
            raise NotLoadable(f"its tensor {name!r} is sparse or ragged: save it with dense inputs and outputs")
        taken = sum(port.name == name or port.name.startswith(f"{name}:") for port in ports)
        ports.append(Port(f"{name}:{taken}" if taken else name, tensor.dtype, tuple(tensor.shape)))
    return ports


def _why(error: Exception, architecture: Architecture) -> str:
    """Keras' own reason, without the settings that it quotes before it, and the way out of an old file."""
    reason = " ".join(str(error).rpartition("Exception encountered:")[2].split())[:300]
    writer = architecture.written_by
    if writer.startswith(("keras 1", "keras 2")):
        return (
            f"Keras {keras.__version__} does not take this file of {writer}: {reason}. Load it with the TensorFlow that wrote"
            " it (tensorflow<2.16) and save it as a SavedModel, model.save('folder'), or export it to ONNX there"
        )
    return f"{reason} (Keras {keras.__version__}; the file is of {writer or 'an unknown version'})"
