"""What a .keras or .h5 file says of itself, read without Keras: the layers, and whether it may be opened at all.

Layers are Python classes that the file names, and arrays may be said to lie anywhere: both are looked at before Keras
believes them.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import h5py

from .session import NotLoadable

# Weights do not compress: what unpacks to more than this times its size is no model.
MOST_EXPANSION = 50
SMALL_BYTES = 1 << 24
MOST_MEMBERS = 1000

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_ITS_OWN = ("keras", "tensorflow.keras", "tensorflow.python.keras", "tf_keras", "keras_core")
_NO_LAYERS = ("", "InputLayer", "Functional", "Model", "Sequential")


class Foreign(NotLoadable):
    """To open the file would run its author's code."""


class Architecture(NamedTuple):
    """`config`: Keras' own description of the model. `written_by`: as `keras 2.3.0-tf`; "" where it does not say."""

    config: dict[str, Any]
    written_by: str


def read(path: Path) -> Architecture:
    """The layers of a model file. NotLoadable, Foreign."""
    architecture = _read_archive(path) if zipfile.is_zipfile(path) else _read_hdf5(path)
    for found in objects(architecture.config):
        _refuse_code(found)
    return architecture


def _read_archive(path: Path) -> Architecture:
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            with archive.open(WEIGHTS) as weights:
                _check_arrays(weights)
            config, metadata = _object(archive.read(CONFIG)), _object(archive.read(METADATA))
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, RuntimeError, OSError, EOFError) as error:
        raise NotLoadable(f"it is no whole Keras archive ({_words(error)})") from error
    return Architecture(config, f"keras {metadata.get('keras_version', '')}".strip())


def _check_members(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise NotLoadable(f"it holds {len(members)} files: that is no Keras archive")
    for member in members:
        place = PurePosixPath(member.filename)
        if place.is_absolute() or ".." in place.parts or "\\" in member.filename:
            raise NotLoadable("it holds a file whose name leads out of it: that is no Keras archive")
    packed, unpacked = sum(m.compress_size for m in members), sum(m.file_size for m in members)
    _refuse_bomb(packed, unpacked)


def _refuse_bomb(packed: int, unpacked: int) -> None:
    if unpacked > SMALL_BYTES + MOST_EXPANSION * packed:
        raise NotLoadable(f"it unpacks from {packed:,} to {unpacked:,} bytes, which weights never do")


def _read_hdf5(path: Path) -> Architecture:
    try:
        _check_arrays(path)
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
        if config is None:
            raise NotLoadable(
                "it holds weights alone and not the network: save the whole model, model.save('name.keras') instead of"
                " model.save_weights"
            )
        return Architecture(_object(config), f"keras {_text(version)}".strip())
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise NotLoadable(f"it is no whole HDF5 file of Keras ({_words(error)})") from error


def _check_arrays(file: Path | IO[bytes]) -> None:
    """Every array must lie in the file itself, and be about as long as what is stored for it."""
    elsewhere: list[str] = []
    lengths: list[tuple[int, int]] = []

    def link(name: str, found: object) -> None:
        if not isinstance(found, h5py.HardLink):
            elsewhere.append(name)

    def member(name: str, found: object) -> None:
        if isinstance(found, h5py.Dataset):
            lengths.append((found.id.get_storage_size(), found.nbytes))
            if found.external or found.is_virtual:
                elsewhere.append(name)

    with h5py.File(file, "r") as opened:
        opened.visititems_links(link)
        opened.visititems(member)
    if elsewhere:
        raise NotLoadable("it wants to read its weights from other places than its own arrays: save the model whole")
    _refuse_bomb(sum(stored for stored, _ in lengths), sum(length for _, length in lengths))


def objects(config: Any) -> Iterator[dict[str, Any]]:
    """Everything in a description that is named by its class: layers, and what they are set up with."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str):
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def layers(config: dict[str, Any]) -> Iterator[str]:
    """The class of every layer, also of models inside models; the models themselves and their inputs are none."""
    for found in objects(config):
        inner = found.get("config")
        listed = inner.get("layers") if isinstance(inner, dict) else inner  # of old Sequential models
        for layer in listed if isinstance(listed, list) else []:
            name = layer.get("class_name", "") if isinstance(layer, dict) else ""
            if name not in _NO_LAYERS:
                yield str(name)


def _refuse_code(found: dict[str, Any]) -> None:
    """Lambda layers hold Python code; classes of other packages are it."""
    name, module = found["class_name"], found.get("module")
    if name in ("Lambda", "__lambda__", "function"):
        raise Foreign(
            "it has a Lambda layer or a function of its author's, which is Python code and is not run: write it with Keras"
            " layers or keras.ops and save it again, or export it as a SavedModel (model.export), or to ONNX, where it was made"
        )
    if isinstance(module, str) and not any(module == own or module.startswith(f"{own}.") for own in _ITS_OWN):
        raise Foreign(
            f"it has the class {name[:60]!r} of {module[:60]!r}, which is code that the file does not hold and that is not"
            " run: export it as a SavedModel (model.export), or to ONNX, where it was made"
        )


def _object(text: str | bytes) -> dict[str, Any]:
    """A JSON object; ValueError where it is none."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("a description is no JSON object")
    return value


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
