"""The first bytes of a TensorRT engine (a "plan"), as NVIDIA's own trtexec reads them (--getPlanVersionOnly)."""

from __future__ import annotations

MAGIC = b"ftrt"
LENGTH = 28


def plan_version(head: bytes) -> str | None:
    """The TensorRT that wrote the engine, as `10.16.1`; None where these bytes do not begin a whole header, or it is of
    another layout than the one that is known (0).

    The fourth number, of the build, is a byte here and need not be in the library's version: it is left out.
    """
    if not head.startswith(MAGIC) or len(head) < LENGTH or any(head[4:8]):
        return None
    return ".".join(str(number) for number in head[24:27])
