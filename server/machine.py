"""What this machine says of itself."""

from __future__ import annotations

import platform
from pathlib import Path

from ..contract.devices import DEVICES
from ..contract.text import untrusted


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:  # the file is there on some kinds of machine alone
        return ""


def device_name() -> str:
    """The board's or the processor's name, and the number of processors."""
    board = _read("/proc/device-tree/model")
    lines = _read("/proc/cpuinfo").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = board or (models[0] if models else platform.processor() or platform.machine())
    cores = sum(line.startswith("processor") for line in lines) or 1
    return untrusted(f"{name} ({platform.machine()}, {cores} CPUs)", 100)


def is_plausibly(device: str) -> bool:
    """Whether what the machine says of itself agrees with being this target device."""
    return DEVICES[device].says in _read("/proc/device-tree/model")


def nvidia_gpu() -> str | None:
    """The name of the first NVIDIA GPU that the kernel knows; None where there is none."""
    if "NVIDIA Jetson" in (board := _read("/proc/device-tree/model")):
        return untrusted(f"{board}'s GPU", 100)
    for card in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        lines = [line.partition(":") for line in _read(str(card)).splitlines()]
        return untrusted(next((value.strip() for key, _, value in lines if key == "Model"), "NVIDIA GPU"), 100)
    return None
