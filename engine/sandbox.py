"""Confines a process to a few writable folders: Landlock for the content and names of files, seccomp for the rest.

Both are needed. Landlock has no word for UDP, for UNIX sockets that have a path, or for metadata (mode, owner, times,
attributes); seccomp cannot look at paths. Together they cost under a millisecond and are inherited by every child.
Linux and the standard library only: the supervisor enters it between fork and exec, so nothing of a worker runs outside.

What remains open, by design: reading whatever the user can read, but for the files that are named as `hidden`. What must never be done: linking a file into a
writable folder, or leaking a writable descriptor to a worker; both would reach around the sandbox.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True) if _LINUX else None

# Landlock, <linux/landlock.h>: the system calls have the same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_ONLY = 1
_PATH_BENEATH = 1
_RIGHTS = [
    *("execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir"),
    *("make_reg", "make_sock", "make_fifo", "make_block", "make_sym", "refer", "truncate", "ioctl_dev"),
]
_BIT = {name: 1 << index for index, name in enumerate(_RIGHTS)}
_SINCE = {"refer": 2, "truncate": 3, "ioctl_dev": 5}
_TCP_SINCE, _SCOPE_SINCE = 4, 6
_NOT_RESTRICTED = {"execute", "read_dir"}
# A block device that root makes in its own folder is the whole disk, originals included.
_NEVER_GRANTED = {"make_char", "make_block", "make_sock", "ioctl_dev"}
_ON_A_FILE = _BIT["write_file"] | _BIT["truncate"]
_ON_A_DEVICE = _BIT["write_file"] | _BIT["ioctl_dev"]

_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_SECCOMP_MODE_FILTER = 2

# System calls as (x86_64, aarch64); None where the architecture has no such call.
_Numbers = tuple[int | None, int | None]
_DENIED: dict[str, _Numbers] = {
    # Ways out: sockets of every family, other processes' memory and name spaces, raw access around the file system.
    "socket": (41, 198),
    "io_uring_setup": (425, 425),
    "ptrace": (101, 117),
    "process_vm_writev": (311, 271),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_by_handle_at": (304, 265),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    # The machine itself, where the user is root.
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "iopl": (172, None),
    "ioperm": (173, None),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # Clocks: who sets them can make any latency.
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
}
_TRUNCATE: dict[str, _Numbers] = {"truncate": (76, 45)}
# Metadata: these answer success and do nothing, because frameworks copy modes and times and check the answer.
_PRETENDED: dict[str, _Numbers] = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
_IOCTL: _Numbers = (16, 29)
# FS_IOC_SETFLAGS, FS_IOC_SETVERSION and FS_IOC_FSSETXATTR change a file through a read-only descriptor; FIFREEZE stops
# a file system; TIOCSTI types into a terminal.
_DENIED_IOCTLS = (0x40086602, 0x40087602, 0x401C5820, 0xC0045877, 0x5412)
# Times: pretended too, but `path.touch()` of a new file asks for the present first and creates only after an error.
_UTIMENSAT: _Numbers = (280, 88)
# Limits of another process: an RLIMIT_CPU of a second kills it without a signal.
_PRLIMIT: _Numbers = (302, 261)

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def abi() -> int:
    """Landlock's ABI version; 0 where the kernel has none or has it switched off."""
    if _libc is None:
        return 0
    return max(0, _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_ONLY))


def capabilities() -> dict[str, int | bool]:
    """What the sandbox holds on this machine.

    `landlock` is the ABI version and `seccomp` whether filters exist; what they amount to: `files` (nothing outside
    the writable folders can be changed), `metadata`, `network`, `signals` (none to processes outside).
    """
    landlock = abi()
    seccomp = _LINUX and platform.machine() in _AUDIT_ARCH and Path("/proc/sys/kernel/seccomp/actions_avail").exists()
    return {
        "landlock": landlock,
        "seccomp": seccomp,
        "files": landlock >= _SINCE["truncate"] or (landlock > 0 and seccomp),
        "metadata": seccomp,
        "network": seccomp,
        "signals": landlock >= _SCOPE_SINCE,
    }


