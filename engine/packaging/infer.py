"""Runs the model of this package.

    python infer.py INPUT [--output OUT.npz]    INPUT is an image, a .npy or an .npz file
    python infer.py --verify                    repeats the recorded inferences and compares

From Python:

    from infer import Model
    outputs = Model().predict(images)           # uint8 (N, height, width, channels), RGB; a dict by output name

Needs numpy and the runtime that requirements.txt names; Pillow only to open image files and to resize.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .infer_onnxruntime import Session  # in a package, the text of its runtime's module stands here

HERE = Path(__file__).resolve().parent

# The weights and rounding with which Pillow makes grey of RGB (ITU-R BT.601, 16-bit fixed point).
LUMA = np.array([19595, 38470, 7471], np.uint32)

Samples = np.ndarray | Sequence[np.ndarray]


class Model:
    """The model, its preprocessing and its tensors, as preprocessing.json describes them."""

    def __init__(self, folder: Path = HERE, threads: int = 0):
        """`threads`: for one inference; 0 leaves the choice to the runtime."""
        self.about = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
        self.session = Session(folder / Path(self.about["model"]).name, threads)

    def predict(self, inputs: Samples | Mapping[str, Samples]) -> dict[str, np.ndarray]:
        """Outputs by name. `inputs`: raw samples, batch axis first, or a list of samples whose sizes may differ; a dict
        of such by input name where the model has several inputs. A model with a fixed batch runs as often as it takes."""
        samples = self.named(inputs)
        counts = {len(values) for values in samples.values()}
        if len(counts) != 1 or counts == {0}:
            raise ValueError(f"give as many samples to every input, and at least one: they have {sorted(counts)}")
        count = counts.pop()
        size = self.about["batch_size"] or count
        parts = [
            self.infer({name: values[at : at + size] for name, values in samples.items()}, size)
            for at in range(0, count, size)
        ]
        return {name: joined(name, [part[name] for part in parts], size, count) for name in parts[0]}

    def named(self, inputs: Samples | Mapping[str, Samples]) -> dict[str, Samples]:
        """The samples of each input by its name, which the only one need not have."""
        given = inputs if isinstance(inputs, Mapping) else {"": inputs}
        names = [info["name"] for info in self.about["inputs"]]
        if len(names) == len(given) == 1:
            return {names[0]: next(iter(given.values()))}
        if missing := [name for name in names if name not in given]:
            raise ValueError(f"the model's inputs are {names}, and there are no samples for {missing}")
        return {name: given[name] for name in names}

    def infer(self, samples: dict[str, Samples], size: int) -> dict[str, np.ndarray]:
        """One inference of `size` samples; where there are fewer, the last one fills up."""
        inputs = self.about["inputs"]
        if len(inputs) == 1:
            batches = {name: self.preprocess(values) for name, values in samples.items()}
        else:
            batches = {name: as_batch(values) for name, values in samples.items()}
        feeds = {info["model"]["index"]: as_fed(filled(batches[info["name"]], size), info) for info in inputs}
        values = self.session.run([feeds[index] for index in range(len(feeds))])
        return {info["name"]: as_read(values[info["model"]["index"]], info) for info in self.about["outputs"]}

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


def as_fed(array: np.ndarray, info: dict) -> np.ndarray:
    """An input of this package as the model's own: its order of axes, its dtype, quantized where it is."""
    shape, model = info["shape"], info["model"]
    if len(shape) != array.ndim or any(axis not in (None, size) for axis, size in zip(shape, array.shape, strict=True)):
        raise ValueError(f"the input {info['name']} takes the shape {shape}, and the samples make {list(array.shape)}")
    if model["axes"]:
        array = array.transpose(model["axes"])
    array = as_dtype(array, model["dtype"])
    if how := model["quantization"]:
        limits = np.iinfo(how["dtype"])
        array = np.rint(array / np.float32(how["scale"])) + how["zero_point"]
        array = np.clip(array, limits.min, limits.max).astype(how["dtype"])
    return np.ascontiguousarray(array)


def as_read(array: np.ndarray, info: dict) -> np.ndarray:
    """The model's own output as this package's: real numbers, in its order of axes."""
    array, model = np.asarray(array), info["model"]
    if how := model["quantization"]:
        array = (array.astype(np.float32) - np.float32(how["zero_point"])) * np.float32(how["scale"])
    return array.transpose(np.argsort(model["axes"])) if model["axes"] else array


def filled(batch: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([batch, np.repeat(batch[-1:], size - len(batch), axis=0)]) if len(batch) < size else batch


def joined(name: str, parts: list[np.ndarray], size: int, count: int) -> np.ndarray:
    """One output of several inferences of `size` samples each, cut to the `count` samples that there are."""
    if len(parts) == 1 and count == size:
        return parts[0]
    if {part.shape[:1] for part in parts} != {(size,)} or len({part.shape for part in parts}) != 1:
        raise ValueError(f"the output {name} does not have one row for each sample: give {size} samples at a time")
    return np.concatenate(parts)[:count]


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
    allowed = model.about["verification_tolerance"]
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {info["name"]: [] for info in outputs}
    with np.load(folder / "verification.npz", allow_pickle=False) as recorded:
        batches, samples = (int(count) for count in recorded["shape"])
        for b in range(batches):
            raw = {
                info["name"]: [recorded[f"input.{b}.{s}.{i}"] for s in range(samples)] for i, info in enumerate(inputs)
            }
            values = model.predict(raw)
            for i, name in enumerate(pairs):
                pairs[name].append((values[name], recorded[f"output.{b}.{i}"]))
    worst = max(difference(answers) for answers in pairs.values())
    if not worst <= allowed:
        raise ValueError(
            f"the outputs differ from the recorded ones by {worst:.2g} of their size; allowed: {allowed:g}"
        )
    return (
        f"{batches * samples} recorded samples repeated with {model.session.runtime}: the outputs differ by {worst:.2g} of"
        f" their size (root mean square; allowed: {allowed:g})"
    )


def difference(answers: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The root mean square of what an output differs by, as a share of the recorded one's; whole numbers must be equal."""
    for value, recorded in answers:
        if value.shape != recorded.shape:
            raise ValueError(f"an output has shape {value.shape} and was recorded with {recorded.shape}")
    value, recorded = (np.concatenate([array.ravel() for array in side]) for side in zip(*answers, strict=True))
    if recorded.dtype.kind != "f":
        return 0.0 if np.array_equal(value, recorded) else np.inf
    finite = np.isfinite(recorded)
    if not np.array_equal(np.isfinite(value), finite):
        return np.inf
    value, recorded = value[finite].astype(np.float64), recorded[finite].astype(np.float64)
    return float(np.linalg.norm(value - recorded) / max(np.linalg.norm(recorded), 1e-30))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", nargs="?", type=Path, metavar="INPUT")
    parser.add_argument("--output", type=Path, metavar="OUT.npz", help="save the outputs instead of printing them")
    parser.add_argument("--verify", action="store_true")
    arguments = parser.parse_args()
    if arguments.verify == (arguments.input is not None):
        parser.error("give an INPUT or --verify")
    model = Model()
    try:
        if arguments.verify:
            print(f"verified: {verify(model)}")
            return 0
        outputs = model.predict(read(arguments.input))
    except ValueError as error:
        print(f"NOT verified: {error}" if arguments.verify else error, file=sys.stderr)
        return 1
    if arguments.output:
        np.savez(arguments.output, allow_pickle=False, **outputs)
    else:
        for name, value in outputs.items():
            print(f"{name} {value.dtype} {value.shape}\n{value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
