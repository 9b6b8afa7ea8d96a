"""Time and peak memory of finding ranges on many images, beside ONNX Runtime's own calibrators. Exits 1 where a goal is missed.

python benchmarks/calibration.py [--images 500]

The model is a MobileNetV2 at 224 with drawn weights, the images are drawn too. Each way runs in a process of its own, and
times are ratios to ONNX Runtime's min-max in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from edgeopt.contract.evaluation import Preprocessing
from edgeopt.engine.data.dataset import open_dataset
from edgeopt.engine.models import onnx_file
from edgeopt.engine.quantization.calibrators import CALIBRATORS
from edgeopt.engine.quantization.observing import observe
from edgeopt.engine.quantization.qdq import EVERY_OPERATOR
from edgeopt.engine.quantization.samples import Feeds, Samples
from edgeopt.engine.quantization.schemes import scheme_of
from edgeopt.engine.runtimes.runner import open_runner
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

SIDE = 224
# Expansion, channels, repeats, stride: Sandler et al., "MobileNetV2", 2018, table 2.
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
TIME_GOAL, MEMORY_GOAL_MB = 2.0, 1024
FLOOR, RIVAL = "onnxruntime minmax", "onnxruntime entropy"
# ONNX Runtime's histogram calibrators keep every activation: 62 MB an image.
RIVAL_IMAGES = 20


class MobileNetV2:
    """Its nodes and weights, batch normalization folded."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[NodeProto] = []
        self.weights: dict[str, np.ndarray] = {"zero": np.array(0, np.float32), "six": np.array(6, np.float32)}

    def conv(self, x: str, channels: int, out: int, *, kernel: int = 1, stride: int = 1, group: int = 1, act: bool = True) -> str:  # fmt: skip
        at, fan = len(self.nodes), channels // group * kernel * kernel
        weight = self.rng.standard_normal((out, channels // group, kernel, kernel)) * np.sqrt(2 / fan)
        self.weights |= {f"w{at}": weight.astype(np.float32), f"b{at}": np.zeros(out, np.float32)}
        pads, sizes = [kernel // 2] * 4, [stride] * 2
        inputs = [x, f"w{at}", f"b{at}"]
        self.nodes.append(helper.make_node("Conv", inputs, [f"c{at}"], f"conv{at}", pads=pads, strides=sizes, group=group))  # fmt: skip
        if not act:
            return f"c{at}"
        self.nodes.append(helper.make_node("Clip", [f"c{at}", "zero", "six"], [f"r{at}"], f"clip{at}"))
        return f"r{at}"

    def block(self, x: str, channels: int, out: int, expansion: int, stride: int) -> str:
        inner = channels * expansion
        y = self.conv(x, channels, inner) if expansion > 1 else x
        y = self.conv(y, inner, inner, kernel=3, stride=stride, group=inner)
        y = self.conv(y, inner, out, act=False)
        if stride > 1 or channels != out:
            return y
        self.nodes.append(helper.make_node("Add", [x, y], [f"{y}_sum"], f"{y}_add"))
        return f"{y}_sum"

    def model(self) -> ModelProto:
        x, channels = self.conv("x", 3, 32, kernel=3, stride=2), 32
        for expansion, out, repeats, stride in BLOCKS:
            for repeat in range(repeats):
                x = self.block(x, channels, out, expansion, stride if repeat == 0 else 1)
                channels = out
        x = self.conv(x, channels, 1280)
        self.weights["dense"] = (self.rng.standard_normal((1000, 1280)) / 36).astype(np.float32)
        self.nodes += [
            helper.make_node("GlobalAveragePool", [x], ["pooled"], "pool"),
            helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
            helper.make_node("Gemm", ["flat", "dense"], ["y"], "dense", transB=1),
        ]
        graph = helper.make_graph(
            self.nodes,
            "mobilenetv2",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1000])],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in self.weights.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def draw(folder: Path, images: int) -> None:
    """Images with large and small structures, as photographs have them."""
    onnx.save(MobileNetV2().model(), folder / "model.onnx")
    rng = np.random.default_rng(1)
    pixels = np.empty((images, SIDE, SIDE, 3), np.uint8)
    for image in pixels:
        coarse = np.kron(rng.normal(0, 50, (7, 7, 3)), np.ones((32, 32, 1)))
        image[:] = np.clip(128 + coarse + rng.normal(0, 20, image.shape), 0, 255)
    np.savez(folder / "images.npz", inputs=pixels)


class Reader(CalibrationDataReader):
    def __init__(self, feeds: Iterator[Feeds]):
        self._feeds = feeds

    def get_next(self) -> Feeds | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        return next(self._feeds, None)


def theirs(method: CalibrationMethod, folder: Path, feeds: Iterator[Feeds]) -> None:
    calibrator = create_calibrator(
        folder / "model.onnx", list(EVERY_OPERATOR), str(folder / "augmented.onnx"), calibrate_method=method
    )
    calibrator.collect_data(Reader(feeds))
    calibrator.compute_data()


def ours(name: str, folder: Path, feeds: Iterator[Feeds]) -> None:
    scheme = scheme_of(None)
    observed = observe(
        onnx_file.load(folder / "model.onnx"),
        feeds,
        operators=EVERY_OPERATOR,
        excluded=(),
        histograms=name != "minmax",
        progress=lambda done: None,
    )
    for chosen in CALIBRATORS if name == "all four" else [name]:
        observed.ranges(lambda seen, chosen=chosen: CALIBRATORS[chosen](seen, scheme))


Way = Callable[[Path, Iterator[Feeds]], None]
WAYS: dict[str, Way] = {
    FLOOR: partial(theirs, CalibrationMethod.MinMax),
    **{f"edgeopt {name}": partial(ours, name) for name in (*CALIBRATORS, "all four")},
    RIVAL: partial(theirs, CalibrationMethod.Entropy),
}


def child(way: str, folder: Path, images: int) -> None:
    """One way in this process: its seconds and the process's peak memory, MB, as JSON."""
    runner = open_runner(folder / "model.onnx")
    preprocessing = Preprocessing(scale=1 / 255, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], layout="NCHW")
    dataset = open_dataset(str(folder / "images.npz"), preprocessing, runner.inputs, labelled=False)
    begin = time.perf_counter()
    WAYS[way](folder, Samples(dataset, runner).feeds(range(images)))
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def measured(way: str, folder: Path, images: int) -> tuple[float, float]:
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder), "--images", str(images)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["peak"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    if asked.way:
        child(asked.way, asked.folder, asked.images)
        return 0
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, asked.images)
        floor = 0.0
        for way in WAYS:
            images = min(asked.images, RIVAL_IMAGES) if way == RIVAL else asked.images
            seconds, peak = measured(way, folder, images)
            floor = floor or seconds
            ratio = seconds / images / (floor / asked.images)
            print(f"{way:22} {images:4} images {seconds:7.1f} s {ratio:6.2f} times the floor {peak:7.0f} MB at most")
            missed |= way.startswith("edgeopt") and (ratio > TIME_GOAL or peak > MEMORY_GOAL_MB)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
