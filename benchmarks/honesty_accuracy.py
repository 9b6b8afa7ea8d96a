"""The accuracy verdicts, ours and the others', on drawn data whose true drop is known.

What is drawn are the outcomes of two models on the same samples; the verdicts are the product's own
(`noninferiority.judge`, at the error that `ledger.look_alpha` allows). Seeds are fixed: the same code gives the same
figures.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
from edgeopt.benchmarks.honesty_counts import percent
from edgeopt.contract.record import Record
from edgeopt.engine.measure.noninferiority import Bar, Status, judge
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.state.ledger import ALPHA, look_alpha

TOLERANCE = 0.02
CANDIDATES = 20
_SEED = 20


class Table(NamedTuple):
    """How two models did on the same samples: right before, of these wrong now; wrong before, of these right now."""

    samples: int
    right: int
    lost: int
    won: int


class Population(Record):
    """A source of paired samples: the baseline's true accuracy, the variant's true relative drop, and how large a share
    of the samples the two decide differently, one rightly."""

    samples: int
    baseline: float
    drop: float
    disagree: float

    def lost_and_won(self) -> tuple[float, float]:
        """The probabilities that a sample is lost and that it is won."""
        drop = self.drop * self.baseline
        if self.disagree < drop:
            raise ValueError(f"a drop of {drop:.3f} takes more disagreement than {self.disagree:.3f}")
        return (self.disagree + drop) / 2, (self.disagree - drop) / 2

    def draw(self, dice: np.random.Generator, times: int, candidates: int) -> list[list[Table]]:
        """`times` evaluation sets, each with so many variants judged on it; given the set, they err independently."""
        lost, won = self.lost_and_won()
        right = dice.binomial(self.samples, self.baseline, (times, 1))
        shape = (times, candidates)
        losses = dice.binomial(np.broadcast_to(right, shape), lost / self.baseline)
        wins = dice.binomial(np.broadcast_to(self.samples - right, shape), won / (1 - self.baseline))
        return [
            [Table(self.samples, int(right[row, 0]), int(losses[row, c]), int(wins[row, c])) for c in range(candidates)]
            for row in range(times)
        ]


@lru_cache(maxsize=1_000_000)
def verdict(table: Table, alpha: float) -> Status:
    """The product's, on outcomes that make up this table."""
    cells = [table.right - table.lost, table.lost, table.won, table.samples - table.right - table.won]
    before = np.repeat([True, True, False, False], cells)
    now = np.repeat([True, False, True, False], cells)
    return judge(_outcomes(before), _outcomes(now), Bar(TOLERANCE, "relative", alpha)).status


def point_rule(table: Table) -> Status:
    """The drop that was seen against the tolerance: what Olive's goals, NNCF's max_drop and INC's criterion do."""
    return "PASS" if table.lost - table.won <= TOLERANCE * table.right else "FAIL"


def _outcomes(correct: np.ndarray) -> Outcomes:
    """Of a classifier in two classes, all samples in the first."""
    n = len(correct)
    return Outcomes(
        metric="top1",
        labels=np.zeros(n, np.int64),
        decisions=np.where(correct, 0, 1),
        correct=correct,
        lead=np.ones(n),
        finite=np.ones(n, np.bool_),
        unique=np.arange(n),
        varies=True,
        chance=0.5,
    )


class Statuses(Record):
    """How often each verdict was given: by ours at its first look, and by the point rule."""

    population: Population
    ours: dict[str, int]
    point: dict[str, int]


def first_looks(population: Population, times: int) -> Statuses:
    """One variant judged once, many times over."""
    tables = [row[0] for row in population.draw(np.random.default_rng(_SEED), times, 1)]
    return Statuses(
        population=population,
        ours=_tally(verdict(table, look_alpha(1)) for table in tables),
        point=_tally(map(point_rule, tables)),
    )


def _tally(statuses: Iterable[Status]) -> dict[str, int]:
    counted = Counter(statuses)
    return {status: counted[status] for status in get_args(Status)}


class Greens(Record):
    """Of so many agents that each try 20 variants until one passes: how many succeed, by rule."""

    population: Population
    of: int
    passed: dict[str, int]


