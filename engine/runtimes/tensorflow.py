"""TensorFlow on the CPU: SavedModel folders, .keras and .h5 files.

A timed call takes numpy arrays and gives numpy arrays, as an application's does: the conversion to tensors, one call of the
network as one compiled graph, and the conversion back. A Keras model is traced to such a graph once; called layer by layer,
its Python would be measured instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from . import saved_model_network
from .network import Network
from .session import NotLoadable, NotRunnable, reject
from .tensorflow_quietly import tf


class TensorFlowSession:
    def __init__(self, network: Network, threads: int):
        self.runtime = f"tensorflow {tf.__version__}"
        self.inputs, self.outputs = network.inputs, network.outputs
        self.network = network
        self._threads = threads

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[object]:
        try:
            return self._infer(feeds)
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(str(error)) from error
        except (tf.errors.OpError, ValueError, TypeError) as error:
            reject(NotRunnable, error)

    def call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """NotRunnable where the process has other threads than the session was opened for."""
        held = tf.config.threading.get_intra_op_parallelism_threads()
        if held != self._threads:
            raise NotRunnable(
                f"TensorFlow has {held} threads in this process, as its first model was opened, and cannot have"
                f" {self._threads} any more: time it in a process of its own"
            )
        return partial(self._infer, feeds)

    def _infer(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        outputs = self.network.function(*[tf.constant(feeds[port.name]) for port in self.inputs])
        return [outputs[port.name].numpy() for port in self.outputs]


def open_session(path: Path, threads: int, cores: Sequence[int] = ()) -> TensorFlowSession:
    """Loads a model. NotLoadable.

    TensorFlow makes its threads once in a process; a session that asks for others afterwards runs and is not timed.
    """
    _start(threads, cores)
    return TensorFlowSession(load(path), threads)


def _start(threads: int, cores: Sequence[int]) -> None:
    """Makes TensorFlow's threads, on all of `cores`: threads stay on those of the one that makes them, and the calling
    thread is held to its own."""
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError:
        return  # made before, for another model of this process; `call` knows
    held = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or held)
    try:
        tf.config.list_logical_devices()
    finally:
        os.sched_setaffinity(0, held)


def load(path: Path) -> Network:
    """The network of a model file or folder, once what it says of itself was found harmless. NotLoadable.

    For who describes or converts it: it is not made for a number of threads.
    """
    if path.is_dir():
        return saved_model_network.load(path)
    if path.suffix.lower() == ".pb":
        raise NotLoadable(
            "a graph without its signature says nothing of its inputs: name the SavedModel folder that holds it, or export"
            " the model as one (tf.saved_model.save)"
        )
    # Keras itself: who runs a SavedModel does without.
    from . import keras_network

    return keras_network.load(path)
