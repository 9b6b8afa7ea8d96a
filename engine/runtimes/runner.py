"""A loaded model as everything but the timing sees it: typed, checked, in real numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from ...contract.measures import Interface, Quantization, TensorInfo
from ...contract.text import untrusted
from ..models.formats import sniff
from ..problems import JobProblem
from .bridge import Bridge
from .catalog import RUNTIMES, missing
from .fitting import adapt
from .opening import open_session
from .session import NotLoadable, NotRunnable, Port, Session

Arrays = dict[str, np.ndarray]


class Runner(Protocol):
    """Dtypes are numpy's names; a dynamic axis is None. Inputs and outputs that the model holds as quantized integers
    are float32 here: `quantization` says what stands for them."""

    @property
    def name(self) -> str:
        """The runtime and its version, as `onnxruntime 1.31.1`."""
        ...

    @property
    def inputs(self) -> list[TensorInfo]: ...

    @property
    def outputs(self) -> list[TensorInfo]: ...

    def native(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """The feeds as the runtime itself takes them, quantized and contiguous. JobProblem INVALID_ARGUMENT where they do
        not fit the inputs."""
        ...

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        """One inference on arrays by input name; outputs by name. JobProblem INVALID_ARGUMENT, NOT_RUNNABLE."""
        ...

    def raw_call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """The same inference as a call without checks or conversions, for timing."""
        ...


class Direct:
    """A session with its own names, shapes and layouts."""

    def __init__(self, session: Session):
        self.name = session.runtime
        self.inputs = [_info(port) for port in session.inputs]
        self.outputs = [_info(port) for port in session.outputs]
        self._session = session

    def native(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        real = adapt(feeds, self.inputs)
        return {info.name: _quantized(real[info.name], info.quantization) for info in self.inputs}

    def run(self, feeds: Mapping[str, np.ndarray]) -> Arrays:
        try:
            values = self._session.run(self.native(feeds))
        except NotRunnable as error:
            raise JobProblem("NOT_RUNNABLE", f"the model loads and does not run on this data: {error}") from error
        named = zip(self.outputs, values, strict=True)
        return {info.name: _real(value, info.quantization) for info, value in named if isinstance(value, np.ndarray)}

    def raw_call(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], object]:
        return self._session.call(self.native(feeds))


def open_runner(path: str | Path, threads: int = 1, interface: Interface | None = None) -> Runner:
    """Loads a model for inference on the CPU with `threads` threads; where an `interface` is given, one that is fed and
    answers as that says (`bridge`).

    Raises JobProblem: BAD_FILE where the file is absent, empty, cut, foreign or does not load; UNAVAILABLE where no
    runtime here opens its format; BAD_OUTPUTS where it cannot be brought to the interface.
    """
    path = Path(path)
    runner = Direct(_open(path, threads))
    if interface is None:
        return runner
    bridge = Bridge(runner, interface)
    return runner if bridge.changes_nothing else bridge


def _open(path: Path, threads: int) -> Session:
    name = untrusted(path.name)
    if not path.exists():
        raise JobProblem("BAD_FILE", f"the model file {name} does not exist")
    if path.is_file() and path.stat().st_size == 0:
        raise JobProblem("BAD_FILE", f"the model file {name} is empty")
    found = sniff(path)
    if found.format not in RUNTIMES:
        raise JobProblem("BAD_FILE", f"{name} is no model that a runtime opens: it is a {found.what}")
    if lacking := missing(found.format):
        raise JobProblem("UNAVAILABLE", lacking)
    try:
        return open_session(path, threads)
    except NotLoadable as error:
        runtime = RUNTIMES[found.format].distribution
        raise JobProblem("BAD_FILE", f"{name} does not load in {runtime}: {error}") from error


def _info(port: Port) -> TensorInfo:
    if port.scale is None:
        return TensorInfo(name=port.name, dtype=port.dtype, shape=list(port.shape))
    quantization = Quantization(dtype=port.dtype, scale=port.scale, zero_point=port.zero_point)
    return TensorInfo(name=port.name, dtype="float32", shape=list(port.shape), quantization=quantization)


def _quantized(real: np.ndarray, how: Quantization | None) -> np.ndarray:
    if how is None:
        return real
    limits = np.iinfo(how.dtype)
    return np.clip(np.rint(real / np.float32(how.scale)) + how.zero_point, limits.min, limits.max).astype(how.dtype)


def _real(value: np.ndarray, how: Quantization | None) -> np.ndarray:
    if how is None:
        return value
    return (value.astype(np.float32) - np.float32(how.zero_point)) * np.float32(how.scale)
