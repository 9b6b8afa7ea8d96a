"""How the server is started: command line, environment and policy file become one `Settings`."""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..contract.devices import DEVICES
from ..contract.evaluation import Evaluation
from ..contract.text import untrusted
from ..tools.workshop import FixedEvaluation, Policy, Settings
from .keys import BadKey, read_key, witness_of
from .machine import device_name, is_plausibly


class BadSettings(Exception):
    """The server cannot be started like this; the message says what to change."""


class JudgedBy(Evaluation):
    """An entry of `[[evaluations]]`: paths, and shell patterns of `models`, start from the policy file's folder."""

    models: list[str] = []

    def fixed(self, folder: Path) -> FixedEvaluation:
        """BadSettings where the data set is not there."""
        dataset = _real(folder / self.dataset_path, "evaluations.dataset_path")
        if not dataset.exists():
            raise BadSettings(f"The policy file in {folder} fixes an evaluation on {dataset}, which does not exist.")
        given = self.model_dump(exclude={"models"}) | {"dataset_path": str(dataset)}
        for name in ("adapter", "metric_code"):
            if given[name]:
                file, _, function = given[name].rpartition(":")
                given[name] = f"{_real(folder / file, f'evaluations.{name}')}:{function}"
        return FixedEvaluation(
            Evaluation.model_validate(given), tuple(os.path.normpath(folder / p) for p in self.models)
        )


class PolicyFile(BaseModel):
    """The TOML policy: what it fixes, a caller cannot loosen."""

    model_config = ConfigDict(extra="forbid")

    max_tolerance: float = Field(default=0.02, ge=0, le=1)
    evidence: Literal["proven", "point"] = "proven"
    decisions: Literal["chat", "terminal", "none"] = "chat"
    look_budget: int | None = Field(default=None, ge=1)
    evaluations: list[JudgedBy] = []


def read_policy(path: Path | None) -> Policy:
    """The policy in a TOML file; the default where there is none.

    Raises:
        BadSettings: the file cannot be read, or holds anything else.
    """
    if path is None:
        return Policy()
    try:
        parsed = PolicyFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadSettings(f"The policy file {path} cannot be used: {untrusted(wrong, 500)}") from error
    except (OSError, ValueError) as error:  # not TOML, not text
        raise BadSettings(f"The policy file {path} cannot be used: {untrusted(str(error), 500)}") from error
    folder = _real(path, "--policy").parent
    fixed = tuple(entry.fixed(folder) for entry in parsed.evaluations)
    return Policy(**parsed.model_dump(exclude={"evaluations"}), evaluations=fixed)


def default_workspace() -> Path:
    """The user's data folder, by the XDG convention."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "edgeopt"


def toolchains_folder() -> Path:
    """Where toolchains are installed: EDGEOPT_TOOLCHAINS, else below the user's data folder.

    Raises:
        BadSettings.
    """
    given = os.environ.get("EDGEOPT_TOOLCHAINS")
    return _real(Path(given) if given else default_workspace() / "toolchains", "EDGEOPT_TOOLCHAINS")


def _real(path: Path, option: str) -> Path:
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise BadSettings(f"{option} {path}: {error}") from error


def _max_wait_s() -> float:
    """How long a call waits for its job by default, seconds (EDGEOPT_MAX_WAIT_S)."""
    given = os.environ.get("EDGEOPT_MAX_WAIT_S", "50")
    try:
        seconds = float(given)
    except ValueError as error:
        raise BadSettings(f"EDGEOPT_MAX_WAIT_S={given}: a number of seconds is needed.") from error
    if not 0 <= seconds <= 600:
        raise BadSettings(f"EDGEOPT_MAX_WAIT_S={given}: 0 to 600 seconds.")
    return seconds


def split_roots(given: list[Path]) -> tuple[Path, ...]:
    """The allowed roots: those given, else those of EDGEOPT_ALLOW_ROOTS (':'-separated), else the current folder.

    Raises:
        BadSettings: one of them is no folder.
    """
    from_environment = [Path(p) for p in os.environ.get("EDGEOPT_ALLOW_ROOTS", "").split(":") if p]
    roots = tuple(_real(p, "--allow-root") for p in (given or from_environment or [Path.cwd()]))
    for root in roots:
        if not root.is_dir():
            raise BadSettings(f"The allowed root {root} is not a folder. Name an existing one with --allow-root.")
    return roots


def machine_memory_mb() -> int:
    """Three quarters of the machine's memory: what one job may use by default."""
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20 * 0.75)


def checked_device(device: str | None) -> str | None:
    """`--host-is`, checked against what the machine says of itself.

    Raises:
        BadSettings: an unknown device, or a machine that says that it is another.
    """
    if device is None:
        return None
    if device not in DEVICES:
        raise BadSettings(f"--host-is {device}: unknown device. Known: {', '.join(DEVICES)}.")
    if not is_plausibly(device):
        raise BadSettings(
            f"--host-is {device}: this machine says that it is {device_name()!r}. Leave the option out: its numbers will be "
            "host estimates."
        )
    return device


def check_key_place(chosen: Settings, key_file: Path) -> None:
    """Callers name files below the roots, and get to read what is said of them: no place for a secret.

    Raises:
        BadSettings: the key lies there.
    """
    place = _real(key_file, "--signing-key")
    for root in chosen.readable:
        if place.is_relative_to(root):
            raise BadSettings(
                f"--signing-key: the key file {place} lies below {root}, where callers may have files read: move it elsewhere."
            )


def settings(
    workspace: Path | None = None,
    allow_root: list[Path] | None = None,
    output_root: list[Path] | None = None,
    host_is: str | None = None,
    policy: Path | None = None,
    allow_user_code: list[Path] | None = None,
    allow_pickle: bool = False,
    job_memory_mb: int | None = None,
    job_minutes: float = 120,
    signing_key: Path | None = None,
) -> Settings:
    """The settings that these options and the environment add up to.

    Raises:
        BadSettings.
    """
    home = _real(workspace or Path(os.environ.get("EDGEOPT_WORKSPACE") or default_workspace()), "--workspace")
    try:
        code = {p.resolve(): hashlib.sha256(p.read_bytes()).hexdigest() for p in allow_user_code or []}
    except OSError as error:
        raise BadSettings(f"--allow-user-code: {error}") from error
    secret = _real(signing_key, "--signing-key") if signing_key else None
    try:
        key = read_key(secret) if secret else None
    except BadKey as error:
        raise BadSettings(f"--signing-key: {error}") from error
    return Settings(
        workspace=home,
        allow_roots=split_roots(allow_root or []),
        output_roots=tuple(_real(p, "--output-root") for p in output_root or []),
        host_is=checked_device(host_is),
        policy=read_policy(policy),
        user_code=code,
        allow_pickle=allow_pickle,
        job_memory_mb=job_memory_mb or machine_memory_mb(),
        job_minutes=job_minutes,
        toolchains=toolchains_folder(),
        max_wait_s=_max_wait_s(),
        signing_key=key,
        witness=witness_of(secret) if secret else None,
        key_file=secret,
    )
