"""Writes tensorrt_api.json: the names that NVIDIA's Python bindings of TensorRT have, by version and class.

The bindings install from PyPI; the libraries that they load do not, on machines without NVIDIA's own package index. So
they are imported with stub libraries of ours, which export the few C symbols that they want and do nothing. That tells
which names exist, and nothing about what they do. It takes a C compiler:

    pip download --no-deps -d wheels tensorrt-cu13-bindings==10.16.1.11   # and once more for 11.4.0.106
    python tests/engine/dump_tensorrt_api.py wheels/*.whl
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

API = Path(__file__).with_name("tensorrt_api.json")
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
_SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
# Of the objects that edgeopt has to do with; all names of the module are kept too.
_CLASSES = (
    *("Builder", "EngineInspector", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory", "ILogger"),
    *("INetworkDefinition", "IOptimizationProfile", "OnnxParser", "ParserError", "Runtime", "BuilderFlag", "DataType"),
    *(
        "LayerInformationFormat",
        "MemoryPoolType",
        "NetworkDefinitionCreationFlag",
        "ProfilingVerbosity",
        "TensorFormat",
    ),
    *("TensorIOMode", "TensorLocation"),
)
# Run with the bindings on the path; prints {"version": ..., "names": {"": [of the module], class: [...]}}.
_DUMP = """
import json, sys, tensorrt_bindings as trt

def public(thing):
    return sorted(name for name in dir(thing) if not name.startswith("_"))

names = {"": public(trt)} | {name: public(getattr(trt, name)) for name in sys.argv[1:]}
print(json.dumps({"version": trt.__version__, "names": names}))
"""


def stubs(folder: Path, major: str) -> None:
    """Compiles the libraries that the bindings of this major version load into the folder."""
    source = folder / "stub.c"
    source.write_text("".join(f"void *{symbol}(void) {{ return 0; }}\n" for symbol in _SYMBOLS))
    for library in _LIBRARIES:
        target = folder / f"lib{library}.so.{major}"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", target, source], check=True)


def dump(bindings: Path, major: str) -> dict[str, Any]:
    """The version and names of the bindings in a folder (that holds `tensorrt_bindings`)."""
    with tempfile.TemporaryDirectory() as folder:
        stubs(Path(folder), major)
        environment = os.environ | {"LD_LIBRARY_PATH": folder, "PYTHONPATH": str(bindings)}
        done = subprocess.run(
            [sys.executable, "-c", _DUMP, *_CLASSES], env=environment, capture_output=True, text=True, check=True
        )
    return json.loads(done.stdout)


def main(wheels: list[str]) -> None:
    found = {}
    for wheel in wheels:
        major = Path(wheel).name.split("-")[1].partition(".")[0]
        with tempfile.TemporaryDirectory() as folder:
            zipfile.ZipFile(wheel).extractall(folder)
            dumped = dump(Path(folder), major)
        found[str(dumped["version"])] = dumped["names"]
    API.write_text(json.dumps(found, indent=0, sort_keys=True).replace('",\n"', '","') + "\n")
    print(f"{API}: {', '.join(found)}")


if __name__ == "__main__":
    main(sys.argv[1:])
