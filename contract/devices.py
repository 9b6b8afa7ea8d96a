"""Target devices, as data: what runs there, and how a machine that is one says so."""

from __future__ import annotations

from typing import Literal

from .record import Record

Device = Literal["jetson-orin-nano", "raspberry-pi-5", "raspberry-pi-4", "cpu-generic"]


class DeviceFacts(Record):
    """`says`: what the machine's own model name contains; empty where any machine will do."""

    runs: str
    says: str


DEVICES: dict[str, DeviceFacts] = {
    "jetson-orin-nano": DeviceFacts(runs="TensorRT, ONNX Runtime", says="Orin Nano"),
    "raspberry-pi-5": DeviceFacts(runs="TFLite, ONNX Runtime", says="Raspberry Pi 5"),
    "raspberry-pi-4": DeviceFacts(runs="TFLite, ONNX Runtime", says="Raspberry Pi 4"),
    "cpu-generic": DeviceFacts(runs="ONNX Runtime, OpenVINO", says=""),
}