def enter(
    writable: Iterable[Path],
    files: Iterable[Path] = (Path("/dev/null"),),
    hidden: Iterable[Path] = (),
    known: Iterable[Path] = (),
    devices: Iterable[Path] = (),
) -> dict[str, int | bool]:
    """Confines this process, for ever: it may write below the folders `writable` and to `files`, and nowhere else; it may
    not read the files `hidden`, nor what appears beside them or in the folders above them later. `known`: folders to read,
    should one above them be closed to listing. `devices`: to which it may write and send commands (`gpu_devices`).

    Returns `capabilities()`, all of which holds afterwards. OSError where the kernel refuses what it claims to have;
    RuntimeError with more than one thread, because Landlock would leave the other threads outside.
    """
    held = capabilities()
    if not _LINUX:
        return held
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise RuntimeError("the sandbox must be entered before there is a second thread")
    _check(_call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if held["landlock"]:
        secrets = [path.resolve() for path in hidden]
        readable = list(_all_but(secrets, [path.resolve() for path in known]))
        _landlock(int(held["landlock"]), writable, files, readable, devices)
    if held["seccomp"]:
        _seccomp(deny_truncate=int(held["landlock"]) < _SINCE["truncate"])
    return held


def gpu_devices() -> list[Path]:
    """The device files by which NVIDIA's driver is used here, on a PC (nvidia*) or a Jetson (nvgpu, nvhost, nvmap ...);
    CUDA finds no GPU without them."""
    places = ("nvidia*", "nvidia-caps/*", "nvgpu/**/*", "nvhost*", "nvmap", "nvsciipc", "host1x-fence")
    found = {path for place in places for path in Path("/dev").glob(place)}
    return sorted(path for path in found if path.is_char_device())


def _landlock(
    version: int,
    writable: Iterable[Path],
    files: Iterable[Path],
    readable: list[Path],
    devices: Iterable[Path],
) -> None:
    """`readable`: all that may be read; nothing where reading is not restricted."""
    handled = {name for name in _RIGHTS if name not in _NOT_RESTRICTED and _SINCE.get(name, 1) <= version}
    if not readable:
        handled.remove("read_file")
    below = sum(_BIT[name] for name in handled - _NEVER_GRANTED)
    every = sum(_BIT[name] for name in handled)
    # struct landlock_ruleset_attr {access_fs, access_net, scoped}: as long as this kernel knows it.
    size = 24 if version >= _SCOPE_SINCE else 16 if version >= _TCP_SINCE else 8
    attributes = struct.pack("QQQ", every, 3, 3)[:size]
    ruleset = _check(_call("syscall", _CREATE_RULESET, attributes, ctypes.c_size_t(size), 0), "landlock_create_ruleset")
    try:
        for path in writable:
            _allow(ruleset, path, below)
        for path in files:
            _allow(ruleset, path, every & _ON_A_FILE)
        for path in devices:
            _allow(ruleset, path, every & _ON_A_DEVICE)
        for path in readable:
            with suppress(OSError):  # it has gone since, or is not ours to look at
                _allow(ruleset, path, _BIT["read_file"])
        _check(_call("syscall", _RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def _all_but(hidden: list[Path], known: list[Path]) -> Iterator[Path]:
    """The fewest files and folders that together are everything but these files: Landlock can only allow. Of a folder that
    may not be listed only what is `known` to lie in it is found, and the way to the files."""
    places = [Path("/"), *known] if hidden else []
    while places:
        place = places.pop()
        inside = [secret.relative_to(place) for secret in hidden if secret.is_relative_to(place)]
        if not inside:
            yield place
        elif place not in hidden:
            try:
                with os.scandir(place) as entries:
                    places += [Path(entry.path) for entry in entries if not entry.is_symlink()]
            except OSError:
                places += [place / secret.parts[0] for secret in inside]


def _allow(ruleset: int, path: Path, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, parent)
        _check(_call("syscall", _ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), f"landlock_add_rule {path}")
    finally:
        os.close(parent)


def _seccomp(*, deny_truncate: bool) -> None:
    machine = platform.machine()
    column = list(_AUDIT_ARCH).index(machine)
    program = b"".join(_filter(column, _AUDIT_ARCH[machine], deny_truncate=deny_truncate))
    code = ctypes.create_string_buffer(program)
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
    _check(_call("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0), "seccomp")


def _filter(column: int, arch: int, *, deny_truncate: bool) -> list[bytes]:
    """The classic BPF program. Offsets are those of struct seccomp_data {nr, arch, instruction_pointer, args[6]}."""
    program = [_load(4), *_unless(arch, _answer(errno.ENOSYS)), _load(0)]
    if column == 0:
        # x32 calls: another set of numbers behind the same architecture.
        program += [_jump(0x35, 0x40000000, 0, 1), _answer(errno.ENOSYS)]
    denied = _DENIED | _TRUNCATE if deny_truncate else _DENIED
    for table, error in ((denied, errno.EACCES), (_PRETENDED, 0)):
        for numbers in table.values():
            program += _when(numbers[column], [_answer(error)])
    refused, pretended, allowed = _answer(errno.EPERM), _answer(0), _return(_ALLOW)
    requests = [part for request in _DENIED_IOCTLS for part in _when(request, [refused])]
    program += _when(_IOCTL[column], [_load(_argument(1)), *requests, allowed])
    program += _when(_PRLIMIT[column], [_load(_argument(0)), *_unless(0, refused), allowed])
    times_given, path_given = _unless_null(2, pretended), _unless_null(1, refused)
    program += _when(_UTIMENSAT[column], [*times_given, *path_given, pretended])
    return [*program, allowed]


def _argument(index: int) -> int:
    """Offset of the lower word; the higher one follows (both architectures are little-endian)."""
    return 16 + 8 * index


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", 0x20, 0, 0, offset)


def _jump(test: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("HBBI", test, if_true, if_false, value)


def _return(action: int) -> bytes:
    return struct.pack("HBBI", 0x06, 0, 0, action)


def _answer(error: int) -> bytes:
    return _return(_ERRNO | error)


def _when(value: int | None, body: list[bytes]) -> list[bytes]:
    """`body`, which must end in a return, runs where the loaded word equals `value`."""
    return [] if value is None else [_jump(0x15, value, 0, len(body)), *body]


def _unless(value: int, instruction: bytes) -> list[bytes]:
    return [_jump(0x15, value, 1, 0), instruction]


def _unless_null(index: int, instruction: bytes) -> list[bytes]:
    """`instruction` runs where the argument is a pointer to something."""
    halves = (_argument(index), _argument(index) + 4)
    return [part for half in halves for part in (_load(half), *_unless(0, instruction))]


def _call(function: str, *arguments: object) -> int:
    assert _libc is not None
    return getattr(_libc, function)(*arguments)


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result
