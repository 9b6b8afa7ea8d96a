"""The toolchains that there are, and which of them are installed. The server and `edgeopt doctor` ask: nothing is imported."""

from __future__ import annotations

import hashlib
import json
from json import JSONDecodeError
from pathlib import Path
from typing import NamedTuple

# In a toolchain's folder; what installed it wrote it last.
RECORD = "toolchain.json"
_HERE = Path(__file__).parent


class Toolchain(NamedTuple):
    """`requirements`: after the lock, for packages of which every machine needs another build: they cannot be locked by
    their hashes. `module`: what its environment is tried with. `room_mb`: of the disk that installing takes.
    `newest_python`: the newest that all of its packages have builds for."""

    name: str
    purpose: str
    lock: Path
    requirements: tuple[str, ...]
    module: str
    room_mb: int
    newest_python: tuple[int, int]

    @property
    def version(self) -> str:
        """Of the converter, by its lock."""
        lines = self.lock.read_text(encoding="utf-8").splitlines()
        pinned = next((line for line in lines if line.startswith(f"{self.name}==")), "==unknown")
        return pinned.partition("==")[2].split()[0]

    @property
    def locked(self) -> str:
        """What tells one set of versions from another."""
        return hashlib.sha256(self.lock.read_bytes() + "\n".join(self.requirements).encode()).hexdigest()

    @property
    def command(self) -> str:
        """What a person types to have it."""
        return f"edgeopt toolchain install {self.name}"


# torch: the index of CPU builds has the same version under other hashes than the index of CUDA builds.
TOOLCHAINS = {
    chain.name: chain
    for chain in (
        Toolchain(
            name="litert-torch",
            purpose="PyTorch models to TFLite",
            lock=_HERE / "litert-torch.lock",
            requirements=("torch==2.13.0",),
            module="litert_torch",
            room_mb=4000,
            newest_python=(3, 13),
        ),
        Toolchain(
            name="onnx2tf",
            purpose="ONNX models to TFLite",
            lock=_HERE / "onnx2tf.lock",
            requirements=(),
            module="onnx2tf",
            room_mb=4500,
            newest_python=(3, 12),
        ),
    )
}


def installed(folder: Path) -> dict[str, str | None]:
    """By the toolchain's name, the version of its converter below `folder`; None where it is not installed there."""
    return {name: version_of(chain, folder) for name, chain in TOOLCHAINS.items()}


def version_of(chain: Toolchain, folder: Path) -> str | None:
    """None where it is not there, or holds other versions than this edgeopt's lock says."""
    return chain.version if is_current(chain, folder / chain.name) else None


def is_current(chain: Toolchain, place: Path) -> bool:
    """Whether `place` holds exactly what the lock says, and a Python that is still there."""
    try:
        record = json.loads((place / RECORD).read_bytes())
    except (OSError, JSONDecodeError):
        return False
    return record.get("locked") == chain.locked and python_in(place).exists()


def python_in(place: Path) -> Path:
    """The Python of the toolchain that lies at `place`."""
    return place / "bin" / "python"


def missing(name: str, folder: Path | None) -> str | None:
    """What to do before this toolchain can run; None where nothing is missing."""
    chain = TOOLCHAINS[name]
    if folder is not None and is_current(chain, folder / name):
        return None
    found = folder is not None and (folder / name).exists()
    lacking = "is of another version of edgeopt, or broken" if found else "is not installed"
    return (
        f"the toolchain {name}, which converts {chain.purpose}, {lacking}: a person installs it with `{chain.command}`"
        f" (about {chain.room_mb} MB of disk, a few minutes)"
    )
