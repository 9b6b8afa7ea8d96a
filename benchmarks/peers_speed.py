"""Speed of ours and the peers': pairs of them in alternation in fresh processes, by the machinery of benchmark_variant.

In two rounds, since most peers are out of the question at a glance: one process for each, then a comparison at length of
those that may be the fastest.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from edgeopt.benchmarks.peers_models import Model
from edgeopt.contract.record import Record
from edgeopt.engine.measure import pair_process
from edgeopt.engine.measure.fresh_process import ask
from edgeopt.engine.measure.latency import trimmed_mean
from edgeopt.engine.measure.lock import one_at_a_time
from edgeopt.engine.measure.pairing import Pair, PairTask, PairTimes, compare
from edgeopt.engine.measure.subject import Subject
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner

Length = Literal["look", "final"]
# Of the longer one: the time that a comparison gets, and the least calls of each model.
FINAL_S = 30.0
ITERATIONS = 100
# After the look, which is off by a few per cent, what is slower than the fastest by more than this is out of the question.
OUT_OF_THE_QUESTION = 1.2


class Compared(Record):
    """`ratio`: the peer's latency / ours, with its 95 % interval, which a look has not; the latencies are medians in ms.
    `foreign`: the share of the machine's CPU time that others used. `problem`: why there is none of it."""

    ratio: float = 0.0
    interval: tuple[float, float] | None = None
    ours_ms: float = 0.0
    peer_ms: float = 0.0
    processes: int = 0
    foreign: float = 0.0
    seconds: float = 0.0
    at: str = ""
    problem: str = ""


class Track:
    """The files of one model, each with the inputs that it is timed on, as its runtime takes them. `scratch`: for those."""

    def __init__(self, model: Model, threads: int, scratch: Path):
        self._model, self._threads, self._scratch = model, threads, scratch
        self._data, self._interface = model.samples(), model.interface()
        self._subjects: dict[Path, Subject] = {}

    def compare(self, ours: Path, peer: Path, length: Length) -> Compared:
        began = time.monotonic()
        try:
            pair = self._pair(ours, peer)
            compared = self._at_a_glance(pair) if length == "look" else self._at_length(pair)
        except JobProblem as problem:
            return Compared(problem=str(problem))
        now = datetime.now(UTC).isoformat("T", "minutes")
        return compared.model_copy(update={"seconds": round(time.monotonic() - began, 1), "at": now})

    def _at_a_glance(self, pair: Pair) -> Compared:
        with one_at_a_time(_tell_nobody):
            task = PairTask(**pair.model_dump(), index=0, least_calls=1)
            times = ask(pair_process.__name__, task, PairTimes, self._scratch)
        return Compared(
            ratio=math.exp(trimmed_mean(times.quads)),
            ours_ms=statistics.median(times.variant_ms),
            peer_ms=statistics.median(times.baseline_ms),
            processes=1,
            foreign=times.load.foreign,
        )

    def _at_length(self, pair: Pair) -> Compared:
        paired = compare(pair, ITERATIONS, FINAL_S, self._scratch, lambda _done, why: _tell_nobody(why))
        return Compared(
            ratio=paired.speedup.value,
            interval=paired.speedup.ci95,
            ours_ms=paired.variant.p50,
            peer_ms=paired.baseline.p50,
            processes=paired.noise.processes,
            foreign=paired.noise.machine.foreign if paired.noise.machine else 0.0,
        )

    def _pair(self, ours: Path, peer: Path) -> Pair:
        """As `benchmark_variant` pairs a baseline (the peer) with a variant (ours), so that the speedup is the ratio."""
        one, other = self._subject(peer), self._subject(ours)
        return Pair(
            baseline=one.path,
            baseline_inputs=str(one.inputs),
            variant=other.path,
            variant_inputs=str(other.inputs),
            threads=self._threads,
        )

    def _subject(self, file: Path) -> Subject:
        if file not in self._subjects:
            runner = open_runner(file, self._threads, self._interface)
            inputs = self._scratch / f"{len(self._subjects)}.npz"
            self._subjects[file] = Subject(str(file), runner, self._data, 1, inputs)
        return self._subjects[file]


def _tell_nobody(_why: str) -> None:
    """Of waiting for another measurement."""


def finalists(looked: Mapping[str, Compared], accurate: set[str]) -> list[str]:
    """Of the peers that were looked at those that may be the fastest of the `accurate` ones, and the fastest of all."""
    ran = {name: seen.ratio for name, seen in looked.items() if not seen.problem}
    eligible = {name: ratio for name, ratio in ran.items() if name in accurate}
    near = [name for name, ratio in eligible.items() if ratio <= OUT_OF_THE_QUESTION * min(eligible.values())]
    fastest = [min(ran, key=lambda name: ran[name])] if ran else []
    return list(dict.fromkeys([*near, *fastest]))
