"""Trains the network of `edgeopt demo` on scikit-learn's handwritten digits, and writes it with its data.

    pip install torch==2.13.0 onnx onnxscript onnxruntime scikit-learn
    python examples/train_digits.py                       a trial: trains, scores on the validation part, writes nothing
    python examples/train_digits.py --write server/demo   the same, then scores on the test part and writes the files

It takes about two minutes on one core. The files are `digits_net.onnx` (float32 pixels in [-1, 1], (batch, 1, 32, 32)
-> logits (batch, 10)), `digits_test.npz` and `digits_calibration.npz` (`inputs`: uint8 (n, 32, 32, 1), `labels`, and
`source_index`: the positions in `sklearn.datasets.load_digits`). No image is in two parts.

Why this network breaks when it is quantized with one scale a tensor. In MobileNets a depthwise convolution has a batch
normalization of its own, and export folds the two: each channel's weights are multiplied by gamma / sqrt(variance). A
channel that reaches the depthwise convolution weak, or nearly always zero after its ReLU6, has a small variance, so its
folded weights come out tens of times as large as the others', although it hardly matters to the result. One int8 scale
for the whole tensor has to reach that far, and the channels that do matter keep few of the 127 levels, or one. One
scale a channel avoids it. This is known of the networks trained on ImageNet (Sheng et al. 2018, arXiv:1803.08607; Nagel
et al. 2019, arXiv:1906.04721), which come to it in long training with weight decay. Two minutes are too short for that,
so here the spread is there from the start: the scales of the batch normalizations that feed a depthwise convolution
begin log-normally distributed, and their shifts normally, in proportion. All are trained like every other parameter.
`--spread 0` is the usual start, and gives a network that is not fragile.
"""

# pyright: reportMissingImports=false
# (torch and scikit-learn are needed here alone: edgeopt itself does without them.)

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 32
STEM = 32
# Of each depthwise-separable block: output channels, stride.
BLOCKS = ((128, 2), (256, 1), (256, 1), (384, 1), (384, 1))

TEST, CALIBRATION, VALIDATION = 900, 256, 128
SPLIT_SEED = 7
BATCH = 64


@dataclass(frozen=True)
class Part:
    """One part of the data: pixels uint8 (n, SIDE, SIDE, 1), labels int64 (n,), positions in the source int64 (n,)."""

    inputs: np.ndarray
    labels: np.ndarray
    source_index: np.ndarray

    def tensor(self) -> np.ndarray:
        """The pixels as the network takes them: float32 (n, 1, SIDE, SIDE) in [-1, 1]."""
        scaled = (self.inputs.astype(np.float32) * np.float32(1 / 255) - np.float32(0.5)) / np.float32(0.5)
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def save(self, path: Path) -> None:
        np.savez_compressed(path, inputs=self.inputs, labels=self.labels, source_index=self.source_index)


@dataclass(frozen=True)
class Parts:
    train: Part
    validation: Part
    calibration: Part
    test: Part


