"""In which numbers an OpenVINO model really computes, by OpenVINO's own counters: its file only says what is allowed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Literal

from ...contract.measures import Precision, RunsAs
from ..measure.cores import cores_for
from ..measure.inputs import Feeds
from .kinds import ALL_BUT

CALLS = 20
# The first calls make the kernels.
WARM_UP = 2
# How the names of what OpenVINO's CPU plugin calls its convolutions and matrix products begin.
_PRODUCTS = ("Convolution", "Deconvolution", "FullyConnected", "MatMul", "RNN")
# How the names of its kernels end: `brgconv_avx512_I8`, `brgemm_avx512_f32`.
_INTEGER, _HALF, _SINGLE = ("i8", "u8"), ("f16", "bf16"), ("f32",)


def is_product(layer: str) -> bool:
    """Whether a layer of this type is a convolution or a matrix product."""
    return layer.startswith(_PRODUCTS)


def runs_as(model: Path, asked: Precision, batches: Sequence[Feeds], threads: int) -> RunsAs | None:
    """By the time in convolutions and matrix products over 20 calls on real inputs; `batches` by the model's own input names.
    None for a model without such layers."""
    from ..runtimes.openvino import open_session

    times: Counter[str] = Counter()
    with cores_for(threads) as cores:
        session = open_session(model, threads, cores, counters=True)
        for number, batch in enumerate(islice(cycle(batches), WARM_UP + CALLS)):
            session.run(batch)
            for layer in session.layer_times() if number >= WARM_UP else ():
                if is_product(layer.type):
                    times[layer.kernel.rpartition("_")[2].lower()] += layer.us  # pyright: ignore[reportArgumentType]
    return judged(asked, times)


def judged(asked: Precision, times: Counter[str]) -> RunsAs | None:
    """`times`: microseconds by the numbers of the kernels, i8, f32, bf16 ... What runs is said as `kinds.runs_as` says it."""
    total = sum(times.values())
    if not total:
        return None

    def share(kinds: Sequence[str]) -> float:
        return sum(us for kind, us in times.items() if kind in kinds) / total

    as_asked = share(_INTEGER if asked == "int8" else _HALF)
    runs: Literal["int8", "fp16", "fp32", "mixed"] = "mixed"
    if as_asked >= 1 - ALL_BUT:
        runs = asked
    elif share(_SINGLE) >= 1 - ALL_BUT:
        runs = "fp32"
    return RunsAs(asked=asked, runs=runs, share=round(as_asked, 4))
