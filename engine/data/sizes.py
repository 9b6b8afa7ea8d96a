"""The sizes that a data set gives to axes which a model leaves open: converters to fixed shapes need them."""

from __future__ import annotations

from ...contract.measures import Interface, TensorInfo
from .dataset import Dataset


def sized(interface: Interface, samples: Dataset) -> Interface:
    """The interface with every open axis of its inputs at the size that the samples have there, where they all have it: the
    first and the last are looked at. The first axis, of batches, stays as it is."""
    shapes = [
        {name: values.shape for name, values in samples.feeds(row, row + 1).items()} for row in (0, len(samples) - 1)
    ]
    return interface.model_copy(update={"inputs": [_sized(info, *shapes) for info in interface.inputs]})


def _sized(info: TensorInfo, first: dict[str, tuple[int, ...]], last: dict[str, tuple[int, ...]]) -> TensorInfo:
    one, other = first.get(info.name, ()), last.get(info.name, ())
    if len(one) != len(info.shape) or len(other) != len(info.shape):
        return info
    open_axes = (axis for axis, size in enumerate(info.shape) if axis and size is None and one[axis] == other[axis])
    fixed = {axis: one[axis] for axis in open_axes}
    return info.model_copy(update={"shape": [fixed.get(axis, size) for axis, size in enumerate(info.shape)]})
