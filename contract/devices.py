"""Target devices, as data: which formats deploy there and why, and how a machine that is one says so."""

from __future__ import annotations

from typing import Literal

from .record import Record

Device = Literal["jetson-orin-nano", "raspberry-pi-5", "raspberry-pi-4", "cpu-generic"]


class Deployment(Record):
    """A format that runs on a device. `runtime` as people know it; `because`: what speaks for it there."""

    format: str
    runtime: str
    because: str


class DeviceFacts(Record):
    """`deploys`: best first. `others`: what speaks against the formats that do not deploy there. `architecture`: of the
    processor, as `uname -m` has it; `says`: what the machine's own model name contains; both empty where any machine will
    do."""

    deploys: tuple[Deployment, ...]
    others: dict[str, str]
    architecture: str
    says: str

    @property
    def runs(self) -> str:
        """The formats with their runtimes, best first."""
        return ", ".join(f"{d.format} ({d.runtime})" for d in self.deploys)

    def takes(self, format: str) -> bool:
        """Whether a model of this format deploys there."""
        return any(d.format == format for d in self.deploys)


_PORTABLE = Deployment(
    format="onnx", runtime="ONNX Runtime", because="runs on every device, and every converter reads it"
)
_TENSORRT = Deployment(format="tensorrt", runtime="TensorRT", because="builds the model for the Jetson's own GPU")
_TFLITE = Deployment(format="tflite", runtime="TFLite", because="small, with float and INT8 kernels for ARM CPUs")
_PI_OTHERS = {
    "tensorrt": "an engine needs an NVIDIA GPU, and a Raspberry Pi has none",
    "openvino": "OpenVINO is made for x86 CPUs; it runs on ARM too, but there TFLite and ONNX Runtime are the policy",
}
_PI = DeviceFacts(deploys=(_TFLITE, _PORTABLE), others=_PI_OTHERS, architecture="aarch64", says="Raspberry Pi")

# The seeds' "target hardware determines the format", with the formats of their decision trees.
DEVICES: dict[str, DeviceFacts] = {
    "jetson-orin-nano": DeviceFacts(
        deploys=(_TENSORRT, _PORTABLE),
        others={
            "tflite": "TFLite would run on its CPU and leave its GPU idle",
            "openvino": "OpenVINO would run on its CPU and leave its GPU idle",
        },
        architecture="aarch64",
        says="Orin Nano",
    ),
    "raspberry-pi-5": _PI.model_copy(update={"says": "Raspberry Pi 5"}),
    "raspberry-pi-4": _PI.model_copy(update={"says": "Raspberry Pi 4"}),
    "cpu-generic": DeviceFacts(
        deploys=(
            _PORTABLE,
            Deployment(format="openvino", runtime="OpenVINO", because="fast INT8 and float kernels for x86 CPUs"),
            Deployment(format="tflite", runtime="TFLite", because="small, with XNNPACK's kernels for CPUs"),
        ),
        others={"tensorrt": "an engine needs an NVIDIA GPU, and a generic CPU has none"},
        architecture="",
        says="",
    ),
}
