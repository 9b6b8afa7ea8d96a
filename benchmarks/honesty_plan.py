"""Which comparisons there are to be, and in which order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Literal, get_args

from edgeopt.contract.record import Record

Load = Literal["quiet", "hostile"]
LOADS: tuple[Load, ...] = get_args(Load)

# What the tool benchmark_variant does by default.
ITERATIONS = 200


@dataclass(frozen=True)
class Sizes:
    """How many comparisons: of identical models on one thread, of each planted slowdown, of identical ones on two
    threads. `planted_models`: the number of models that slowdowns are planted in. `seconds`: of one of ours, None as the
    product gives it. `lengthy`: whether lengthy rivals take part."""

    identical: int
    planted: dict[float, int]
    planted_models: int | None
    two_threads: int
    seconds: float | None
    lengthy: bool


FULL = Sizes(
    identical=200, planted={0.03: 16, 0.05: 32}, planted_models=None, two_threads=40, seconds=None, lengthy=True
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
