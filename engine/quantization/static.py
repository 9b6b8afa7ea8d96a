"""The road of static quantization: a float graph, calibration samples and a recipe to a graph with Q/DQ pairs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from onnx import ModelProto

from ..bench import Bench
from ..samples import evenly
from .bias_correction import correct_biases
from .calibrators import CALIBRATORS
from .equalization import equalize
from .graph import Wiring, add_biases
from .judging import Closeness, Judge
from .observing import Observed, observe
from .qdq import EVERY_OPERATOR, insert
from .risks import masked, risks, told_masked
from .samples import Feeds, Samples, spread
from .schemes import Scheme

AUTO = "auto"
# Samples on which `auto` compares at most, and the fewest of a set with which it can; below that it takes min-max.
_HELD_OUT, _FEWEST = 64, 10
# Samples that are run again for every layer, at most; fewer where these bytes do not hold them, but never fewer than these.
_FEW, _FEW_BYTES, _FEW_AT_LEAST = 32, 1 << 26, 8


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


class _Tried(NamedTuple):
    """`note`: of the correction of biases, where they were corrected."""

    name: str
    closeness: Closeness
    model: ModelProto | None
    note: str = ""


class _Road:
    def __init__(self, model: ModelProto, recipe: Recipe, samples: Samples, excluded: Collection[str], bench: Bench):
        self.model = model
        self.recipe = recipe
        self.samples = samples
        self.excluded = {*excluded, *_clips_of_what_is_seen(model)}
        self.bench = bench
        self.used, self.held_out = split(len(samples), recipe.samples, hold_out=recipe.calibrator == AUTO)
        self.notes = [f"8-bit types {recipe.scheme}", *self._counted()]

    def walk(self) -> tuple[ModelProto, list[str]]:
        recipe = self.recipe
        judge = Judge(self.model, lambda: self.samples.feeds(self.held_out)) if self.held_out else None
        if recipe.equalize:
            self.bench.report(0.1, "equalizing channels")
            self.notes.append(equalize(self.model, self._few(), per_channel=recipe.per_channel))
        if recipe.bias_correction:
            add_biases(self.model)
        observed = self._observe()
        self.notes += risks(self.model, observed, per_channel=recipe.per_channel)
        self._keep_masks(observed)
        if recipe.calibrator == AUTO and judge is not None:
            return self._best(observed, judge), self.notes
        if recipe.calibrator == AUTO:
            self.notes.append(f"calibrator: minmax, for {len(self.samples)} samples are too few to compare on")
        made = self._insert(observed, "minmax" if recipe.calibrator == AUTO else recipe.calibrator)
        if recipe.bias_correction:
            self.bench.report(0.75, "correcting biases")
            self.notes.append(correct_biases(self.model, made, self._few()))
        return made, self.notes

    def _keep_masks(self, observed: Observed) -> None:
        """Min-max alone stays what ONNX Runtime makes of it; of the others nobody would want that."""
        names = masked(self.model, observed)
        if not names:
            return
        kept = self.recipe.calibrator != "minmax"
        self.notes.append(told_masked(names, kept=kept))
        if kept:
            self.excluded = {*self.excluded, *names}

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

    def _best(self, observed: Observed, judge: Judge) -> ModelProto:
        """The nearest to the float model on held-out samples; of equals the first."""
        tried: list[_Tried] = []
        best: _Tried | None = None
        for one in self._candidates(observed, judge):
            tried.append(one._replace(model=None))
            if best is None or one.closeness.decibels > best.closeness.decibels:
                best = one
        assert best is not None and best.model is not None
        told = "; ".join(f"{one.name} {one.closeness}" for one in tried)
        self.notes.append(
            f"calibrator: {best.name}, whose outputs are the nearest to the float model's on {len(self.held_out)} calibration samples"
            f" that calibration did not use ({told})"
        )
        if best.note:
            self.notes.append(best.note)
        elif self.recipe.bias_correction:
            self.notes.append("bias correction: left out, since with it the outputs are further from the float model's")
        return best.model

    def _candidates(self, observed: Observed, judge: Judge) -> Iterator[_Tried]:
        """Every calibrator; where biases are to be corrected, with and without: where much is clipped it can do harm."""
        few = self._few() if self.recipe.bias_correction else []
        for at, name in enumerate(CALIBRATORS):
            self.bench.report(0.6 + 0.3 * at / len(CALIBRATORS), f"trying the calibrator {name}")
            made = self._insert(observed, name)
            yield _Tried(name, judge.closeness(made), made)
            if few:
                corrected = ModelProto()
                corrected.CopyFrom(made)
                note = correct_biases(self.model, corrected, few)
                yield _Tried(f"{name} with corrected biases", judge.closeness(corrected), corrected, note)


def _clips_of_what_is_seen(model: ModelProto) -> list[str]:
    """The activations whose input is an output of the model or goes into a subgraph: ONNX Runtime, which does not look there,
    would give it the range of what comes out, and cut its negative values off."""
    wiring = Wiring(model)
    found: list[str] = []
    for node in wiring.nodes:
        if node.op_type in ("Relu", "Clip"):
            others = [user for user in wiring.users[node.input[0]] if user is not node]
            captured = any(node.input[0] not in user.input for user in others)
            found += [node.name] if node.input[0] in wiring.outputs or captured else []
    return found


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
