"""Speed of ours and the peers': pairs of them in alternation in fresh processes, by the machinery of benchmark_variant.

In two rounds, since most peers are out of the question at a glance: a short look at each, then a long one at those that may
be the fastest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeopt.benchmarks.peers_models import Model
from edgeopt.contract.record import Record
from edgeopt.engine.measure.pairing import Pair, compare
from edgeopt.engine.measure.subject import Subject
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner


@dataclass(frozen=True)
class Round:
    """`seconds` is the time that a comparison gets; each model is called at least `iterations` times."""

    name: str
    seconds: float
    iterations: int


LOOK = Round("look", 5.0, 60)
FINAL = Round("final", 30.0, 100)
# After the look, what is slower than the fastest by more than this is out of the question.
OUT_OF_THE_QUESTION = 1.15


class Compared(Record):
    """`ratio`: the peer's latency / ours, with its 95 % interval; the latencies are medians in ms. `problem`: why there is
    none of it."""

    ratio: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)
    ours_ms: float = 0.0
    peer_ms: float = 0.0
    processes: int = 0
    foreign: float = 0.0
    seconds: float = 0.0
    problem: str = ""


class Track:
    """The files of one model, each with the inputs that it is timed on, as its runtime takes them. `scratch`: for those."""

    def __init__(self, model: Model, threads: int, scratch: Path):
        self._model, self._threads, self._scratch = model, threads, scratch
        self._data, self._interface = model.samples(), model.interface()
        self._subjects: dict[Path, Subject] = {}

    def compare(self, ours: Path, peer: Path, how: Round) -> Compared:
        began = time.monotonic()
        try:
            one, other = self._subject(peer), self._subject(ours)
            pair = Pair(
                baseline=one.path,
                baseline_inputs=str(one.inputs),
                variant=other.path,
                variant_inputs=str(other.inputs),
                threads=self._threads,
            )
            paired = compare(pair, how.iterations, how.seconds, self._scratch, lambda _done, _message: None)
        except JobProblem as problem:
            return Compared(problem=str(problem))
        return Compared(
            ratio=paired.speedup.value,
            interval=paired.speedup.ci95,
            ours_ms=paired.variant.p50,
            peer_ms=paired.baseline.p50,
            processes=paired.noise.processes,
            foreign=paired.noise.machine.foreign if paired.noise.machine else 0.0,
            seconds=round(time.monotonic() - began, 1),
        )

    def _subject(self, file: Path) -> Subject:
        if file not in self._subjects:
            runner = open_runner(file, self._threads, self._interface)
            inputs = self._scratch / f"{len(self._subjects)}.npz"
            self._subjects[file] = Subject(str(file), runner, self._data, 1, inputs)
        return self._subjects[file]


def finalists(looked: Mapping[str, Compared], accurate: set[str]) -> list[str]:
    """Of the peers that were looked at those that may be the fastest of the `accurate` ones, and the fastest of all."""
    ran = {name: seen.ratio for name, seen in looked.items() if not seen.problem}
    eligible = {name: ratio for name, ratio in ran.items() if name in accurate}
    near = [name for name, ratio in eligible.items() if ratio <= OUT_OF_THE_QUESTION * min(eligible.values())]
    fastest = [min(ran, key=lambda name: ran[name])] if ran else []
    return list(dict.fromkeys([*near, *fastest]))
