"""Runs the model of this package with ONNX Runtime.

    python infer.py INPUT [--output OUT.npz]    INPUT is an image, a .npy or an .npz file
    python infer.py --verify                    repeats the recorded inferences and compares

From Python:

    from infer import Model
    outputs = Model().predict(images)           # uint8 (N, height, width, channels), RGB; a dict by output name

Needs numpy and onnxruntime; Pillow only to open image files and to resize.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent

# The weights and rounding with which Pillow makes grey of RGB (ITU-R BT.601, 16-bit fixed point).
LUMA = np.array([19595, 38470, 7471], np.uint32)

Samples = np.ndarray | Sequence[np.ndarray]


class Model:
    """The model and its preprocessing, as preprocessing.json describes them."""

    def __init__(self, folder: Path = HERE, threads: int = 0):
        """`threads`: for one inference; 0 leaves the choice to ONNX Runtime."""
        self.about = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        model = str(folder / Path(self.about["model"]).name)
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def predict(self, inputs: Samples | Mapping[str, Samples]) -> dict[str, np.ndarray]:
        """Outputs by name. `inputs`: raw samples, batch axis first, or a list of samples whose sizes may differ; a dict
        of such by input name where the model has several inputs."""
        given = inputs if isinstance(inputs, Mapping) else {"": inputs}
        wanted = self.about["inputs"]
        if len(wanted) == 1 and len(given) == 1:
            feeds = {wanted[0]["name"]: self.preprocess(next(iter(given.values())))}
        else:
            feeds = {info["name"]: as_batch(given[info["name"]]) for info in wanted}
        feeds = {info["name"]: as_dtype(feeds[info["name"]], info["dtype"]) for info in wanted}
        names = [info["name"] for info in self.about["outputs"]]
        values = self.session.run(names, feeds)
        return {name: np.asarray(value) for name, value in zip(names, values, strict=True)}

    def preprocess(self, batch: Samples) -> np.ndarray:
        """Raw samples as the model takes them. Every step that preprocessing.json leaves null is left out."""
        steps = self.about["preprocessing"]
        if steps["resize"] or steps["center_crop"] or steps["color"] in ("BGR", "GRAY"):
            batch = [reshape(sample, steps) for sample in batch]
        x = as_batch(batch)
        if steps["layout"] and x.ndim == 3:
            x = x[..., np.newaxis]
        if steps["scale"] is not None or steps["mean"] or steps["std"]:
            x = x.astype(np.float32)
        if steps["scale"] is not None:
            x = x * np.float32(steps["scale"])
        if steps["mean"]:
            x = x - np.array(steps["mean"], np.float32)
        if steps["std"]:
            x = x / np.array(steps["std"], np.float32)
        if steps["layout"] == "NCHW":
            x = x.transpose(0, 3, 1, 2)
        if steps["dtype"] in ("uint8", "int8") and x.dtype != steps["dtype"]:
            limits = np.iinfo(steps["dtype"])
            x = np.clip(np.rint(x), limits.min, limits.max)
        return np.ascontiguousarray(x.astype(steps["dtype"]) if steps["dtype"] else x)


def reshape(image: np.ndarray, steps: dict) -> np.ndarray:
    """Colour, resize and centre crop of one image (height, width, channels)."""
    if steps["color"] == "BGR":
        image = image[..., ::-1]
    elif steps["color"] == "GRAY":
        image = ((image.astype(np.uint32) @ LUMA + 0x8000) >> 16).astype(np.uint8)[..., np.newaxis]
    if steps["resize"]:
        image = resize(image, steps["resize"])
    if steps["center_crop"]:
        crop = steps["center_crop"]
        height, width = (crop, crop) if isinstance(crop, int) else crop
        top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
        if top < 0 or left < 0:
            raise ValueError(f"an image of {image.shape[:2]} is smaller than the crop {height, width}")
        image = image[top : top + height, left : left + width]
    return image


def resize(image: np.ndarray, size: int | Sequence[int]) -> np.ndarray:
    """Bilinear, to [height, width] or to a short side. Colours together, any other number of channels one by one."""
    from PIL import Image  # not needed unless images are resized

    height, width = image.shape[:2]
    if not isinstance(size, int):
        new = (size[0], size[1])
    elif height <= width:
        new = (size, int(size * width / height))
    else:
        new = (int(size * height / width), size)
    if new == (height, width):
        return image

    def bilinear(plane: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(np.ascontiguousarray(plane))
        return np.asarray(picture.resize((new[1], new[0]), Image.Resampling.BILINEAR))

    if image.ndim == 2 or image.shape[2] == 3:
        return bilinear(image)
    return np.stack([bilinear(image[..., channel]) for channel in range(image.shape[2])], axis=-1)


def as_batch(samples: Samples) -> np.ndarray:
    return samples if isinstance(samples, np.ndarray) else np.stack([np.asarray(sample) for sample in samples])


def as_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    """Floats may be rounded to narrower floats; nothing else may change a value."""
    if dtype in (array.dtype.name, "string"):
        return array
    converted = array.astype(dtype)
    rounded = array.dtype.kind == "f" and converted.dtype.kind == "f"
    if not rounded and not np.array_equal(converted.astype(array.dtype), array):
        raise ValueError(f"the model takes {dtype}, and the data are {array.dtype} with values that it cannot hold")
    return converted


def read(path: Path) -> Samples | dict[str, Samples]:
    """The raw samples in a file: what `predict` takes."""
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            if "inputs" in arrays.files:
                return arrays["inputs"]
            return {name: arrays[name] for name in arrays.files if name != "labels"}
    from PIL import Image  # not needed unless image files are read

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))[np.newaxis]


def verify(model: Model, folder: Path = HERE) -> str:
    """Repeats every recorded inference, raw samples to outputs. The sentence to print; ValueError where one differs."""
    inputs, outputs = model.about["inputs"], model.about["outputs"]
    share = model.about["verification_tolerance"]
    worst = 0.0
    with np.load(folder / "verification.npz", allow_pickle=False) as recorded:
        batches, samples = (int(count) for count in recorded["shape"])
        for b in range(batches):
            raw = {
                info["name"]: [recorded[f"input.{b}.{s}.{i}"] for s in range(samples)] for i, info in enumerate(inputs)
            }
            values = model.predict(raw)
            for i, info in enumerate(outputs):
                worst = max(worst, difference(values[info["name"]], recorded[f"output.{b}.{i}"]))
    if not worst <= share:
        raise ValueError(f"the outputs differ from the recorded ones by {worst:.2g} of their range; allowed: {share:g}")
    return (
        f"{batches * samples} recorded samples repeated with onnxruntime {onnxruntime.__version__}: the outputs differ by"
        f" {worst:.2g} of their range at most (allowed: {share:g})"
    )


def difference(value: np.ndarray, recorded: np.ndarray) -> float:
    """The largest difference as a share of the largest recorded magnitude; whole numbers must be equal."""
    if value.shape != recorded.shape:
        raise ValueError(f"an output has shape {value.shape} and was recorded with {recorded.shape}")
    if recorded.dtype.kind != "f":
        return 0.0 if np.array_equal(value, recorded) else np.inf
    if not np.array_equal(np.isfinite(value), np.isfinite(recorded)):
        return np.inf
    finite = np.isfinite(recorded)
    gap = np.abs(value[finite].astype(np.float64) - recorded[finite].astype(np.float64))
    return float(gap.max(initial=0) / max(np.abs(recorded[finite]).max(initial=0), 1e-30))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", nargs="?", type=Path, metavar="INPUT")
    parser.add_argument("--output", type=Path, metavar="OUT.npz", help="save the outputs instead of printing them")
    parser.add_argument("--verify", action="store_true")
    arguments = parser.parse_args()
    if arguments.verify == (arguments.input is not None):
        parser.error("give an INPUT or --verify")
    model = Model()
    if arguments.verify:
        try:
            print(f"verified: {verify(model)}")
        except ValueError as error:
            print(f"NOT verified: {error}", file=sys.stderr)
            return 1
        return 0
    outputs = model.predict(read(arguments.input))
    if arguments.output:
        np.savez(arguments.output, allow_pickle=False, **outputs)
    else:
        for name, value in outputs.items():
            print(f"{name} {value.dtype} {value.shape}\n{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
