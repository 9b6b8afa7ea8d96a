"""Whether a package is whole, and its model still answers as recorded."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ...contract.signing import NoKey, public_key
from ...contract.text import untrusted
from ..bench import Bench
from ..digests import SIGNATURE, SIGNER, SUMS, file_digest
from ..jobs import Verified, VerifyPackage
from ..models.model_file import open_file
from ..problems import JobProblem
from ..runtimes.catalog import missing
from .composing import INFER, format_of

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def run(task: VerifyPackage, bench: Bench) -> Verified:
    """Checks every file against SHA256SUMS and its signature, then repeats the recorded inferences in a fresh process.

    Only edgeopt's own infer.py is run: a package is a stranger's folder.
    """
    folder = Path(task.path)
    if flaw := broken(folder):
        return Verified(verified=False, verification=flaw)
    signed, whose = signature(folder, task.public_key)
    if not signed:
        return Verified(verified=False, verification=whose)
    format = format_of((folder / INFER).read_bytes())
    if format is None:
        return Verified(
            verified=False,
            verification=f"the files are those of {SUMS}, but {INFER} is not one that this version of edgeopt writes, so it"
            " was not run. Where an earlier version made the package, make it again with package_variant; if you trust the"
            f" package, run `python -I {INFER} --verify` in it yourself",
        )
    if lacking := missing(format):
        return Verified(verified=False, verification=f"the files are those of {SUMS}, but nothing was run: {lacking}")
    if strange := _strange(folder, format):
        return Verified(verified=False, verification=f"{strange}, so it was not run")
    bench.report(0.5, "repeating the recorded inferences")
    verified, said = repeat_recorded(folder)
    return Verified(verified=verified, verification=f"{said}; {whose}")


def _strange(folder: Path, format: str) -> str | None:
    """Why the file that infer.py opens is no model of this format, or one that runs its author's code; None where it is
    fit, or absent, which infer.py will say."""
    try:
        about = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
        model = folder / Path(about["model"]).name
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        return f"preprocessing.json does not name the model ({untrusted(str(error), 60)})"
    if not model.exists():
        return None
    try:
        found = open_file(model)
        found.check([])
    except JobProblem as problem:
        return problem.problem.message
    if found.format != format:
        return f"the model {untrusted(model.name)} is one in {found.format}, and {INFER} is that of {format}"
    return None


def signature(folder: Path, wanted: str | None) -> tuple[bool, str]:
    """Whether the signature of a package that is whole holds (or there is none and none is `wanted`, a public key in
    PEM), and in words whose it is."""
    present = [name for name in (SIGNATURE, SIGNER) if (folder / name).exists()]
    if not present:
        return wanted is None, "it is not signed"
    if len(present) == 1:
        return False, f"the signature is not whole: there is only {present[0]}"
    try:
        key = public_key((folder / SIGNER).read_bytes())
    except NoKey as error:
        return False, f"the signature is WRONG: {SIGNER} is no key ({error})"
    if not key.verifies((folder / SUMS).read_bytes(), (folder / SIGNATURE).read_bytes()):
        return False, f"the signature is WRONG: key {key.id} did not sign this {SUMS}"
    if wanted is None:
        return True, f"signed with key {key.id} (whose key that is, only `--key FILE` can tell)"
    asked = public_key(wanted.encode())
    if asked.pem() != key.pem():
        return False, f"it is signed with key {key.id}, and not with {asked.id}"
    return True, f"signed with key {key.id}, the one that was asked for"


def broken(folder: Path) -> str | None:
    """Why the folder is not the package that its SHA256SUMS describes; None where it is."""
    if not folder.is_dir():
        return f"{untrusted(folder.name)} is not a folder"
    odd = [name for name, path in _entries(folder) if not stat.S_ISREG(path.lstat().st_mode)]
    if odd:
        return f"the package holds what is not a regular file (a link, a device): {_shown(odd)}"
    present = {name for name, _ in _entries(folder)}
    if SUMS not in present:
        return f"the package has no {SUMS}"
    listed: dict[str, str] = {}
    for line in (folder / SUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        match = _LINE.fullmatch(line)
        if match is None or not _plain(match[2]) or match[2] in listed:
            return f"{SUMS} has a line that is not `digest  file`, once for each file of the package: {untrusted(line)}"
        listed[match[2]] = match[1]
    if missing := sorted(set(listed) - present):
        return f"files of the package are missing: {_shown(missing)}"
    if extra := sorted(present - set(listed) - {SUMS, SIGNATURE, SIGNER}):
        return f"the package holds files that {SUMS} does not list: {_shown(extra)}"
    changed = [name for name, sha256 in sorted(listed.items()) if file_digest(folder / name).sha256 != sha256]
    return f"files were changed since the package was made: {_shown(changed)}" if changed else None


def _entries(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every entry but folders, with its path inside the package. Links to folders are entries, and are not followed."""
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        for name in (*links, *names):
            path = Path(place, name)
            yield path.relative_to(folder).as_posix(), path


def _plain(name: str) -> bool:
    """A relative path that stays inside the package."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and str(path) == name


def _shown(names: list[str]) -> str:
    return ", ".join(untrusted(name, 60) for name in names[:5]) + (", …" if len(names) > 5 else "")


def repeat_recorded(folder: Path) -> tuple[bool, str]:
    """Runs `infer.py --verify` as its user will: in a fresh interpreter that knows nothing of edgeopt's environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    process = subprocess.run(
        [sys.executable, "-I", "-B", INFER, "--verify"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    out, err = (text.decode(errors="replace").splitlines() for text in (process.stdout, process.stderr))
    if process.returncode == 0:
        return True, untrusted((out or ["it said nothing"])[-1], 300)
    # Frameworks write to stderr as they please, also at the end.
    refused = [line for line in err if line.startswith("NOT verified")]
    last = (refused or [line for line in (*out, *err) if line.strip()] or ["it said nothing"])[-1]
    return False, untrusted(f"`python {INFER} --verify` ended with exit status {process.returncode}: {last}", 300)