def digits() -> Parts:
    """The data in four parts without a common image, each with the classes in equal proportion.

    The source has 8 x 8 counts of 0..16, each of a 4 x 4 block of a 32 x 32 bitmap; bilinear interpolation brings them
    back to 32 x 32, in 0..255.
    """
    flat, labels = load_digits(return_X_y=True)
    counts = torch.from_numpy(flat).float().view(-1, 1, 8, 8) * (255 / 16)
    images = F.interpolate(counts, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    pixels = images.round().to(torch.uint8).numpy().transpose(0, 2, 3, 1)

    rest, taken = np.arange(len(labels)), []
    for size in (TEST, CALIBRATION, VALIDATION):
        split = train_test_split(rest, test_size=size, stratify=labels[rest], random_state=SPLIT_SEED)
        rest, part = (np.asarray(index) for index in split)
        taken.append(part)
    test, calibration, validation, train = (Part(pixels[index], labels[index], index) for index in (*taken, rest))
    return Parts(train, validation, calibration, test)


class ConvNorm(nn.Sequential):
    """Convolution, batch normalization, ReLU6. `spread` is that of the normalization's initial scales and shifts."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, spread: float = 0.0):
        norm = nn.BatchNorm2d(outputs)
        with torch.no_grad():
            norm.weight.copy_(torch.exp(spread * torch.randn(outputs)))
            norm.bias.copy_(norm.weight * spread * torch.randn(outputs))
        convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(convolution, norm, nn.ReLU6())


class DigitsNet(nn.Module):
    """A small MobileNet: (n, 1, SIDE, SIDE) -> logits (n, 10)."""

    def __init__(self, spread: float):
        super().__init__()
        layers, channels = [ConvNorm(1, STEM, 3, spread=spread)], STEM
        for number, (outputs, stride) in enumerate(BLOCKS, start=1):
            feeds_depthwise = number < len(BLOCKS)
            layers.append(ConvNorm(channels, channels, 3, stride, groups=channels))
            layers.append(ConvNorm(channels, outputs, 1, spread=spread if feeds_depthwise else 0.0))
            channels = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.classifier(self.features(image).mean((2, 3)))


def jittered(images: Tensor) -> Tensor:
    """Each image turned, sheared, scaled and shifted a little, at random."""
    count = len(images)

    def uniform(*shape: int, within: float) -> Tensor:
        return (2 * torch.rand(*shape) - 1) * within

    angle, scale, shear = uniform(count, within=0.175), 1 + uniform(count, within=0.125), uniform(count, within=0.15)
    rows = (scale * angle.cos(), shear - scale * angle.sin(), scale * angle.sin(), scale * angle.cos())
    linear = torch.stack(rows, dim=1).view(count, 2, 2)
    affine = torch.cat([linear, uniform(count, 2, 1, within=0.125)], dim=2)
    grid = F.affine_grid(affine, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def trained(data: Part, spread: float, seed: int, epochs: int) -> DigitsNet:
    torch.set_num_threads(1)  # the same sums in the same order, so the same network from the same seed
    torch.manual_seed(seed)
    net = DigitsNet(spread).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images, labels = torch.from_numpy(data.tensor()), torch.from_numpy(data.labels)
    # Depthwise weights, scales and shifts are small tensors, and decay would only pull the channels together.
    decaying = [p for p in net.parameters() if p.ndim > 1 and p.shape[1] > 1]
    others = [p for p in net.parameters() if p.ndim == 1 or p.shape[1] == 1]
    optimizer = torch.optim.AdamW([{"params": decaying, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}])
    steps = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=epochs * steps)
    for epoch in range(epochs):
        total = 0.0
        for chosen in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            loss = F.cross_entropy(net(jittered(images[chosen])), labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2}/{epochs}  loss {total / steps:.3f}", flush=True)
    return net.eval()


def exported(net: DigitsNet) -> onnx.ModelProto:
    """The network as ONNX, batch normalizations folded, any batch size, without the exporter's notes on this machine."""
    program = torch.onnx.export(
        net.to(memory_format=torch.contiguous_format),  # pyright: ignore[reportCallIssue]
        (torch.randn(2, 1, SIDE, SIDE),),
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program: torch 2.13 with dynamo gives one")
    model = program.model_proto
    graph = model.graph
    graph.name = "digits_net"
    for noted in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    onnx.checker.check_model(model, full_check=True)
    return model


class Images(CalibrationDataReader):
    """The images of a part, one at a time."""

    def __init__(self, data: Part):
        self._feeds: Iterator[dict[str, np.ndarray]] = ({"image": image[np.newaxis]} for image in data.tensor())

    def get_next(self) -> dict[str, np.ndarray]:
        return next(self._feeds, {})


def int8(model: onnx.ModelProto, calibration: Part, per_channel: bool) -> onnx.ModelProto:
    """ONNX Runtime's static quantization as it comes: Q/DQ, uint8 activations, int8 weights, min-max."""
    with tempfile.TemporaryDirectory() as folder:
        float32, prepared, quantized = (Path(folder) / f"{name}.onnx" for name in ("float32", "prepared", "quantized"))
        onnx.save(model, float32)
        quant_pre_process(float32, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            quantized,
            Images(calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=per_channel,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(quantized)


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def decisions(model: onnx.ModelProto, data: Part) -> np.ndarray:
    """The class of each image, int64 (n,)."""
    running, images = session(model), data.tensor()
    batches = (images[at : at + BATCH] for at in range(0, len(images), BATCH))
    return np.concatenate(
        [np.asarray(running.run(["logits"], {"image": batch})[0]).argmax(axis=1) for batch in batches]
    )


def latency_ms(model: onnx.ModelProto, image: np.ndarray) -> float:
    """Median of 200 runs of one image on one thread, after 20 that do not count."""
    running, seconds = session(model), []
    for _ in range(220):
        start = time.perf_counter()
        running.run(None, {"image": image})
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[20:])) * 1000


def channel_ratios(model: onnx.ModelProto) -> list[float]:
    """Of each depthwise convolution: the largest channel's weight range over the median channel's."""
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    kernels = [weights[node.input[1]] for node in model.graph.node if node.op_type == "Conv"]
    ranges = [np.abs(kernel).max(axis=(1, 2, 3)) for kernel in kernels[1:] if kernel.shape[1] == 1]
    return [round(float(found.max() / np.median(found)), 1) for found in ranges]


def show(title: str, models: dict[str, onnx.ModelProto], data: Part) -> None:
    print(f"{title}, {len(data.labels)} images")
    found = {name: decisions(model, data) for name, model in models.items()}
    for name, decided in found.items():
        right = int((decided == data.labels).sum())
        changed = int((decided != found["float32"]).sum())
        print(f"  {name:<18} {right / len(decided):7.2%} ({right} right), {changed} decisions changed", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the network of edgeopt demo.")
    parser.add_argument("--write", type=Path, metavar="DIR", help="score on the test part and write the files here")
    parser.add_argument(
        "--spread", type=float, default=0.85, help="of the initial normalization scales; 0: not fragile"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=16)
    options = parser.parse_args()

    parts, start = digits(), time.monotonic()
    float32 = exported(trained(parts.train, options.spread, options.seed, options.epochs))
    print(f"trained in {time.monotonic() - start:.0f} s: spread {options.spread:g}, seed {options.seed}")
    models = {
        "float32": float32,
        "int8, per channel": int8(float32, parts.calibration, per_channel=True),
        "int8, per tensor": int8(float32, parts.calibration, per_channel=False),
    }
    print(f"depthwise weight ranges, largest channel / median channel: {channel_ratios(float32)}")
    show("validation", models, parts.validation)
    if options.write is None:
        return
    show("test", models, parts.test)
    for name, model in models.items():
        median = latency_ms(model, parts.test.tensor()[:1])
        print(f"  {name:<18} {median:.2f} ms, {model.ByteSize()} bytes")
    options.write.mkdir(parents=True, exist_ok=True)
    onnx.save(float32, options.write / "digits_net.onnx")
    parts.test.save(options.write / "digits_test.npz")
    parts.calibration.save(options.write / "digits_calibration.npz")


if __name__ == "__main__":
    main()
