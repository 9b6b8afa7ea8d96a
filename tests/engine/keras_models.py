"""Small Keras models and SavedModels, whole and hostile, and the ways in which they are saved. Import it after
`pytest.importorskip("tensorflow")`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from edgeopt.engine.runtimes.tensorflow_quietly import tf

import keras  # isort: skip  (its backend is chosen by the line before)

SIDE, CLASSES = 8, 5


def images(count: int, seed: int = 0) -> np.ndarray:
    """(count, 8, 8, 3) float32."""
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE, 3)).astype(np.float32)


def convnet() -> Any:
    """`picture` (N, 8, 8, 3) to `scores` (N, 5), with a batch normalization that has seen other statistics than 0 and 1."""
    picture = keras.Input((SIDE, SIDE, 3), name="picture")
    x = keras.layers.Conv2D(8, 3, padding="same", name="conv")(picture)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(picture, keras.layers.Dense(CLASSES, name="scores")(x), name="convnet")
    rng = np.random.default_rng(3)
    model.set_weights([rng.uniform(0.2, 1, weight.shape).astype(np.float32) - 0.4 for weight in model.get_weights()])
    norm = model.get_layer("norm")
    norm.set_weights([np.abs(weight) + 0.5 for weight in norm.get_weights()])
    return model


def in_and_out_twice() -> Any:
    """Inputs `right` (N, 2) and `left` (N, 3), in that order; outputs `total` (N, 1) and `double` (N, 3)."""
    right, left = keras.Input((2,), name="right"), keras.Input((3,), name="left")
    both = keras.layers.Concatenate(name="both")([right, left])
    total = keras.layers.Dense(1, kernel_initializer="ones", name="total")(both)
    double = keras.layers.Rescaling(2.0, name="double")(left)
    return keras.Model([right, left], [total, double])


SAVE: dict[str, Callable[[Any, Path], Path]] = {
    "keras": lambda model, folder: saved(model, folder / "net.keras"),
    "h5": lambda model, folder: saved(model, folder / "net.h5"),
    "saved_model": lambda model, folder: exported(model, folder / "net"),
}


def saved(model: Any, path: Path) -> Path:
    model.save(path)
    return path


def exported(model: Any, folder: Path) -> Path:
    model.export(folder, verbose=False)
    return folder


def described_anew(path: Path, change: Callable[[dict[str, Any]], object], version: str = "2.4.0") -> Path:
    """An .h5 file whose description of the network is changed, as another Keras would have written it."""
    with h5py.File(path, "r+") as file:
        config = json.loads(str(file.attrs["model_config"]))
        change(config)
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"] = version
    return path


def member_anew(path: Path, **content: bytes | None) -> Path:
    """A .keras archive with other members: `config_json` is config.json; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    changed = {name.replace("_json", ".json").replace("_h5", ".h5"): data for name, data in content.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (members | changed).items():
            if data is not None:
                archive.writestr(name, data)
    return path


def layer(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A layer of a description."""
    return next(one for one in config["config"]["layers"] if one["config"]["name"] == name)


class Computing(tf.Module):
    """What `compute` does to `x` (N, 3), as a module to be saved."""

    def __init__(self, compute: Callable[[Any], Any]):
        super().__init__()
        self._compute = compute

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, "x")], autograph=False)
    def __call__(self, x: Any) -> Any:
        return {"y": self._compute(x)}


def graph(compute: Callable[[Any], Any], folder: Path) -> Path:
    """A SavedModel of `compute`."""
    module = Computing(compute)
    tf.saved_model.save(module, str(folder), signatures=module.__call__.get_concrete_function())
    return folder
