"""The machine's condition as kernels of several kinds show it: made-up trees of /proc and /sys, and this machine's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeopt.engine.measure.condition import Condition, Throttling
from edgeopt.engine.measure.machine import Load
from edgeopt.engine.measure.watch import condition

CPU = "sys/devices/system/cpu"
X86 = {
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "3400000",
    f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "1800000",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3",
    f"{CPU}/cpu0/thermal_throttle/package_throttle_count": "40",
    f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "2",
}
PI = {
    "proc/cpuinfo": "processor\t: 0\nModel\t: Raspberry Pi 5",
    f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "2400000",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "ondemand",
    "sys/bus/platform/drivers/raspberrypi-firmware/soc:firmware/get_throttled": "0",
}
BOARD = {
    "sys/class/thermal/cooling_device0/type": "thermal-cpufreq-0",
    "sys/class/thermal/cooling_device0/cur_state": "0",
    "sys/class/thermal/cooling_device1/type": "pwm-fan",
    "sys/class/thermal/cooling_device1/cur_state": "4",
}
VM = {"proc/cpuinfo": "cpu MHz\t\t: 2600.000\nflags\t: fpu\ncpu MHz\t\t: 2400.000"}


def tree(root: Path, *files: dict[str, str], load: str = "0.42") -> Path:
    everything = {"proc/loadavg": f"{load} 0.38 0.96 1/80 77", "proc/cpuinfo": ""}
    for path, text in {**everything, **{p: t for some in files for p, t in some.items()}}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n")
    return root


def test_what_a_kernel_does_not_show_is_none(tmp_path: Path):
    assert Condition.read(tree(tmp_path)) == Condition(load=0.42, mhz=None, governor=None, throttling=None)


@pytest.mark.parametrize(
    ("files", "mhz", "governor", "throttling"),
    [
        (X86, 2600, "powersave", Throttling(45, now=False)),
        (PI, 2400, "ondemand", Throttling(0, now=False)),
        (BOARD, None, None, Throttling(0, now=False)),
        (VM, 2500, None, None),
    ],
    ids=["x86", "Raspberry Pi", "another board", "virtual machine"],
)
def test_every_kernel_is_read_its_way(
    files: dict[str, str], mhz: float | None, governor: str | None, throttling: Throttling | None, tmp_path: Path
):
    seen = Condition.read(tree(tmp_path, files))
    assert (seen.mhz, seen.governor, seen.throttling) == (mhz, governor, throttling)


@pytest.mark.parametrize(
    ("files", "path", "later"),
    [
        (X86, f"{CPU}/cpu1/thermal_throttle/core_throttle_count", "3"),
        (PI, "sys/bus/platform/drivers/raspberrypi-firmware/soc:firmware/get_throttled", "0x4"),
        (PI, "sys/bus/platform/drivers/raspberrypi-firmware/soc:firmware/get_throttled", "50000"),
        (BOARD, "sys/class/thermal/cooling_device0/cur_state", "2"),
    ],
    ids=["count", "throttled now", "throttled since", "cooling"],
)
def test_throttling_in_between_is_seen(files: dict[str, str], path: str, later: str, tmp_path: Path):
    before = Condition.read(tree(tmp_path, files))
    same = Condition.read(tree(tmp_path, files))
    after = Condition.read(tree(tmp_path, files, {path: later}))
    assert condition(before, same, Load(capacity_s=10)).throttled is False
    assert condition(before, after, Load(capacity_s=10)).throttled is True


def test_a_fan_is_no_throttling(tmp_path: Path):
    after = Throttling.read(tree(tmp_path, BOARD, {"sys/class/thermal/cooling_device1/cur_state": "9"}))
    assert after == Throttling(0, now=False)


def test_an_old_throttling_is_not_of_this_measurement(tmp_path: Path):
    since_boot = {"sys/bus/platform/drivers/raspberrypi-firmware/soc:firmware/get_throttled": "0xd0000"}
    before = Throttling.read(tree(tmp_path, PI, since_boot))
    after = Throttling.read(tree(tmp_path, PI, since_boot))
    assert before is not None and after is not None
    assert not before.until(after)


def test_the_record_has_both_moments(tmp_path: Path):
    before = Condition.read(tree(tmp_path, X86))
    after = Condition.read(tree(tmp_path, X86, {f"{CPU}/cpu0/cpufreq/scaling_governor": "performance"}, load="1.5"))
    record = condition(before, after, Load(capacity_s=20, foreign_s=1, steal_s=0.5))
    assert (record.load, record.mhz, record.governor) == ((0.42, 1.5), (2600, 2600), "powersave, then performance")
    assert (record.foreign, record.steal) == (0.05, 0.025)
    assert len(record.model_dump_json()) < 200


def test_a_driver_that_does_not_answer_shows_nothing(tmp_path: Path):
    root = tree(tmp_path, {f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "<unknown>"})
    (root / f"{CPU}/cpu0/cpufreq/scaling_governor").mkdir()
    assert Condition.read(root) == Condition(load=0.42, mhz=None, governor=None, throttling=None)


def test_this_machine_shows_something():
    seen = Condition.read()
    assert seen.load >= 0
    assert seen.mhz is None or 100 < seen.mhz < 10_000
