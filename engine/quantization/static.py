"""The road of static quantization: a float graph, calibration samples and a recipe to a graph with Q/DQ pairs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx import ModelProto

from ..bench import Bench
from ..samples import evenly
from .bias_correction import correct_biases
from .calibrators import CALIBRATORS
from .equalization import equalize
from .graph import add_biases
from .judging import Closeness, Judge
from .observing import Observed, observe
from .qdq import EVERY_OPERATOR, insert
from .risks import risks
from .samples import Feeds, Samples, spread
from .schemes import Scheme

AUTO = "auto"
# Samples on which `auto` compares at most, and the fewest of a set with which it can; below that it takes min-max.
_HELD_OUT, _FEWEST = 64, 10
# Samples that are run again for every layer, at most; fewer where these bytes do not hold them, but never fewer than these.
_FEW, _FEW_BYTES, _FEW_AT_LEAST = 64, 1 << 26, 8


@dataclass(frozen=True)
class Recipe:
    """`calibrator`: one of CALIBRATORS, or AUTO. `samples`: how many to calibrate on. `operators`: the types of nodes that
    are quantized. `options`: ONNX Runtime's `extra_options`."""

    scheme: Scheme
    per_channel: bool = True
    calibrator: str = "minmax"
    samples: int = 256
    equalize: bool = False
    bias_correction: bool = False
    operators: frozenset[str] = EVERY_OPERATOR
    options: Mapping[str, Any] = field(default_factory=dict)


def quantize(
    model: ModelProto, recipe: Recipe, samples: Samples, excluded: Collection[str], bench: Bench
) -> tuple[ModelProto, list[str]]:
    """The prepared float `model` (`techniques.preparing`) quantized, and what the caller should know of it. Nodes of the
    names in `excluded` stay in float. The model may be changed."""
    return _Road(model, recipe, samples, excluded, bench).walk()


class _Road:
    def __init__(self, model: ModelProto, recipe: Recipe, samples: Samples, excluded: Collection[str], bench: Bench):
        self.model = model
        self.recipe = recipe
        self.samples = samples
        self.excluded = excluded
        self.bench = bench
        self.used, self.held_out = split(len(samples), recipe.samples, hold_out=recipe.calibrator == AUTO)
        self.notes = [f"8-bit types {recipe.scheme}", *self._counted()]

    def walk(self) -> tuple[ModelProto, list[str]]:
        recipe = self.recipe
        judge = Judge(self.model, self.samples.feeds(self.held_out)) if self.held_out else None
        if recipe.equalize:
            self.bench.report(0.1, "equalizing channels")
            self.notes.append(equalize(self.model, self._few(), per_channel=recipe.per_channel))
        if recipe.bias_correction:
            add_biases(self.model)
        observed = self._observe()
        self.notes += risks(self.model, observed, per_channel=recipe.per_channel)
        made = self._insert(observed, recipe.calibrator) if recipe.calibrator != AUTO else self._best(observed, judge)
        if recipe.bias_correction:
            self.bench.report(0.75, "correcting biases")
            self.notes.append(correct_biases(self.model, made, self._few()))
            if judge is not None:
                self.notes.append(f"with corrected biases the outputs are at {judge.closeness(made)}")
        return made, self.notes

    def _counted(self) -> list[str]:
        used = len(self.used) + len(self.held_out)
        if len(self.used) >= self.recipe.samples or used < len(self.samples):
            return []
        return [f"the calibration set has {used} samples, and all were used ({self.recipe.samples} asked for)"]

    def _few(self) -> list[Feeds]:
        """Enough of the samples to know the means of channels by, held in memory: they are run again and again."""
        order = [self.used[at] for at in evenly(len(self.used), _FEW)]
        first = next(self.samples.feeds(order[:1]))
        fit = max(_FEW_AT_LEAST, _FEW_BYTES // max(1, sum(array.nbytes for array in first.values())))
        return list(self.samples.feeds([order[at] for at in evenly(len(order), fit)]))

    def _observe(self) -> Observed:
        count = len(self.used)

        def progress(done: int) -> None:
            self.bench.report(0.1 + 0.5 * min(1.0, done / count), f"calibrating on {count} samples")

        return observe(
            self.model,
            self.samples.feeds(self.used),
            operators=self.recipe.operators,
            excluded=self.excluded,
            histograms=self.recipe.calibrator != "minmax",
            progress=progress,
        )

    def _insert(self, observed: Observed, calibrator: str) -> ModelProto:
        choose = CALIBRATORS[calibrator]
        return insert(
            self.model,
            observed.ranges(lambda seen: choose(seen, self.recipe.scheme)),
            self.recipe.scheme,
            per_channel=self.recipe.per_channel,
            operators=self.recipe.operators,
            excluded=self.excluded,
            options=self.recipe.options,
            scratch=self.bench.tmp,
        )

    def _best(self, observed: Observed, judge: Judge | None) -> ModelProto:
        """The nearest to the float model on held-out samples; of equals the first."""
        if judge is None:
            self.notes.append(f"calibrator: minmax, for {len(self.samples)} samples are too few to compare on")
            return self._insert(observed, "minmax")
        found: dict[str, Closeness] = {}
        best: tuple[str, ModelProto] | None = None
        for name in CALIBRATORS:
            self.bench.report(0.65, f"trying the calibrator {name}")
            made = self._insert(observed, name)
            found[name] = judge.closeness(made)
            if best is None or found[name].decibels > found[best[0]].decibels:
                best = name, made
        assert best is not None
        told = "; ".join(f"{name} {closeness}" for name, closeness in found.items())
        self.notes.append(
            f"calibrator: {best[0]}, whose outputs are the nearest to the float model's on {len(judge)} calibration samples"
            f" that calibration did not use ({told})"
        )
        return best[1]


def split(size: int, count: int, *, hold_out: bool) -> tuple[list[int], list[int]]:
    """The samples to calibrate on, at most `count` of `size`, and those to compare on: others of the set where there are
    enough of them, else a fifth of those."""
    used = spread(size, count)
    if not hold_out or size < _FEWEST:
        return used, []
    wanted = min(_HELD_OUT, size // 5)
    rest = sorted(set(range(size)) - set(used))
    if len(rest) >= wanted:
        return used, [rest[at] for at in spread(len(rest), wanted)]
    return [sample for at, sample in enumerate(used) if at % 5 != 2], used[2::5]
