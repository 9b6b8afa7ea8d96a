"""`edgeopt verify`: a package checked anywhere, in a sandboxed worker, because a package is foreign code."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

from ..contract.signing import public_key
from ..engine.executor.base import Failed
from ..engine.executor.local import LocalExecutor
from ..engine.jobs import JobSpec, Verified, VerifyPackage
from .settings import machine_memory_mb


def verify_package(folder: Path, key: Path | None = None) -> tuple[bool, str]:
    """Whether the package holds, and in words why or why not. `key`: the public key that must have signed it.

    Raises:
        ValueError: the file holds no such key.
    """
    try:
        pem = public_key(key.read_bytes()).pem().decode() if key else None
    except (OSError, ValueError) as error:
        raise ValueError(f"--key {key}: {error}; `edgeopt key FILE` writes the public key to FILE.pub") from error
    spec = JobSpec(
        job_id=f"verify-{secrets.token_hex(4)}",
        task=VerifyPackage(path=str(folder.resolve()), public_key=pem),
        memory_mb=machine_memory_mb(),
        timeout_s=600,
    )
    with tempfile.TemporaryDirectory(prefix="edgeopt-verify-") as scratch:
        outcome = LocalExecutor().run(Path(scratch) / "job", spec)
        if isinstance(outcome, Failed):
            return False, outcome.problem.message
        if not isinstance(outcome.result, Verified):
            raise TypeError(f"a verification answered {outcome.result.kind}")
        return outcome.result.verified, outcome.result.verification
