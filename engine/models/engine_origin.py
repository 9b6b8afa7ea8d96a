"""Where an engine was built: it runs on that TensorRT version, GPU architecture and platform alone.

We write it down beside each engine that we build; of others, the first bytes tell the version. The server asks too: no
framework is imported.
"""

from __future__ import annotations

import platform
from pathlib import Path

from pydantic import ValidationError

from ...contract.record import Record
from ...contract.text import untrusted
from ..problems import JobProblem
from ..runtimes.catalog import RUNTIMES, installed
from .plan_header import LENGTH, plan_version

_LARGEST = 4096


class EngineOrigin(Record):
    """None is what nobody knows. `tensorrt`: its version; `compute_capability`: of the GPU, as `8.7`; `gpu`: its name;
    `platform`: the processor's architecture, as `uname -m` has it."""

    tensorrt: str | None = None
    compute_capability: str | None = None
    gpu: str | None = None
    platform: str | None = None


def companion(engine: Path) -> Path:
    """The file beside an engine that says where it was built."""
    return engine.with_name(f"{engine.name}.json")


def origin(engine: Path) -> EngineOrigin:
    """What is known of where an engine was built. JobProblem BAD_FILE where the file beside it is none of ours."""
    beside = companion(engine)
    if not beside.is_file():
        with engine.open("rb") as file:
            return EngineOrigin(tensorrt=plan_version(file.read(LENGTH)))
    try:
        with beside.open("rb") as file:
            return EngineOrigin.model_validate_json(file.read(_LARGEST))
    except ValidationError as error:
        raise JobProblem(
            "BAD_FILE",
            f"{untrusted(beside.name)} does not say where {untrusted(engine.name)} was built, which is what edgeopt keeps in"
            " a file of this name: put the one back that was written with the engine, or move it away",
        ) from error


def here() -> EngineOrigin:
    """What a process that opens no GPU knows of this machine."""
    return EngineOrigin(tensorrt=installed(RUNTIMES["tensorrt"]), platform=platform.machine())


def mismatch(built: EngineOrigin, here: EngineOrigin) -> str | None:
    """Why an engine that was built there does not run here; None where nothing that both sides know speaks against it."""
    reasons = [
        f"{what} {theirs}, and here is {ours}"
        for what, theirs, ours in (
            ("built by TensorRT", built.tensorrt, here.tensorrt),
            ("for the GPU architecture", built.compute_capability, here.compute_capability),
            ("for the platform", built.platform, here.platform),
        )
        if theirs and ours and not _same(theirs, ours)
    ]
    return untrusted("it was " + "; ".join(reasons), 300) if reasons else None


def _same(one: str, other: str) -> bool:
    """A version whose last number is left out on one side is compared without it."""
    left, right = one.split("."), other.split(".")
    length = min(len(left), len(right))
    return left[:length] == right[:length]
