"""TensorFlow's part of a package's infer.py."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

import tensorflow as tf


class Session:
    """The SavedModel, or the Keras model, in TensorFlow on the CPU."""

    runtime = f"tensorflow {tf.__version__}"

    def __init__(self, model: Path, threads: int):
        tf.config.set_visible_devices([], "GPU")
        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
        self.function = served(model) if model.is_dir() else called(model)

    def run(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """One inference; inputs and outputs in the model's own order."""
        return [value.numpy() for value in self.function(*map(tf.constant, arrays))]


def served(folder: Path):
    """What a SavedModel serves. Inputs and outputs are in the order of their names."""
    model = tf.saved_model.load(str(folder), tags=["serve"])
    signatures = model.signatures
    function = signatures["serving_default" if "serving_default" in signatures else next(iter(signatures))]
    function.owner = model  # whose variables would go with it
    names = sorted(function.structured_input_signature[1])
    return lambda *tensors: tf.nest.flatten(function(**dict(zip(names, tensors, strict=True))))


def called(file: Path):
    """A Keras model, called as one graph."""
    keras = tf.keras
    model = keras.models.load_model(file, compile=False, safe_mode=True)

    def call(*tensors):
        return keras.tree.flatten(model(keras.tree.pack_sequence_as(model.input, tensors), training=False))

    return tf.function(call, autograph=False)
