"""The training loop that every technique shares: gentle, seeded, judged on samples that it does not learn from.

An epoch's weights are kept where they are the best so far on the held-out samples, and training ends early where, having
been at the accuracy floor, it falls below. The evaluation set is not seen.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from ..bench import Bench
from ..measure.outcomes import Outcomes
from .examples import Examples, Rows
from .network import Tensors, leaves
from .objective import Objective

SEED = 20261121
_BATCH = 32
_JUDGED = 64
_TRACED = 4

# The loss of a batch: from the output that is learned, what the module was fed, and the labels.
Loss = Callable[[torch.Tensor, Tensors, torch.Tensor], torch.Tensor]
Mode = Callable[[nn.Module, bool], object]


@dataclass(frozen=True)
class Recipe:
    """`learning_rate`: at the start; it falls to nothing as half a cosine. Adam without weight decay."""

    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Judged:
    """On the held-out samples: the metric's value, and the loss."""

    value: float
    loss: float


@dataclass
class Fitted:
    """`before`: without any training; `best`: the epoch whose weights were kept, 0 for none. `floor`: the value that the
    tolerance allows on the held-out samples."""

    metric: str
    floor: float
    before: Judged
    after: Judged
    best: int
    epochs: list[Judged] = field(default_factory=list)
    stopped: bool = False
    below: bool = False

    def notes(self, asked: int) -> list[str]:
        """What a caller should know of it."""
        kept = f"epoch {self.best}" if self.best else "the weights before training"
        said = [
            f"held-out {self.metric}: {self.before.value:.4f} before training, {self.after.value:.4f} at {kept}, which was kept"
            f" (floor {self.floor:.4f})"
        ]
        if self.stopped:
            said.append(f"stopped after epoch {len(self.epochs)} of {asked}: the held-out value fell below the floor")
        if self.below:
            said.append("even the best checkpoint is below the accuracy floor on the held-out samples: expect a FAIL")
        return said


@dataclass(frozen=True)
class Course:
    """The samples, what is to be learned of them, the accuracy floor on those held out, and how to say how far it is."""

    examples: Examples
    rows: Rows
    objective: Objective
    floor: float
    bench: Bench

    def judge(self, module: nn.Module, mode: Mode) -> Judged:
        """The metric and the loss on the held-out samples."""
        output = self._held_out(module, mode)
        loss = self.objective.loss(torch.from_numpy(output), self.labels(self.examples.held_out))
        return Judged(self._outcomes(output).value(), float(loss))

    def outcomes(self, module: nn.Module, mode: Mode) -> Outcomes:
        """What the module makes of the held-out samples."""
        return self._outcomes(self._held_out(module, mode))

    def _outcomes(self, output: np.ndarray) -> Outcomes:
        return self.objective.judged(self.examples, self.examples.held_out, output)

    def _held_out(self, module: nn.Module, mode: Mode) -> np.ndarray:
        """The output that is learned, for every held-out sample."""
        mode(module, False)
        held = self.examples.held_out
        parts = np.array_split(held, math.ceil(len(held) / _JUDGED))
        with torch.no_grad():
            given = [self.objective.of(leaves(module(*self.fed(indices)))) for indices in parts]
        return torch.cat(given).float().numpy()

    def example(self) -> list[torch.Tensor]:
        """A few samples, to trace with."""
        return self.fed(self.examples.learned[:_TRACED])

    def fed(self, indices: np.ndarray) -> list[torch.Tensor]:
        return [torch.from_numpy(values) for values in self.rows(indices).values()]

    def labels(self, indices: np.ndarray) -> torch.Tensor:
        return self.objective.labels(self.examples.labels[indices])

    def better(self, one: Judged, other: Judged) -> bool:
        """By the metric; where it is the same, by the loss."""
        sign = self.objective.better_sign
        return (sign * one.value, -one.loss) > (sign * other.value, -other.loss)

    def above_floor(self, found: Judged) -> bool:
        return self.objective.better_sign * (found.value - self.floor) >= 0


def train_mode(module: nn.Module, on: bool) -> None:
    module.train(on)


def fit(
    module: nn.Module,
    course: Course,
    recipe: Recipe,
    *,
    loss: Loss | None = None,
    mode: Mode = train_mode,
    after_step: Callable[[], object] = lambda: None,
    span: tuple[float, float] = (0.1, 0.85),
) -> Fitted:
    """Trains the module in place and leaves the best weights in it. `span`: of the job's progress. `after_step`: what is to
    hold again after every change of the weights, as a mask.

    The same samples, weights and number of threads give the same weights.
    """
    torch.manual_seed(SEED)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    order = np.random.default_rng(SEED)
    loss = loss or (lambda output, _fed, labels: course.objective.loss(output, labels))
    learned = course.examples.learned
    batches = math.ceil(len(learned) / _BATCH)
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs * batches)
    before = course.judge(module, mode)
    found = Fitted(course.objective.metric, course.floor, before, before, 0)
    kept = copy.deepcopy(module.state_dict())
    reached = course.above_floor(before)
    clock = _Clock(course.bench, recipe.epochs * batches, span)
    for epoch in range(1, recipe.epochs + 1):
        mode(module, True)
        mean = 0.0
        for number, indices in enumerate(np.array_split(order.permutation(learned), batches), 1):
            fed = course.fed(indices)
            optimizer.zero_grad()
            cost = loss(course.objective.of(leaves(module(*fed))), fed, course.labels(indices))
            cost.backward()
            optimizer.step()
            schedule.step()
            after_step()
            mean += (float(cost.detach()) - mean) / number
            clock.tick(
                f"epoch {epoch} of {recipe.epochs}: loss {mean:.4g}, held-out {found.metric} {found.after.value:.4f}"
            )
        now = course.judge(module, mode)
        found.epochs.append(now)
        if course.better(now, found.after):
            found.after, found.best = now, epoch
            kept = copy.deepcopy(module.state_dict())
        if reached and not course.above_floor(now):
            found.stopped = epoch < recipe.epochs
            break
        reached = reached or course.above_floor(now)
    module.load_state_dict(kept)
    mode(module, False)
    found.below = not course.above_floor(found.after)
    return found


class _Clock:
    """Reports the share of the steps that are done and the time left, by the time that they took so far."""

    def __init__(self, bench: Bench, steps: int, span: tuple[float, float]):
        self._bench, self._steps, self._span = bench, steps, span
        self._done = 0
        self._began = time.monotonic()

    def tick(self, message: str) -> None:
        self._done += 1
        share = self._done / self._steps
        left = (time.monotonic() - self._began) * (1 / share - 1)
        low, high = self._span
        self._bench.report(low + share * (high - low), f"{message}, about {left:.0f} s left")
