"""Where a converted model parts from its parent: the first layer whose values are others.

The parent is converted once more with every tensor as an output, and both are run on the same samples. It is done only for
a conversion that has failed, on ONNX parents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto

from ..contract.measures import Interface, TensorInfo
from ..contract.text import untrusted
from .measure.inputs import Feeds
from .measure.parity import Difference
from .models import onnx_file
from .problems import JobProblem
from .runtimes.runner import open_runner

# (model to convert, file to write): the technique, as it was run on the model itself.
Convert = Callable[[Path, Path], object]


def share(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> float:
    """The largest difference of any two values of one output, as a share of its largest absolute value before; infinite for
    NaN or another shape."""
    gap = Difference(0.0, 0.0)
    for old, new in zip(before, after, strict=True):
        if old.shape != new.shape:
            return math.inf
        gap = gap.with_more(old, new)
    return gap.share()


def where_they_part(
    parent: Path,
    convert: Convert,
    suffix: str,
    feeds: Sequence[Feeds],
    scratch: Path,
    bound: float,
    inputs: Sequence[TensorInfo] | None = None,
) -> str | None:
    """The first layer that is converted wrongly, in words: what goes into it is still the same.

    `suffix`: of the files that the conversion writes; `bound`: the share by which a right one may be off; `inputs`: as the
    converted model is fed, the parent's own by default. None where the model with every tensor as an output does not
    convert, or shows no difference: a runtime may fuse the wrong layer only where nobody looks at what is in between.
    """
    model = with_every_tensor(onnx_file.load(parent))
    tapped, converted = scratch / "tapped.onnx", scratch / f"tapped_converted{suffix}"
    onnx.save(model, tapped)
    before = open_runner(tapped)
    try:
        convert(tapped, converted)
        after = open_runner(
            converted, interface=Interface(inputs=list(inputs or before.inputs), outputs=before.outputs)
        )
        runs = [(before.run(fed), after.run(fed)) for fed in feeds]
    except JobProblem:
        return None
    tensors = runs[0][0]
    parted = {name for name in tensors if share([old[name] for old, _ in runs], [new[name] for _, new in runs]) > bound}
    nodes = (node for node in model.graph.node if parted.intersection(node.output))
    first = next((node for node in nodes if not parted.intersection(node.input)), None)
    return f"{first.op_type} {untrusted(first.name or first.output[0])!r}" if first else None


def with_every_tensor(model: ModelProto) -> ModelProto:
    """The model with every float32 tensor that a node makes as an output."""
    made = {name for node in model.graph.node for name in node.output} - {value.name for value in model.graph.output}
    model.graph.output.extend(value for name, value in _float_tensors(model).items() if name in made)
    return model


def _float_tensors(model: ModelProto) -> dict[str, ValueInfoProto]:
    """The tensors that are known to be float32, by name."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError:
        graph = model.graph
    found = (*graph.value_info, *graph.output)
    return {value.name: value for value in found if value.type.tensor_type.elem_type == TensorProto.FLOAT}
