"""What the kernel shows of the machine's condition: load average, clock, governor, throttling. Never more than it shows.

`root` is where /proc and /sys lie, here and below: `/`, but in tests. Imports little: what times a model reads this too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")

# The firmware of a Raspberry Pi, get_throttled: bits 0 to 3 are what holds the clock down now (too little voltage, heat),
# 16 to 19 what has since boot.
_NOW, _SINCE_BOOT = 0xF, 0xF0000
_COOLS_CPUS = ("cpufreq", "thermal-cpufreq", "Processor")


@dataclass(frozen=True)
class Throttling:
    """`events`: since boot, a number that only grows. `now`: something holds the clock down at this moment."""

    events: int
    now: bool

    @classmethod
    def read(cls, root: Path = ROOT) -> Throttling | None:
        """From the counters of the CPUs (x86), the cooling devices (most ARM boards), the firmware (Raspberry Pi); None
        where the kernel shows none of them."""
        cpus = root / "sys/devices/system/cpu"
        counters = _numbers(cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
        devices = root.glob("sys/class/thermal/cooling_device*")
        cooling = _numbers(d / "cur_state" for d in devices if (_text(d / "type") or "").startswith(_COOLS_CPUS))
        boards = root.glob("sys/bus/platform/drivers/raspberrypi-firmware/*/get_throttled")
        firmware = [int(word, 16) for board in boards if (word := _text(board))]
        if not counters and not cooling and not firmware:
            return None
        return cls(
            events=int(sum(counters)) + sum((bits & _SINCE_BOOT).bit_count() for bits in firmware),
            now=any(cooling) or any(bits & _NOW for bits in firmware),
        )

    def until(self, later: Throttling) -> bool:
        """Whether the clock was held down at either moment or, where that is counted, in between."""
        return self.now or later.now or later.events > self.events


@dataclass(frozen=True)
class Condition:
    """One moment. `load`: the load average of the last minute. `mhz`: mean over the CPUs."""

    load: float
    mhz: float | None
    governor: str | None
    throttling: Throttling | None

    @classmethod
    def read(cls, root: Path = ROOT) -> Condition:
        return cls(
            load=float((root / "proc/loadavg").read_text().split()[0]),
            mhz=_mhz(root),
            governor=governor(root),
            throttling=Throttling.read(root),
        )


def governor(root: Path = ROOT) -> str | None:
    """The frequency governor of the first CPU: `performance`, `schedutil` ..."""
    return _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def _mhz(root: Path) -> float | None:
    """By cpufreq (in kHz) where there is that, else by /proc/cpuinfo, which ARM kernels leave it out of."""
    clocks = _numbers((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq"))
    clocks = [khz / 1000 for khz in clocks]
    if not clocks:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
        clocks = [float(line.split(":", 1)[1]) for line in lines if line.startswith("cpu MHz")]
    return sum(clocks) / len(clocks) if clocks else None


def _numbers(files: Iterable[Path]) -> list[float]:
    words = (_text(file) for file in files)
    return [float(word) for word in words if word and word.replace(".", "", 1).isdigit()]


def _text(file: Path) -> str | None:
    """What a file of the kernel says; None where there is no such file, or the CPU or driver behind it does not answer."""
    try:
        return file.read_text().strip()
    except OSError:
        return None
