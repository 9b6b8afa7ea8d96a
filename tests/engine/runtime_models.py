"""The same tiny models in every format that a runtime here opens.

Whoever adds a format adds a maker to `DENSE` and `CONVOLUTION`: `make(folder, batch)` writes the model into `folder` and
returns its path; `batch` None is a dynamic batch axis, which a format that has none may leave at 1. Names, and the order
of an image's axes, are the format's own. Makers import their framework themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from edgeopt.contract.measures import Interface, TensorInfo
from onnx import TensorProto, helper

from .tiny_models import Axis, linear, save

Maker = Callable[[Path, int | None], Path]

# y = x W + b on x (N, 3).
WEIGHT = np.array([[1.0, -2.0], [0.5, 3.0], [-1.0, 4.0]], np.float32)
BIAS = np.array([0.5, -1.5], np.float32)
# A 2 x 2 convolution without padding on images (N, 3, 5, 6); the kernel is (6, 3, 2, 2), out, in, height, width.
KERNEL = (np.arange(72, dtype=np.float32).reshape(6, 3, 2, 2) - 30) / 16
OFFSET = np.array([0.0, 1.0, -1.0, 0.5, 2.0, -0.25], np.float32)


def _info(name: str, *shape: int | None) -> TensorInfo:
    return TensorInfo(name=name, dtype="float32", shape=list(shape))


DENSE_INTERFACE = Interface(inputs=[_info("x", None, 3)], outputs=[_info("y", None, 2)])
IMAGE_INTERFACE = Interface(inputs=[_info("image", None, 3, 5, 6)], outputs=[_info("map", None, 6, 4, 5)])


def dense(x: np.ndarray) -> np.ndarray:
    """What the dense models compute."""
    return x @ WEIGHT + BIAS


def convolved(images: np.ndarray) -> np.ndarray:
    """What the convolutions compute, on images of `IMAGE_INTERFACE`."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(2, 3))
    return np.einsum("ncyxij,ocij->noyx", windows, KERNEL) + OFFSET[:, None, None]


def rows(count: int, seed: int = 0) -> np.ndarray:
    """Inputs of the dense models."""
    return np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)


def images(count: int) -> np.ndarray:
    """Inputs of the convolutions."""
    return np.random.default_rng(1).normal(size=(count, 3, 5, 6)).astype(np.float32)


def _onnx_dense(folder: Path, batch: int | None) -> Path:
    return Path(linear(folder / "dense.onnx", WEIGHT, BIAS, batch=_axis(batch)))


def _onnx_convolution(folder: Path, batch: int | None) -> Path:
    return Path(
        save(
            folder / "convolution.onnx",
            [helper.make_node("Conv", ["image", "kernel", "offset"], ["map"])],
            {"image": (TensorProto.FLOAT, [_axis(batch), 3, 5, 6])},
            {"map": (TensorProto.FLOAT, [_axis(batch), 6, 4, 5])},
            {"kernel": KERNEL, "offset": OFFSET},
        )
    )


def _axis(batch: int | None) -> Axis:
    return "batch" if batch is None else batch


def _openvino(onnx_model: Path) -> Path:
    from edgeopt.engine.runtimes.openvino_quietly import ov

    path = onnx_model.with_suffix(".xml")
    ov.save_model(ov.Core().read_model(onnx_model), path, compress_to_fp16=False)
    return path


def _tensorflow_dense(folder: Path, batch: int | None) -> Path:
    from edgeopt.engine.runtimes.tensorflow_quietly import tf

    class Dense(tf.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = tf.Variable(WEIGHT), tf.Variable(BIAS)

        @tf.function(input_signature=[tf.TensorSpec((batch, 3), tf.float32, "x")])
        def __call__(self, x):
            return {"y": tf.linalg.matmul(x, self.weight) + self.bias}

    return _saved_model(tf, Dense(), folder / "dense")


def _tensorflow_convolution(folder: Path, batch: int | None) -> Path:
    from edgeopt.engine.runtimes.tensorflow_quietly import tf

    class Convolution(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel, self.offset = tf.Variable(KERNEL.transpose(2, 3, 1, 0)), tf.Variable(OFFSET)

        @tf.function(input_signature=[tf.TensorSpec((batch, 5, 6, 3), tf.float32, "image")])
        def __call__(self, image):
            return {"map": tf.nn.conv2d(image, self.kernel, 1, "VALID") + self.offset}

    return _saved_model(tf, Convolution(), folder / "convolution")


def _saved_model(tf: ModuleType, module: Any, folder: Path) -> Path:
    tf.saved_model.save(module, str(folder), signatures=module.__call__.get_concrete_function())
    return folder


def _tflite_dense(folder: Path, batch: int | None) -> Path:
    from . import tflite_models

    return tflite_models.dense(folder / "dense.tflite", WEIGHT, BIAS, batch or tflite_models.ANY)


def _tflite_convolution(folder: Path, batch: int | None) -> Path:
    from . import tflite_models

    kernel = np.ascontiguousarray(KERNEL.transpose(0, 2, 3, 1))
    return tflite_models.convolution(folder / "convolution.tflite", kernel, OFFSET, (5, 6), batch or tflite_models.ANY)


def _pytorch_dense(folder: Path, batch: int | None) -> Path:
    from . import torch_models

    return torch_models.save_program(torch_models.Dense(WEIGHT, BIAS), rows(1), folder / "dense.pt2", batch)


def _pytorch_convolution(folder: Path, batch: int | None) -> Path:
    from . import torch_models

    module = torch_models.Convolution(KERNEL, OFFSET)
    return torch_models.save_program(module, images(1), folder / "convolution.pt2", batch)


def _tensorrt(onnx_model: Path) -> Path:
    from edgeopt.engine.models import onnx_file
    from edgeopt.engine.techniques.tensorrt_build import build
    from edgeopt.engine.techniques.tensorrt_graph import profile_shapes

    path, model = onnx_model.with_suffix(".engine"), onnx_file.load(onnx_model)
    path.write_bytes(build(model.SerializeToString(), 64, profile_shapes(model)))
    return path


DENSE: dict[str, Maker] = {
    "tensorrt": lambda folder, batch: _tensorrt(_onnx_dense(folder, batch)),
    "onnx": _onnx_dense,
    "openvino": lambda folder, batch: _openvino(_onnx_dense(folder, batch)),
    "pytorch": _pytorch_dense,
    "tensorflow": _tensorflow_dense,
    "tflite": _tflite_dense,
}
CONVOLUTION: dict[str, Maker] = {
    "tensorrt": lambda folder, batch: _tensorrt(_onnx_convolution(folder, batch)),
    "onnx": _onnx_convolution,
    "openvino": lambda folder, batch: _openvino(_onnx_convolution(folder, batch)),
    "pytorch": _pytorch_convolution,
    "tensorflow": _tensorflow_convolution,
    "tflite": _tflite_convolution,
}