LOOP_RULES: dict[str, Callable[[int, Table], Status]] = {
    "edgeopt: the ledger's error for each look": lambda number, table: verdict(table, look_alpha(number)),
    f"the same test at {percent(ALPHA)} every time": lambda number, table: verdict(table, ALPHA),
    f"the same test at {percent(ALPHA)} / {CANDIDATES}": lambda number, table: verdict(table, ALPHA / CANDIDATES),
    "point rule (Olive, NNCF, INC)": lambda number, table: point_rule(table),
}
LEDGER = next(iter(LOOP_RULES))


def loops(population: Population, times: int) -> Greens:
    """An agent that tries variants, all as bad as the population says, on one set until one passes."""
    passed = dict.fromkeys(LOOP_RULES, 0)
    for tables in population.draw(np.random.default_rng(_SEED), times, CANDIDATES):
        for name, rule in LOOP_RULES.items():
            passed[name] += any(rule(number, table) == "PASS" for number, table in enumerate(tables, 1))
    return Greens(population=population, of=times, passed=passed)


class Hard(Record):
    """A source of pairs for a metric that the product judges by the bootstrap, with a true drop of the tolerance exactly.

    f1_macro: `share` of the samples are decided differently. rmse: `share` of the predictions are worse than before.
    """

    metric: Literal["f1_macro", "rmse"]
    samples: int
    share: float

    def draw(self, dice: np.random.Generator) -> tuple[Outcomes, Outcomes]:
        return _classes(dice, self) if self.metric == "f1_macro" else _regression(dice, self)


class Resampled(Record):
    """How often it passed, by ours at its first look and by the point rule."""

    source: Hard
    of: int
    ours: int
    point: int


def resampled(source: Hard, times: int) -> Resampled:
    """Draws so many pairs of models and has them judged."""
    dice = np.random.default_rng(_SEED)
    bar = Bar(TOLERANCE, "relative", look_alpha(1))
    verdicts = [judge(*source.draw(dice), bar) for _ in range(times)]
    return Resampled(
        source=source,
        of=times,
        ours=sum(found.status == "PASS" for found in verdicts),
        point=sum(found.drop <= found.margin for found in verdicts),
    )


def _regression(dice: np.random.Generator, source: Hard) -> tuple[Outcomes, Outcomes]:
    """Normal errors, and the variant's own on top of some, so that the true rmse rises by exactly the tolerance."""
    shape = (source.samples, 1)
    labels = dice.standard_normal(shape)
    before = labels + dice.standard_normal(shape)
    added = math.sqrt(((1 + TOLERANCE) ** 2 - 1) / source.share) * dice.standard_normal(shape)
    now = before + np.where(dice.random(shape) < source.share, added, 0)
    return _predicted(labels, before), _predicted(labels, now)


def _predicted(labels: np.ndarray, decisions: np.ndarray) -> Outcomes:
    return Outcomes(
        metric="rmse",
        labels=labels,
        decisions=decisions,
        correct=np.zeros(0, np.bool_),
        lead=np.zeros(0),
        finite=np.ones(len(labels), np.bool_),
        unique=np.arange(len(labels)),
        varies=True,
        chance=1.0,
    )


_CLASSES = 4


def _classes(dice: np.random.Generator, source: Hard) -> tuple[Outcomes, Outcomes]:
    """Balanced classes and errors that go to all others alike: precision, recall and so F1 are then the accuracy, of
    which 2 % is lost."""
    n = source.samples
    population = Population(samples=n, baseline=0.75, drop=TOLERANCE, disagree=source.share)
    lost, won = population.lost_and_won()
    labels = dice.integers(0, _CLASSES, n)
    wrong = (labels + dice.integers(1, _CLASSES, n)) % _CLASSES
    right, draw = dice.random(n) < population.baseline, dice.random(n)
    right_now = np.where(right, draw >= lost / population.baseline, draw < won / (1 - population.baseline))
    return _decided(labels, wrong, right), _decided(labels, wrong, right_now)


def _decided(labels: np.ndarray, wrong: np.ndarray, correct: np.ndarray) -> Outcomes:
    n = len(labels)
    return Outcomes(
        metric="f1_macro",
        labels=labels,
        decisions=np.where(correct, labels, wrong),
        correct=correct,
        lead=np.ones(n),
        finite=np.ones(n, np.bool_),
        unique=np.arange(n),
        varies=True,
        chance=1 / _CLASSES,
    )
