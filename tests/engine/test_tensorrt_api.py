"""What is written against TensorRT, held against the names that its real bindings have.

`tensorrt_api.json` holds the names of both versions (`dump_tensorrt_api.py` made it). Where the bindings themselves are
installed (`pip install --no-deps tensorrt-cu13-bindings`), our modules are run with them and with stub libraries: no more
of TensorRT can be had without its libraries.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import edgeopt
import pytest

from .dump_tensorrt_api import API, stubs

ROOT = Path(edgeopt.__file__).parent
MODULES = [
    ROOT / "engine" / place
    for place in ("runtimes/tensorrt.py", "models/tensorrt_model.py", "techniques/tensorrt_build.py")
]
# The class of TensorRT's that an object of this name is of, in these modules.
CLASSES = {
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "parser_error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
}
# These are only handed on.
NOT_ASKED = {"network"}


def known() -> dict[str, dict[str, list[str]]]:
    return json.loads(API.read_text())


def used(module: Path) -> Iterator[tuple[str, str]]:
    """Class ("" for the module itself) and name of every attribute of TensorRT's that a module of ours asks for."""
    for node in ast.walk(ast.parse(module.read_text())):
        if not isinstance(node, ast.Attribute):
            continue
        match node.value:
            case _ if node.attr.startswith("__"):
                continue
            case ast.Name("trt"):
                yield "", node.attr
            case ast.Attribute(ast.Name("trt"), of):
                yield of, node.attr
            case ast.Name(name) | ast.Attribute(attr=name) if name.lstrip("_") in CLASSES:
                yield CLASSES[name.lstrip("_")], node.attr


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
def test_every_name_of_tensorrt_that_is_used_is_there(version: str) -> None:
    names = known()[version]
    asked = defaultdict(set)
    for module in MODULES:
        for of, name in used(module):
            asked[of].add(name)
    assert set(CLASSES.values()) - {CLASSES[name] for name in NOT_ASKED} <= set(asked)
    absent = {of: sorted(of_class - set(names[of])) for of, of_class in asked.items() if of_class - set(names[of])}
    assert absent == {}


def test_every_module_that_uses_tensorrt_is_looked_at() -> None:
    importing = {path for path in (ROOT / "engine").rglob("*.py") if "nvidia import trt" in path.read_text()}
    assert importing == set(MODULES)


def test_precision_flags_and_calibrators_are_gone_in_11_and_strong_typing_is_in_both() -> None:
    old, new = known()["10.16.1.11"], known()["11.4.0.106"]
    assert {"FP16", "INT8"} <= set(old["BuilderFlag"]) - set(new["BuilderFlag"])
    assert "IInt8EntropyCalibrator2" in set(old[""]) - set(new[""])
    assert "int8_calibrator" in set(old["IBuilderConfig"]) - set(new["IBuilderConfig"])
    assert "STRONGLY_TYPED" in set(old["NetworkDefinitionCreationFlag"]) & set(new["NetworkDefinitionCreationFlag"])


# Run where the bindings are the real ones and the libraries do nothing: no TensorRT starts.
WITH_STUBS = """
import sys, tensorrt_bindings
sys.modules["tensorrt"] = trt = tensorrt_bindings
from pathlib import Path
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes import tensorrt
from edgeopt.engine.runtimes.session import NotLoadable
from edgeopt.engine.techniques import tensorrt_build
import edgeopt.engine.models.tensorrt_model

log = tensorrt.Log()
log.log(trt.ILogger.WARNING, "not kept")
for number in range(5):
    log.log(trt.ILogger.ERROR, f"error {number}")
print(log.words)
try:
    tensorrt.load(Path(sys.argv[1]))
except NotLoadable as error:
    print(error)
try:
    tensorrt_build.build(b"", 64, {})
except JobProblem as error:
    print(error.problem.code, error.problem.message)
print(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
"""


def test_the_modules_import_with_the_real_bindings_and_say_that_tensorrt_does_not_start(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorrt_bindings") is None:
        pytest.skip("tensorrt-cu13-bindings is not installed (pip install --no-deps tensorrt-cu13-bindings)")
    version = metadata.version("tensorrt-cu13-bindings")
    stubs(tmp_path, version.partition(".")[0])
    (tmp_path / "net.engine").write_bytes(b"ftrt" + bytes(60))
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", WITH_STUBS, tmp_path / "net.engine"],
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    words, loading, building, flag = done.stdout.splitlines()
    assert words == "error 2; error 3; error 4"
    assert loading.startswith(f"TensorRT {version} does not start here")
    assert building.startswith(f"UNAVAILABLE TensorRT {version} does not start here")
    assert flag == ("2" if version.startswith("10.") else "1")  # the enumeration was renumbered: no number of ours does
