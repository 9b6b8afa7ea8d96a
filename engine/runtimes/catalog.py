"""The inference runtimes that there are: which formats each opens, and how to come by it. Nothing is imported to say so."""

from __future__ import annotations

from typing import NamedTuple


class Runtime(NamedTuple):
    """`module`: of this package. `distribution`: what is installed. `extra`: of edgeopt, that brings it; None where it
    comes along. `others`: distributions that bring the same. `remark`: on how to come by it."""

    module: str
    distribution: str
    extra: str | None
    others: tuple[str, ...] = ()
    remark: str = ""


# By the format that they open; `models.formats` says which format a file has.
RUNTIMES: dict[str, Runtime] = {
    "onnx": Runtime("onnxruntime", "onnxruntime", None),
    "pytorch": Runtime("pytorch", "torch", "torch"),
    "tensorflow": Runtime("tensorflow", "tensorflow", "tensorflow"),
    "tflite": Runtime("tflite", "ai-edge-litert", "tflite"),
    "openvino": Runtime("openvino", "openvino", "openvino"),
    "tensorrt": Runtime(
        "tensorrt",
        "tensorrt-cu13",
        "tensorrt",
        others=("tensorrt", "tensorrt-cu12"),
        remark=" where there is an NVIDIA GPU with CUDA 13 (CUDA 12: tensorrt-cu12 and cuda-python); on a Jetson it comes"
        " with JetPack, for an environment that was made with --system-site-packages",
    ),
}


def version(distribution: str) -> str | None:
    """The installed version; None where it is not installed."""
    # Here, because a measuring process asks for no version, and this import would be a fifth of its start.
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def installed(runtime: Runtime) -> str | None:
    """The version of a runtime that is installed under one of its names; None where it is not."""
    return next((found for name in (runtime.distribution, *runtime.others) if (found := version(name))), None)


def missing(format: str) -> str | None:
    """What to install before a model of this format runs here; None where nothing is missing."""
    runtime = RUNTIMES[format]
    if installed(runtime) is not None:
        return None
    return (
        f"{runtime.distribution} is not installed, which runs {format} models: "
        f"pip install 'edgeopt[{runtime.extra}]'{runtime.remark}"
    )
