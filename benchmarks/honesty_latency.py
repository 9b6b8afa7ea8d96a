"""The comparisons of latency: which there are to be, and one of them, ours and the others' on the same pair."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from math import ceil
from pathlib import Path
from typing import Literal, get_args

from edgeopt.benchmarks.honesty_load import hostile_load
from edgeopt.benchmarks.honesty_models import Subject
from edgeopt.benchmarks.honesty_planted import Planted, slowed
from edgeopt.benchmarks.honesty_rivals import RIVALS, Figures, Verdict
from edgeopt.contract.record import Record
from edgeopt.engine.jobs import Benchmark
from edgeopt.engine.measure import machine
from edgeopt.engine.measure.pairing import Pair, compare

Load = Literal["quiet", "hostile"]
LOADS: tuple[Load, ...] = get_args(Load)

# What the tool benchmark_variant and its job do by default.
ITERATIONS = 200
SECONDS: float = Benchmark.model_fields["seconds"].default


@dataclass(frozen=True)
class Sizes:
    """How many comparisons: of identical models on one thread, of each planted slowdown, of identical ones on two
    threads. `planted_models`: the number of models that slowdowns are planted in. `seconds`: of one of ours.
    `lengthy`: whether lengthy rivals take part (in every second)."""

    identical: int
    planted: dict[float, int]
    planted_models: int | None
    two_threads: int
    seconds: float
    lengthy: bool


FULL = Sizes(
    identical=200, planted={0.03: 48, 0.05: 48}, planted_models=None, two_threads=40, seconds=SECONDS, lengthy=True
)
# Four of a slowdown: of which one or none called refutes a power of 90 % at 99 % confidence.
QUICK = Sizes(identical=6, planted={0.05: 4}, planted_models=1, two_threads=0, seconds=12, lengthy=False)


class Unit(Record):
    """One comparison: ours and the others' on one pair. `slowdown` is 0 for identical models."""

    threads: int
    load: Load
    model: str
    slowdown: float
    index: int

    @property
    def key(self) -> str:
        return f"pair/{self.threads}/{self.slowdown:.2f}/{self.load}/{self.model}/{self.index:03}"


class Ours(Record):
    """What `pairing.compare` said, and how long it took."""

    verdict: Verdict
    speedup: float
    interval: tuple[float, float]
    processes: int
    seconds: float
    baseline_ms: float


class Observation(Record):
    """A finished unit. `foreign`: the share of the machine's CPU time that was used by others, the hostile load included.
    Lengthy rivals are not in all."""

    unit: Unit
    ours: Ours
    rivals: dict[str, Figures]
    foreign: float
    at: str


def plan(models: Sequence[str], sizes: Sizes) -> list[Unit]:
    """All units, in the order in which they are run: each kind spread evenly over the whole run, so that none has an hour
    of the machine to itself. The numbers are rounded up to the same for every model, quiet and hostile."""
    planted = models[: sizes.planted_models]
    kinds = [(1, 0.0, sizes.identical, models), (2, 0.0, sizes.two_threads, models)]
    kinds += [(1, slowdown, count, planted) for slowdown, count in sizes.planted.items()]
    placed: list[tuple[float, float, Unit]] = []
    for threads, slowdown, count, chosen in kinds:
        each = ceil(count / (2 * len(chosen)))
        for load, model, index in product(LOADS, chosen, range(each)):
            unit = Unit(threads=threads, load=load, model=model, slowdown=slowdown, index=index)
            placed.append((index / each, random.Random(unit.key).random(), unit))
    return [unit for _, _, unit in sorted(placed, key=lambda place: place[:2])]


@dataclass(frozen=True)
class Arena:
    """The models, the variants with a planted slowdown (`add`), and a folder for what is measured with them."""

    subjects: dict[str, Subject]
    folder: Path
    sizes: Sizes
    variants: dict[tuple[str, float], Path] = field(default_factory=dict)

    def add(self, model: str, slowdown: float, planted: Planted) -> None:
        out = self.folder / f"{model}_slower_{slowdown:.2f}.onnx"
        self.variants[model, slowdown] = slowed(self.subjects[model].path, planted.amount, out)

    def pair(self, unit: Unit) -> Pair:
        subject = self.subjects[unit.model]
        return subject.against(
            self.variants[unit.model, unit.slowdown] if unit.slowdown else subject.copy, unit.threads
        )

    def observe(self, unit: Unit) -> Observation:
        """Runs the unit: ours and the others' one after the other, in an order drawn for it."""
        pair, dice = self.pair(unit), random.Random(unit.key)
        rivals = [rival for rival in RIVALS if not rival.lengthy or (self.sizes.lengthy and unit.index % 2 == 0)]
        dice.shuffle(rivals)
        turn = dice.randint(0, len(rivals))
        with hostile_load(dice.randrange(2**32)) if unit.load == "hostile" else contextlib.nullcontext():
            before = _Clocks.read()
            figures = {rival.name: rival.figures(pair, self.folder) for rival in rivals[:turn]}
            ours = self._ours(pair)
            figures |= {rival.name: rival.figures(pair, self.folder) for rival in rivals[turn:]}
            foreign = before.foreign_until(_Clocks.read())
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Observation(unit=unit, ours=ours, rivals=figures, foreign=foreign, at=now)

    def _ours(self, pair: Pair) -> Ours:
        begin = time.monotonic()
        paired = compare(pair, ITERATIONS, self.sizes.seconds, self.folder, lambda done, message: None)
        return Ours(
            verdict=paired.speedup.verdict,
            speedup=paired.speedup.value,
            interval=paired.speedup.ci95,
            processes=paired.noise.processes,
            seconds=time.monotonic() - begin,
            baseline_ms=paired.baseline.p50,
        )


@dataclass(frozen=True)
class _Clocks:
    """The machine's CPU seconds, and those of the measuring processes that have ended."""

    reading: machine.Reading
    children_s: float

    @classmethod
    def read(cls) -> _Clocks:
        times = os.times()
        return cls(machine.read(), times.children_user + times.children_system)

    def foreign_until(self, later: _Clocks) -> float:
        """The share of the machine's capacity that neither this process nor the measuring ones used."""
        load = self.reading.until(later.reading)
        return max(0.0, load.foreign_s - (later.children_s - self.children_s)) / load.capacity_s
