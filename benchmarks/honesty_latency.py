"""One comparison of latency: ours and the others' on the same pair, in the same minute."""

from __future__ import annotations

import contextlib
import os
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edgeopt.benchmarks.honesty_load import hostile_load
from edgeopt.benchmarks.honesty_models import Subject
from edgeopt.benchmarks.honesty_plan import ITERATIONS, Sizes, Unit
from edgeopt.benchmarks.honesty_planted import Planted, slowed
from edgeopt.benchmarks.honesty_rivals import RIVALS, Figures, Verdict
from edgeopt.contract.record import Record
from edgeopt.engine.jobs import comparison_seconds
from edgeopt.engine.measure import machine
from edgeopt.engine.measure.pairing import Pair, compare

# Rivals that take several times as long as the others take part in every fourth comparison.
LENGTHY_EVERY = 4


class Ours(Record):
    """What `pairing.compare` said, and how long it took once it had the machine."""

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
        rivals = [
            rival for rival in RIVALS if not rival.lengthy or (self.sizes.lengthy and unit.index % LENGTHY_EVERY == 0)
        ]
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
        began = time.monotonic()

        def report(done: float, message: str) -> None:
            nonlocal began
            if done == 0:  # another measurement has the machine
                began = time.monotonic()

        seconds = self.sizes.seconds or comparison_seconds(pair.threads)
        paired = compare(pair, ITERATIONS, seconds, self.folder, report)
        return Ours(
            verdict=paired.speedup.verdict,
            speedup=paired.speedup.value,
            interval=paired.speedup.ci95,
            processes=paired.noise.processes,
            seconds=time.monotonic() - began,
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
