"""A float32 TensorFlow Lite model of a TensorFlow model, by TensorFlow's own converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray, read_model_from_bytearray

from ...contract.measures import Interface
from ...contract.text import untrusted
from ..bench import Bench
from ..models.model_file import ModelFile
from ..models.tensorflow_model import TensorFlowModel
from ..problems import JobProblem
from ..runtimes.network import Network
from ..runtimes.tensorflow_quietly import tf
from .tflite_ready import sign

from tensorflow.lite.python.convert_phase import ConverterError  # isort: skip  (after TensorFlow was made quiet)
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2  # isort: skip


def convert(parent: ModelFile, out: Path, interface: Interface, bench: Bench) -> list[str]:
    """Writes the model to `out`, under the parent's names; returns how the parent was read, where not as it stands.

    JobProblem: what loading it raises; UNAVAILABLE where the network has operators that TensorFlow Lite has not.
    """
    name, network = untrusted(parent.path.name), cast(TensorFlowModel, parent).network
    # Variables become constants: by way of a SavedModel, the converter's other way, they stay variables, which are empty in
    # the new file, since nothing there assigns them. And functions are dissolved: those that were loaded from old files
    # cannot be defined a second time.
    frozen = convert_variables_to_constants_v2(network.function, aggressive_inlining=True)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    converter.experimental_lower_to_saved_model = False
    try:
        content = converter.convert()
    except ConverterError as error:
        reason = untrusted(" ".join(str(error).split()), 300)
        raise JobProblem(
            "UNAVAILABLE",
            f"TensorFlow Lite's own operators do not make up {name}, as TensorFlow's converter says: {reason}."
            " export_onnx is another way",
        ) from error
    out.write_bytes(_named(content, network))
    return list(network.notes)


def _named(content: bytes, network: Network) -> bytes:
    """The converted model under the network's names; it has kept the order of inputs and outputs."""
    model: Any = read_model_from_bytearray(memoryview(content))
    given = tf.nest.flatten(network.function.structured_outputs)
    names = {id(tensor): name for name, tensor in network.function.structured_outputs.items()}
    sign(model, [port.name for port in network.inputs], [names[id(tensor)] for tensor in given])
    return bytes(convert_object_to_bytearray(model))
