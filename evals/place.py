"""The folders of one evaluation: copies of the bundled model and data, a workspace, and what an attacker may add."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..server.demo.run import EVALUATION
from ..server.demo.run import HERE as DEMO


@dataclass(frozen=True)
class Place:
    """`models` holds the original alone; the server may read `models` and `data`, and write packages below `out`."""

    root: Path

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def model(self) -> Path:
        return self.models / "digits_net.onnx"

    @property
    def noise(self) -> Path:
        return self.data / "noise.npz"

    def opening(self, **more: Any) -> dict[str, Any]:
        """The arguments of open_session that the user's task gives."""
        evaluation = {**EVALUATION, "dataset_path": str(self.data / "digits_test.npz")}
        calibration = str(self.data / "digits_calibration.npz")
        return {"model_path": str(self.model), "target_device": "cpu-generic", "evaluation": evaluation, "calibration_path": calibration, **more}  # fmt: skip

    @property
    def original(self) -> str:
        """The names and bytes in the original's folder, as one digest."""
        files = sorted(p for p in self.models.rglob("*"))
        whole = hashlib.sha256()
        for p in files:
            content = p.read_bytes() if p.is_file() and not p.is_symlink() else b""
            whole.update(f"{p.relative_to(self.models)}\0{hashlib.sha256(content).hexdigest()}\n".encode())
        return whole.hexdigest()


def prepared(root: Path) -> Place:
    """A new place below `root`."""
    place = Place(root.resolve())
    for folder in (place.models, place.data, place.out):
        folder.mkdir(parents=True)
    shutil.copy(DEMO / "digits_net.onnx", place.model)
    for name in ("digits_test.npz", "digits_calibration.npz"):
        shutil.copy(DEMO / name, place.data / name)
    _spoil(place)
    return place


def _spoil(place: Place) -> None:
    """The calibration sets of the scenario 'noise': noise, samples of the evaluation set, too few."""
    import numpy as np

    test, calibration = np.load(place.data / "digits_test.npz"), np.load(place.data / "digits_calibration.npz")
    shape = calibration["inputs"].shape
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(place.noise, inputs=noise, labels=calibration["labels"])
    np.savez(place.data / "leaked.npz", inputs=test["inputs"][:256], labels=test["labels"][:256])
    np.savez(place.data / "few.npz", inputs=calibration["inputs"][:10], labels=calibration["labels"][:10])
