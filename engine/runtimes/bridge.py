"""A variant fed as its original is: other formats name their tensors otherwise, order the axes otherwise, fix the batch.

So preprocessing, metrics and comparisons know one interface in a session, the original's; a wrong match cannot stay
unseen, since every conversion is checked against the original's outputs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contract.measures import Interface, TensorInfo
from ...contract.text import untrusted
from ..problems import JobProblem
from .fitting import shape_text

if TYPE_CHECKING:
    from .runner import Runner

# The orders of axes that converters exchange, channels first and last, by rank: what makes the other of the one.
_EXCHANGES: dict[int, list[tuple[int, ...]]] = {
    3: [(0, 2, 1)],
    4: [(0, 2, 3, 1), (0, 3, 1, 2)],
    5: [(0, 2, 3, 4, 1), (0, 4, 1, 2, 3)],
}


class Way(NamedTuple):
    """From a tensor of the interface to the model's own: axis k of the own is axis axes[k] of the interface's. None: the
    axes are the same."""

    outer: TensorInfo
    own: TensorInfo
    axes: tuple[int, ...] | None

    @property
    def info(self) -> TensorInfo:
        """The interface's tensor, with the axes fixed that the model fixes."""
        if len(self.own.shape) != len(self.outer.shape):
            return self.outer
        axes = self.axes or range(len(self.own.shape))
        fixed = dict(zip(axes, self.own.shape, strict=True))
        shape = [own if (own := fixed[axis]) is not None else size for axis, size in enumerate(self.outer.shape)]
        return self.outer.model_copy(update={"shape": shape})

    def inward(self, array: np.ndarray) -> np.ndarray:
        return array if self.axes is None else array.transpose(self.axes)

    def outward(self, array: np.ndarray) -> np.ndarray:
        return array if self.axes is None else array.transpose(np.argsort(self.axes))


class Bridge:
    """A runner with the interface's names, axes and order of outputs."""

    def __init__(self, inner: Runner, interface: Interface):
        self.name = inner.name
        self.ways_in = _ways(interface.inputs, inner.inputs, "inputs")
        self.ways_out = _ways(interface.outputs, inner.outputs, "outputs")
        self.inputs = [way.info for way in self.ways_in]
        self.outputs = [way.info for way in self.ways_out]
        self._inner = inner

    @property
    def changes_nothing(self) -> bool:
        """Whether the model itself has this interface's names, axes and order of outputs."""
        own = [way.own.name for way in self.ways_out]
        same = all(way.axes is None and way.outer.name == way.own.name for way in (*self.ways_in, *self.ways_out))
        return same and own == [info.name for info in self._inner.outputs]

    def native(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._inner.native(self._inward(feeds))

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = self._inner.run(self._inward(feeds))
        return {way.outer.name: way.outward(values[way.own.name]) for way in self.ways_out if way.own.name in values}

    def raw_call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return self._inner.raw_call(self._inward(feeds))

    def _inward(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        known = {way.outer.name: way for way in self.ways_in}
        if unknown := sorted(set(feeds) - set(known)):
            raise JobProblem("INVALID_ARGUMENT", f"the model has no inputs {unknown}; its inputs are {sorted(known)}")
        return {known[name].own.name: known[name].inward(array) for name, array in feeds.items()}


def _ways(outer: Sequence[TensorInfo], own: Sequence[TensorInfo], what: str) -> list[Way]:
    """JobProblem BAD_OUTPUTS where the two sides do not go together."""
    if len(outer) != len(own):
        raise JobProblem("BAD_OUTPUTS", f"the model has the {what} {_shown(own)}, and the original has {_shown(outer)}")
    return [_way(one, other, what) for one, other in _matched(outer, own)]


def _matched(outer: Sequence[TensorInfo], own: Sequence[TensorInfo]) -> list[tuple[TensorInfo, TensorInfo]]:
    """By name, then by what converters leave of a name; where one is left over, by place and shape."""
    for key in (_name, _bare):
        found = {key(info): info for info in own}
        if len(found) == len(own) and {key(info) for info in outer} == set(found):
            return [(info, found[key(info)]) for info in outer]
    left, pairs = list(own), []
    for info in outer:
        match = next((other for other in left if _axes(info, other) is not _NO_WAY), left[0])
        left.remove(match)
        pairs.append((info, match))
    return pairs


def _name(info: TensorInfo) -> str:
    return info.name


def _bare(info: TensorInfo) -> str:
    """`serving_default_input_ids:0` and `input.ids` as `inputids`."""
    name = info.name.removeprefix("serving_default_").split(":")[0]
    return re.sub(r"[^a-z0-9]", "", name.lower())


_NO_WAY: tuple[int, ...] = ()


def _way(outer: TensorInfo, own: TensorInfo, what: str) -> Way:
    axes = _axes(outer, own)
    if axes is _NO_WAY:
        raise JobProblem(
            "BAD_OUTPUTS",
            f"of the {what}, {untrusted(own.name)} of the model is {shape_text(own.shape)}, and {untrusted(outer.name)} of"
            f" the original {shape_text(outer.shape)}: no order of axes makes one of the other",
        )
    return Way(outer, own, axes)


def _axes(outer: TensorInfo, own: TensorInfo) -> tuple[int, ...] | None:
    """The order of axes by which the interface's tensor is the model's: None as it is, `_NO_WAY` where there is none.

    A file may leave out how many axes an output has: it is taken as it comes.
    """
    rank = len(outer.shape)
    if not rank or not own.shape:
        return None
    if rank != len(own.shape):
        return _NO_WAY
    for axes in (tuple(range(rank)), *_EXCHANGES.get(rank, [])):
        if all(_alike(outer.shape[axis], size) for axis, size in zip(axes, own.shape, strict=True)):
            return None if axes == tuple(range(rank)) else axes
    return _NO_WAY


def _alike(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other


def _shown(infos: Sequence[TensorInfo]) -> list[str]:
    return [untrusted(info.name) for info in infos]
