"""A model loaded by its runtime, and nothing around it.

A measuring process imports this, numpy and one runtime: whatever else it held would be in the memory that it reports.
So this package's modules, `runner` and `bridge` apart, import nothing of the project but each other and know no contract.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn, Protocol

import numpy as np


class Port(NamedTuple):
    """An input or output as the runtime has it. Dtypes are numpy's names; a dynamic axis is None. `scale` and
    `zero_point`: of an integer that stands for the real number (integer - zero_point) * scale; None where it stands for
    itself."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    scale: float | None = None
    zero_point: int = 0


class Session(Protocol):
    """A loaded model. Feeds are arrays by input name, of the ports' dtypes and shapes, contiguous."""

    @property
    def runtime(self) -> str:
        """The runtime, its version, and where it chooses one the precision that it computes in: `onnxruntime 1.31.1`."""
        ...

    @property
    def inputs(self) -> Sequence[Port]: ...

    @property
    def outputs(self) -> Sequence[Port]: ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> Sequence[object]:
        """One inference; the outputs in their order, copies that later inferences leave alone. NotRunnable."""
        ...

    def call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """The same inference, for timing: everything that can be done beforehand is."""
        ...


class NotLoadable(Exception):
    """The runtime does not take the file; the message is its own words on one line."""


class NotRunnable(Exception):
    """The model loads and does not run on what it was fed; the message is the runtime's own words on one line."""


def reject(as_what: type[NotLoadable] | type[NotRunnable], error: Exception) -> NoReturn:
    """Raises the runtime's error as one of ours; an allocation that failed stays a MemoryError, for the supervisor."""
    reason = " ".join(str(error).split())[:500]
    if "allocate memory" in reason or "bad_alloc" in reason:
        raise MemoryError(reason) from error
    raise as_what(reason) from error
