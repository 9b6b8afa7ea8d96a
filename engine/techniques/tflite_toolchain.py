"""TensorFlow Lite from PyTorch and ONNX, by converters that cannot lie beside the server's packages (`toolchains`).

Both make files of fixed shapes for one sample at a time: their files take batches only by chance, as shapes that they
computed on the way are in them as constants. LiteRT resizes such a file for other batches where that goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...contract.measures import Interface, TensorInfo
from ...contract.text import untrusted
from ..bench import Bench
from ..models.formats import EXPORTED_PROGRAM, sniff
from ..models.model_file import ModelFile
from ..parting import share, where_they_part
from ..problems import JobProblem
from ..runtimes.fitting import shape_text
from ..runtimes.runner import open_runner
from ..toolchains.running import run_toolchain

# Of an output's range. These converters' files differ by 1e-7 to 1e-5 where they are right, and by whole outputs where not.
_BOUND = 1e-3
_TRIALS = 2


def convert(parent: ModelFile, out: Path, interface: Interface, bench: Bench) -> list[str]:
    """Writes the parent as a float32 .tflite to `out`; returns what the caller should know, a sentence each.

    `interface` is the session's, with the sizes of its data where the model leaves axes open (`data.sizes`). Raises
    JobProblem: UNAVAILABLE where the toolchain is not installed, or where a size is unknown; TECHNIQUE_FAILED where the
    converter does not cope; OUTPUTS_DIFFER where what it made computes something else.
    """
    inputs = fixed(parent.inputs, interface.inputs)
    if parent.format == "onnx":
        name = "onnx2tf"
        _by_onnx2tf(parent.path, out, inputs, bench)
    else:
        name = "litert-torch"
        _by_litert_torch(parent, out, inputs, bench)
    _check_same(parent, out, inputs, name, bench)
    return [_said(name, parent.inputs, inputs)]


def _by_onnx2tf(model: Path, out: Path, inputs: Sequence[TensorInfo], bench: Bench) -> None:
    shapes = {info.name: info.shape for info in inputs}
    run_toolchain("onnx2tf", "convert_onnx2tf.py", {**_files(model, out), "shapes": shapes}, bench)


def _by_litert_torch(parent: ModelFile, out: Path, inputs: Sequence[TensorInfo], bench: Bench) -> None:
    found = sniff(parent.path)
    if found != EXPORTED_PROGRAM:
        raise JobProblem(
            "UNAVAILABLE",
            f"litert-torch converts what torch.export saved (.pt2), and {untrusted(parent.path.name)} is a {found.what}: save"
            " it with torch.export.save and open a session on that, or take export_onnx and convert what it makes",
        )
    in_order = {"shapes": [info.shape for info in inputs], "outputs": [info.name for info in parent.outputs]}
    run_toolchain("litert-torch", "convert_litert_torch.py", {**_files(parent.path, out), **in_order}, bench)


def _files(model: Path, out: Path) -> dict[str, str]:
    return {"model": str(model.resolve()), "out": str(out.resolve())}


def fixed(own: Sequence[TensorInfo], outer: Sequence[TensorInfo]) -> list[TensorInfo]:
    """The model's inputs without open axes: batches of one, and other axes as the session's inputs have them, which are
    matched by name or, where names changed on the way, by place. JobProblem UNAVAILABLE for an axis that nobody knows."""
    known = {info.name: info.shape for info in outer}
    by_place = len(own) == len(outer) and not {info.name for info in own} & set(known)
    shapes = [outer[place].shape if by_place else known.get(info.name, info.shape) for place, info in enumerate(own)]
    return [_closed(info, shape) for info, shape in zip(own, shapes, strict=True)]


def _closed(info: TensorInfo, hints: Sequence[int | None]) -> TensorInfo:
    if len(hints) != len(info.shape):
        hints = info.shape
    sizes = [size if size is not None else hint for size, hint in zip(info.shape, hints, strict=True)]
    sizes = [1 if axis == 0 and size is None else size for axis, size in enumerate(sizes)]
    if None in sizes:
        raise JobProblem(
            "UNAVAILABLE",
            f"the input {untrusted(info.name)} has the shape {shape_text(info.shape)}, and a TensorFlow Lite file needs a size"
            " for every axis but the batch's: the samples of the data set have several. Give data of one size, or a model"
            " with that axis fixed",
        )
    return info.model_copy(update={"shape": sizes})


def _check_same(parent: ModelFile, out: Path, inputs: Sequence[TensorInfo], name: str, bench: Bench) -> None:
    """JobProblem OUTPUTS_DIFFER where the file does not compute what its parent does: a quantizer after it would hide that."""
    before = open_runner(parent.path)
    after = open_runner(out, interface=Interface(inputs=list(inputs), outputs=before.outputs))
    trials = [{info.name: _values(info, seed) for info in inputs} for seed in range(_TRIALS)]
    runs = [(before.run(feeds), after.run(feeds)) for feeds in trials]
    gaps = {output: share([old[output] for old, _ in runs], [new[output] for _, new in runs]) for output in runs[0][0]}
    worst = max(gaps, key=lambda output: gaps[output])
    if gaps[worst] <= _BOUND:
        return
    where = None
    if parent.format == "onnx":
        bench.report(0.5, "looking for the layer where the outputs part")

        def again(tapped: Path, converted: Path) -> None:
            _by_onnx2tf(tapped, converted, inputs, bench)

        where = where_they_part(parent.path, again, out.suffix, trials, bench.tmp, _BOUND, inputs)
    since = f" They part at {where}, whose inputs are still the same." if where else ""
    raise JobProblem(
        "OUTPUTS_DIFFER",
        f"{name} does not convert this model rightly: its output {untrusted(worst)} is off by {gaps[worst]:.2g} of its"
        f" range.{since} Nothing was made: convert another format of the same model (PyTorch goes by litert-torch, ONNX by"
        " onnx2tf), or take another runtime",
    )


def _values(info: TensorInfo, seed: int) -> np.ndarray:
    """Something that any model takes: fractions, and of whole numbers 0 and 1, which are indices and masks alike."""
    random = np.random.default_rng(seed)
    shape = [int(size or 1) for size in info.shape]
    if info.dtype.startswith("float"):
        return random.random(shape, dtype=np.float32).astype(info.dtype)
    values = random.integers(0, 2, shape)
    values[..., :1] = 1  # a mask that hides everything makes NaN
    return values.astype(info.dtype)


def _said(name: str, own: Sequence[TensorInfo], inputs: Sequence[TensorInfo]) -> str:
    shapes = ", ".join(f"{untrusted(info.name)} {shape_text(info.shape)}" for info in inputs)
    was_open = any(None in info.shape for info in own)
    return f"converted by {name}{f'; its shapes are fixed: {shapes}' if was_open else ''}"
