"""Keys on the command line: made for their owner alone, asked for where histories are signed, never handed to workers."""

from __future__ import annotations

import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeopt.contract.signing import SigningKey, new_key
from edgeopt.engine.digests import SIGNATURE, SIGNER, SUMS
from edgeopt.server.keys import BadKey, make_key, read_key
from edgeopt.server.settings import settings as from_options

from ..tools import planted
from ..tools.finished import Finished
from .test_command_line import edgeopt_says, flip


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path):
    file = tmp_path / "edgeopt.key"
    made = edgeopt_says("key", file)
    assert made.returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_bytes()
    again = edgeopt_says("key", file)
    assert file.read_bytes() == secret
    number = read_key(file).public.id
    for said in (made.stdout, again.stdout):
        assert number in said and f"{file}.pub" in said
        assert "PRIVATE" not in said
    assert (tmp_path / "edgeopt.key.pub").read_bytes() == read_key(file).public.pem()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_makes_keys_for_us_and_reads_ours(tmp_path: Path):
    theirs, ours = tmp_path / "theirs.key", tmp_path / "ours.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", theirs], check=True)
    theirs.chmod(0o600)
    assert read_key(theirs).sign(b"message")
    edgeopt_says("key", ours)
    told = subprocess.run(["openssl", "pkey", "-pubin", "-in", f"{ours}.pub", "-text"], check=True, capture_output=True)
    assert b"ED25519" in told.stdout.upper()


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.chmod(0o640), "chmod 600"),
        (lambda file: file.chmod(0o604), "chmod 600"),
        (lambda file: file.write_bytes(b""), "no private key"),
        (lambda file: file.write_bytes(new_key().public.pem()), "no private key"),
        (lambda file: file.unlink(), "No such file"),
        (lambda file: (file.unlink(), file.mkdir()), "no regular file"),
    ],
)
def test_a_file_that_is_no_key_or_no_secret_is_not_used(tmp_path: Path, spoil: Spoil, words: str):
    file = tmp_path / "key"
    make_key(file)
    spoil(file)
    with pytest.raises(BadKey, match=words):
        read_key(file)


def test_the_key_comes_from_the_option_or_the_environment_and_is_not_shown(tmp_path: Path):
    key = make_key(tmp_path / "key")
    chosen = from_options(tmp_path / "workspace", [tmp_path], signing_key=tmp_path / "key")
    assert isinstance(chosen.signing_key, SigningKey)
    assert chosen.signing_key.public.id == key.public.id
    assert key.pem().decode() not in repr(chosen)


@pytest.mark.parametrize("place", ["roots", "workspace"])
def test_a_key_does_not_lie_where_callers_may_have_files_read(tmp_path: Path, place: str):
    for folder in ("roots", "workspace"):
        (tmp_path / folder).mkdir()
    make_key(tmp_path / place / "key")
    given = ("--workspace", tmp_path / "workspace", "--allow-root", tmp_path / "roots")
    done = edgeopt_says("serve", *given, "--signing-key", tmp_path / place / "key")
    assert done.returncode == 2
    assert "move it elsewhere" in done.stderr
    made_elsewhere = make_key(tmp_path / "key")
    done = edgeopt_says("serve", *given, EDGEOPT_SIGNING_KEY=str(tmp_path / "key"))
    assert (done.returncode, made_elsewhere.public.id) == (0, read_key(tmp_path / "key").public.id)


# Signed workspaces


def test_what_comes_before_the_key_is_signed_by_a_person(tmp_path: Path):
    planted.failing(tmp_path)
    workspace, key, other = tmp_path / "workspace", tmp_path / "key", tmp_path / "other"
    make_key(key)
    make_key(other)
    at = ("--workspace", workspace)
    before = edgeopt_says("report", planted.SESSION, *at, "--signing-key", key)
    assert before.returncode == 1
    assert "event 1 " in before.stderr and "edgeopt sign" in before.stderr
    nobody = edgeopt_says("sign", *at, "--signing-key", key)
    assert nobody.returncode == 1 and "--yes" in nobody.stderr
    done = edgeopt_says("sign", *at, "--yes", EDGEOPT_SIGNING_KEY=str(key))
    assert (done.returncode, "1 histories signed" in done.stdout) == (0, True)
    assert "Tradeoff" in edgeopt_says("report", planted.SESSION, *at, "--signing-key", key).stdout
    without = edgeopt_says("report", planted.SESSION, *at)
    assert without.returncode == 1 and "--signing-key" in without.stderr
    changed = edgeopt_says("report", planted.SESSION, *at, "--signing-key", other)
    assert changed.returncode == 1 and "another key" in changed.stderr
    told = edgeopt_says("doctor", *at, "--signing-key", key)
    assert read_key(key).public.id in told.stdout
    assert edgeopt_says("sign", *at, "--yes").returncode == 2


# Signed packages


def sign(package: Path, key: SigningKey) -> Path:
    (package / SIGNATURE).write_bytes(key.sign((package / SUMS).read_bytes()))
    (package / SIGNER).write_bytes(key.public.pem())
    return package


@pytest.fixture
def package(finished: Finished, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.package, tmp_path / "package"))


def test_a_package_says_whose_signature_it_has(package: Path, tmp_path: Path):
    key, stranger = new_key(), new_key()
    pem, other = tmp_path / "key.pub", tmp_path / "stranger.pub"
    pem.write_bytes(key.public.pem())
    other.write_bytes(stranger.public.pem())
    unsigned = edgeopt_says("verify", package)
    assert (unsigned.returncode, "not signed" in unsigned.stdout) == (0, True)
    wanted = edgeopt_says("verify", package, "--key", pem)
    assert (wanted.returncode, "not signed" in wanted.stdout) == (1, True)
    sign(package, key)
    for arguments, status, words in (
        ([], 0, key.public.id),
        (["--key", pem], 0, "the one that was asked for"),
        (["--key", other], 1, f"not with {stranger.public.id}"),
    ):
        done = edgeopt_says("verify", package, *arguments)
        assert (done.returncode, words in done.stdout) == (status, True), done.stdout


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: flip(p / SIGNATURE), "WRONG"),
        (lambda p: (p / SIGNER).write_bytes(new_key().public.pem()), "WRONG"),
        (lambda p: (p / SIGNER).write_text("nobody"), "WRONG"),
        (lambda p: (p / SIGNER).unlink(), "not whole"),
        (lambda p: (p / SIGNATURE).unlink(), "not whole"),
        (lambda p: flip(p / "metadata.json"), "were changed"),
    ],
)
def test_a_signature_that_is_none_is_not_taken_for_one(package: Path, spoil: Spoil, words: str):
    spoil(sign(package, new_key()))
    done = edgeopt_says("verify", package)
    assert done.returncode == 1
    assert "NOT VERIFIED" in done.stdout and words in done.stdout


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_alone_checks_a_signed_package(package: Path):
    sign(package, new_key())
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        SIGNER,
        "-rawin",
        "-in",
        SUMS,
        "-sigfile",
        SIGNATURE,
    ]
    assert subprocess.run(command, cwd=package, check=False).returncode == 0
    assert subprocess.run(["sha256sum", "--quiet", "-c", SUMS], cwd=package, check=False).returncode == 0
    flip(package / SIGNATURE)
    assert subprocess.run(command, cwd=package, check=False).returncode != 0


def test_a_public_key_that_is_none_is_said_to_be_none(tmp_path: Path):
    for file in (tmp_path / "nowhere", planted.file(tmp_path / "file")):
        done = edgeopt_says("verify", tmp_path, "--key", file)
        assert done.returncode == 2
        assert "--key" in done.stderr
