"""The operators that ONNX Runtime runs, after its own fusions and its choice of kernels, and the time in each.

By its profiler, on real inputs: types and shapes are those of the tensors that went through, so that no graph is read.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import onnxruntime

from ...contract.text import untrusted
from ..measure.cores import cores_for
from ..measure.inputs import Feeds
from ..runtimes.onnxruntime import inference_session, open_session, session_options

# Blocks, as in every comparison: a model that is called after another finds the caches full of that one.
BLOCKS = 4
CALLS = 5
SECONDS = 10.0

# Control flow: the operators of the branch that ran are in the profile themselves.
CONTROL = {"If", "Loop", "Scan"}

WIDTHS = {"uint8": 1, "int8": 1, "bool": 1, "float16": 2, "bfloat16": 2, "double": 8, "int64": 8}


class Tensor(NamedTuple):
    """`dtype` in the profiler's words: float, float16, uint8, int64 ..."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def width(self) -> int:
        """Bytes of one number."""
        return WIDTHS.get(self.dtype, 4)

    @property
    def bytes(self) -> int:
        return self.elements * self.width


class Operator(NamedTuple):
    """One node as it runs. `us`: microseconds of one inference. Kernels that pack their weights when a model is loaded
    show them neither in `inputs` nor in `parameter_bytes`."""

    name: str
    type: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    us: float
    activation_bytes: int
    parameter_bytes: int
    output_bytes: int


class Workload(NamedTuple):
    """A model's file, and the batches that it is run on."""

    model: str | Path
    batches: Sequence[Feeds]


def profile(workloads: Sequence[Workload], threads: int, tmp: Path, blocks: int = BLOCKS) -> list[list[Operator]]:
    """The operators of each model, all in one run: in turns, `blocks` of 5 calls each, or about 10 seconds.

    A node's time is the median over the calls, times the times that it runs in one inference (the body of a loop).
    """
    with TemporaryDirectory(dir=tmp) as folder, cores_for(threads) as cores:
        sessions: list[onnxruntime.InferenceSession] = []
        for index, workload in enumerate(workloads):
            options = session_options(threads, cores)
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder, f"profile{index}"))
            sessions.append(inference_session(Path(workload.model), options))
        rotations = [cycle(workload.batches) for workload in workloads]
        started, done = time.monotonic(), 0
        while done == 0 or (done < blocks and time.monotonic() - started < SECONDS):
            for session, batches in zip(sessions, rotations, strict=True):
                for batch in islice(batches, CALLS):
                    session.run(None, batch)
            done += 1
        events = [json.loads(Path(session.end_profiling()).read_text()) for session in sessions]
    return [_operators(found, done * CALLS) for found in events]


def call_us(workload: Workload, threads: int) -> float:
    """Microseconds of one call without the profiler, which takes time for each operator: the median of 20, after 5."""
    times: list[float] = []
    with cores_for(threads) as cores:
        session = open_session(Path(workload.model), threads, cores)
        for batch in islice(cycle(workload.batches), CALLS + BLOCKS * CALLS):
            start = time.perf_counter_ns()
            session.run(batch)
            times.append((time.perf_counter_ns() - start) / 1e3)
    return statistics.median(times[CALLS:])


def _operators(events: Iterable[dict[str, Any]], calls: int) -> list[Operator]:
    times: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    last: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            # Nodes may share a name (or have none); the index tells them apart.
            node = (event["args"].get("node_index", ""), event["name"])
            times[node].append(event["dur"])
            last[node] = event["args"]
    found = [
        Operator(
            name=untrusted(name.removesuffix("_kernel_time")),
            type=untrusted(about["op_name"], 40),
            inputs=_tensors(about["input_type_shape"]),
            outputs=_tensors(about["output_type_shape"]),
            us=statistics.median(times[index, name]) * len(times[index, name]) / calls,
            activation_bytes=int(about["activation_size"]),
            parameter_bytes=int(about["parameter_size"]),
            output_bytes=int(about["output_size"]),
        )
        for (index, name), about in last.items()
    ]
    return [operator for operator in found if operator.type not in CONTROL]


def _tensors(described: Iterable[dict[str, list[int]]]) -> tuple[Tensor, ...]:
    return tuple(Tensor(dtype, tuple(shape)) for one in described for dtype, shape in one.items())


def total_us(operators: Iterable[Operator]) -> float:
    return sum(operator.us for operator in operators)


def share(part: Sequence[Operator], whole: Sequence[Operator]) -> float:
    """Of the whole's time; of its number where it takes none (a kernel is timed in whole microseconds)."""
    if time_of_all := total_us(whole):
        return total_us(part) / time_of_all
    return len(part) / len(whole) if whole else 0.0


def count(operators: Iterable[Operator]) -> Counter[str]:
    return Counter(operator.type for operator in operators)


def slowest_types(operators: Iterable[Operator], most: int = 3) -> list[str]:
    """The operator types with most of the time, most first."""
    times: Counter[str] = Counter()
    for operator in operators:
        times[operator.type] += operator.us  # pyright: ignore[reportArgumentType]
    return [kind for kind, us in times.most_common(most) if us > 0]


def bottleneck(operators: Sequence[Operator]) -> str:
    """One sentence: the three operator types with most of the time."""
    shares = [
        f"{kind} {share([o for o in operators if o.type == kind], operators):.0%}" for kind in slowest_types(operators)
    ]
    where = ", ".join(shares) or "nowhere that it can see (every operator takes less than a microsecond)"
    return f"Time in the operators, by ONNX Runtime's profiler: {where}."
