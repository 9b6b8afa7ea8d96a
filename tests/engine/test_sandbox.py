"""Each attack runs twice in a process of its own: free, where it must succeed (or it would prove nothing), and confined."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeopt.engine import sandbox

HELD = sandbox.capabilities()
pytestmark = pytest.mark.skipif(not HELD["files"], reason="this kernel has no Landlock")
needs_seccomp = pytest.mark.skipif(not HELD["seccomp"], reason="no seccomp filter for this machine")
needs_scope = pytest.mark.skipif(not HELD["signals"], reason="Landlock here cannot keep signals in")

HARNESS = """
import ctypes, fcntl, os, resource, socket, struct, subprocess, sys, threading
from pathlib import Path
from edgeopt.engine import sandbox
outside, inside, bystander, confined, attack = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
original = outside / "original.bin"
libc = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    if function(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
def child(code, **options):
    if subprocess.run([sys.executable, "-S", "-c", code, str(original)], stderr=subprocess.DEVNULL, **options).returncode:
        raise PermissionError(13, "the child was refused")
os.chdir(inside)
if confined == "confined":
    sandbox.enter([inside])
try:
    exec(attack)
except OSError as error:
    print("refused", error.errno)
else:
    print("done")
"""

CONTENT = {
    "write": "original.open('r+b').write(b'x')",
    "overwrite": "original.open('wb')",
    "append": "original.open('ab').write(b'x')",
    "truncate": "os.truncate(original, 0)",
    "unlink": "original.unlink()",
    "rename away": "original.rename(inside / 'mine')",
    "rename beside": "original.rename(outside / 'other')",
    "rename over": "Path('new').write_bytes(b'x'); Path('new').rename(original)",
    "exchange": "Path('new').write_bytes(b'x'); call(libc.renameat2, -100, b'new', -100, bytes(original), 2)",
    "rename the folder": "outside.rename(outside.with_name('elsewhere'))",
    "new file beside": "(outside / 'new').open('x')",
    "new file beside, touched": "(outside / 'new').touch()",
    "new folder beside": "(outside / 'new').mkdir()",
    "symlink beside": "(outside / 'link').symlink_to(original)",
    "symlink inside, write": "Path('link').symlink_to(original); Path('link').write_bytes(b'x')",
    "hard link inside, write": "Path('link').hardlink_to(original); Path('link').write_bytes(b'x')",
    "reopen a descriptor": "fd = os.open(original, os.O_RDONLY); os.open(f'/proc/self/fd/{fd}', os.O_RDWR | os.O_TRUNC)",
    "child": "child('import sys; open(sys.argv[1], \"w\")')",
    "child that leaves the session": "child('import sys; open(sys.argv[1], \"w\")', start_new_session=True)",
    "/dev/shm": "Path('/dev/shm/edgeopt-test').touch(); Path('/dev/shm/edgeopt-test').unlink()",
}
METADATA = {
    "chmod": "original.chmod(0o777)",
    "fchmod": "os.fchmod(os.open(original, os.O_RDONLY), 0o777)",
    "utime": "os.utime(original, (1, 1))",
    "xattr": "os.setxattr(original, 'user.edgeopt', b'x')",
}
NETWORK = {
    "tcp": "socket.create_connection(('127.0.0.1', int((outside / 'port').read_text())), 5)",
    "udp": "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', int((outside / 'port').read_text())))",
    "bind": "socket.create_server(('127.0.0.1', 0))",
    "unix": "socket.socket(socket.AF_UNIX).connect(str(outside / 'socket'))",
    "unix bind": "socket.socket(socket.AF_UNIX).bind('mine')",
}
PROCESSES = {
    "kill": "os.kill(bystander, 9)",
    "kill a child's way": "child(f'import os; os.kill({bystander}, 9)')",
}
LIMITS = {
    "prlimit": "resource.prlimit(bystander, resource.RLIMIT_CPU, (1, 1))",
}
AS_ROOT = {
    "block device": "os.mknod('disk', 0o60600, os.stat('/').st_dev)",
    "character device": "os.mknod('memory', 0o20600, os.makedev(1, 1))",
    "attributes": "fcntl.ioctl(os.open(original, os.O_RDONLY), 0x40086602, struct.pack('l', 0))",
    "name space": "call(libc.unshare, 0x20000)",
    "another's memory": "open(f'/proc/{bystander}/mem', 'r+b')",
    "kernel settings": "fd = open('/proc/sys/kernel/core_pattern', 'r+')",
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "original.bin").write_bytes(b"the original")
    return folder


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def attack(code: str, outside: Path, confined: str, bystander: int = 0, harness: str = HARNESS) -> str:
    inside = outside.parent / confined
    inside.mkdir(exist_ok=True)
    command = [sys.executable, "-P", "-c", harness, str(outside), str(inside), str(bystander), confined, code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def facts(folder: Path) -> object:
    return [
        (path.name, path.read_bytes() if path.is_file() else None, path.lstat()[:4], path.lstat().st_mtime_ns)
        for path in [folder, *sorted(folder.iterdir())]
    ]


@pytest.mark.parametrize("code", CONTENT.values(), ids=CONTENT)
def test_nothing_outside_can_be_changed(code: str, outside: Path):
    before = facts(outside)
    assert attack(code, outside, "confined").startswith("refused")
    assert facts(outside) == before
    assert attack(code, outside, "free") == "done"


@needs_seccomp
@pytest.mark.parametrize("abi", [1, 2, 3, 4, 5, 6])
def test_older_kernels_cannot_be_truncated_either(abi: int, outside: Path):
    """Played by asking this kernel for no more than the older one has. Before ABI 3 Landlock has no word for it."""
    before = facts(outside)
    older = HARNESS.replace("if confined", f"sandbox.abi = lambda: min({abi}, {HELD['landlock']})\nif confined")
    for code in (CONTENT["truncate"], CONTENT["write"], CONTENT["hard link inside, write"]):
        assert attack(code, outside, "confined", harness=older).startswith("refused")
    assert facts(outside) == before


@needs_seccomp
@pytest.mark.parametrize("code", METADATA.values(), ids=METADATA)
def test_metadata_stays_though_the_call_succeeds(code: str, outside: Path):
    before, attributes = facts(outside), os.listxattr(outside / "original.bin")
    assert attack(code, outside, "confined") == "done"
    assert facts(outside) == before
    assert os.listxattr(outside / "original.bin") == attributes
    assert attack(code, outside, "free") == "done"
    assert (facts(outside), os.listxattr(outside / "original.bin")) != (before, attributes)


@needs_seccomp
@pytest.mark.parametrize("code", NETWORK.values(), ids=NETWORK)
def test_no_socket_of_any_kind(code: str, outside: Path):
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(outside / "socket"))
        unix.listen()
        (outside / "port").write_text(str(tcp.getsockname()[1]))
        assert attack(code, outside, "confined") == "refused 13"
        assert attack(code, outside, "free") == "done"


@needs_scope
@pytest.mark.parametrize("code", PROCESSES.values(), ids=PROCESSES)
def test_other_processes_get_no_signal(code: str, outside: Path, bystander: subprocess.Popen[bytes]):
    assert attack(code, outside, "confined", bystander.pid).startswith("refused")
    assert bystander.poll() is None
    assert attack(code, outside, "free", bystander.pid) == "done"
    assert bystander.wait(10) == -9


@needs_seccomp
@pytest.mark.parametrize("code", LIMITS.values(), ids=LIMITS)
def test_other_processes_keep_their_limits(code: str, outside: Path, bystander: subprocess.Popen[bytes]):
    assert attack(code, outside, "confined", bystander.pid) == "refused 1"
    assert attack(code, outside, "free", bystander.pid) == "done"


@needs_seccomp
@pytest.mark.skipif(os.geteuid() != 0, reason="only root could do it anyway")
@pytest.mark.parametrize("code", AS_ROOT.values(), ids=AS_ROOT)
def test_root_gets_no_further(code: str, outside: Path, bystander: subprocess.Popen[bytes]):
    assert attack(code, outside, "confined", bystander.pid).startswith("refused")
    assert attack(code, outside, "free", bystander.pid) == "done"


@pytest.mark.parametrize(
    "code",
    [
        "assert original.read_bytes()",
        "Path('new').write_bytes(b'x'); Path('new').rename('other'); Path('other').unlink()",
        "Path('folder').mkdir(); Path('new').touch(); Path('new').rename('folder/new'); os.truncate('folder/new', 5)",
        "Path('new').touch(); Path('new').stat(); Path('new').touch()",
        "import shutil; shutil.copy2(original, 'copy')",
        "os.utime(os.open('new', os.O_CREAT))",
        "Path('/dev/null').write_bytes(b'x')",
        "a, b = socket.socketpair(); a.send(b'x')",
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
        "subprocess.run(['true'], check=True); thread = threading.Thread(target=print); thread.start(); thread.join()",
    ],
)
def test_work_goes_on_inside(code: str, outside: Path):
    assert attack(code, outside, "confined").splitlines()[-1] == "done"


def test_a_second_thread_would_stay_outside_so_it_is_refused(tmp_path: Path):
    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="second thread"):
            sandbox.enter([tmp_path])
    finally:
        release.set()
        thread.join()
    (tmp_path.parent / "still free").touch()


READING = {
    "itself": "secret",
    "through a link": "Path('link').symlink_to(secret) or Path('link')",
    "through a hard link": "Path('link').hardlink_to(secret) or Path('link')",
    "through /proc": "Path(f'/proc/self/root{secret}')",
    "from a child": "subprocess.check_output(['cat', secret]) and secret",
}


@pytest.mark.parametrize("confined", [False, True])
@pytest.mark.parametrize("way", READING)
def test_a_hidden_file_is_not_read_and_everything_else_is(tmp_path: Path, way: str, confined: bool):
    secret, inside = tmp_path / "keys" / "secret", tmp_path / "work" / "files"
    inside.mkdir(parents=True)
    secret.parent.mkdir()
    secret.write_text("secret")
    others = [tmp_path / "keys" / "public", tmp_path / "model", tmp_path / "data" / "deep" / "test", inside / "mine"]
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("read me")
    code = f"""
import os, subprocess, sys
from pathlib import Path
from edgeopt.engine import sandbox
secret, inside = Path({str(secret)!r}), Path({str(inside)!r})
os.chdir(inside)
if {confined}:
    sandbox.enter([inside], hidden=[secret])
for other in {[str(other) for other in others]!r}:
    assert Path(other).read_text() == "read me"
Path("new").write_text("new")
assert Path("new").read_text() == "new"
assert secret.exists() and os.listdir(secret.parent)
try:
    print(({READING[way]}).read_text())
except (OSError, subprocess.CalledProcessError):
    print("refused")
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == ("refused" if confined else "secret"), done.stderr


def test_a_folder_that_may_not_be_listed_does_not_hide_what_is_known_to_lie_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As /home on machines that many share."""
    home, model = tmp_path / "home", tmp_path / "home" / "shared" / "net.onnx"
    secret, mine = home / "me" / "keys" / "key", home / "me" / "data"
    for file in (model, secret, mine):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    really_scan = os.scandir

    def scan(place: Path) -> object:
        if place == home:
            raise PermissionError(13, "not yours to list")
        return really_scan(place)

    monkeypatch.setattr(os, "scandir", scan)
    readable = list(sandbox._all_but([secret], [model.parent]))
    assert model.parent in readable and mine in readable
    assert not any(secret.is_relative_to(place) for place in readable)


# A terminal stands for a GPU: written to, and sent a command (TIOCGPTN).
DEVICE = """
import fcntl, os, sys
from pathlib import Path
from edgeopt.engine import sandbox
sandbox.enter([Path(sys.argv[1])], devices=[Path(path) for path in sys.argv[2:]])
try:
    fcntl.ioctl(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY), 0x80045430, bytes(4))
except OSError as error:
    print("refused", error.errno)
else:
    print("done")
"""


@pytest.mark.parametrize(("devices", "result"), [([], "refused 13"), (["/dev/ptmx"], "done")])
def test_a_device_is_used_only_where_it_is_granted(tmp_path: Path, devices: list[str], result: str):
    if not Path("/dev/ptmx").is_char_device():
        pytest.skip("this machine has no /dev/ptmx")
    command = [sys.executable, "-P", "-c", DEVICE, str(tmp_path), *devices]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == result


def test_gpus_are_granted_to_jobs_on_engines_alone():
    from edgeopt.engine.supervisor import _on_gpu

    assert _on_gpu({"kind": "optimize", "step": {"technique": "tensorrt"}, "parent_path": "net.onnx"})
    assert _on_gpu({"kind": "benchmark", "baseline_path": "net.onnx", "variant_path": "v1/net.engine"})
    assert not _on_gpu({"kind": "optimize", "step": {"technique": "float16"}, "parent_path": "net.onnx"})
    assert all(path.is_char_device() for path in sandbox.gpu_devices())
