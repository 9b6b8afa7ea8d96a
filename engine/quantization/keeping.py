"""Which layers stay in float so that a quantized model keeps its accuracy: as few, and as cheap, as do.

Layers are taken in the order of the error that keeping each removes for the time that it costs. Errors of single layers add
up nearly enough for that; what a number of kept layers gives is measured, by doubling it and then bisecting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import onnx
from onnx import ModelProto

from ...contract.text import untrusted
from ..bench import Bench
from ..explaining.operators import Operator, Workload, profile
from ..samples import evenly
from ..sensitivity.layers import QUANTIZED
from ..sensitivity.ranking import Sensitivity, rank
from .graph import Wiring
from .samples import Samples
from .searching import Search
from .static import AUTO, Recipe, quantize

_RANKED_ON = 32
# While many candidates are tried: what `auto` chose on the fragile MobileNetV2 whose channels were equalized. The last model
# takes `auto` itself.
_WHILE_SEARCHING = "mse"
_NAMED = 6


# A layer is kept alone, or with what its inputs come from: this share of the layers, kept alone, is reason to try the other.
_MANY = 0.25


class Kept(NamedTuple):
    """`names`: of the prepared model's nodes. `notes`: what was tried, in sentences."""

    names: list[str]
    notes: list[str]


class Tried(NamedTuple):
    """What was found in one order of candidates: the nodes to keep, of so many candidates, and the drop that is left."""

    names: list[str]
    candidates: int
    drop: float
    told: str


def keep(model: ModelProto, recipe: Recipe, samples: Samples, search: Search, most: int | None, bench: Bench) -> Kept:
    """The fewest layers of the prepared float `model`, at most `most`, with which the quantized one loses no more than the
    search allows; the best that was found, where that is not enough. The model is left as it is.

    A layer that is kept alone still takes inputs that were rounded where they were made. Where that does not do, it is
    kept with the layers that make them.
    """
    light = replace(recipe, calibrator=_WHILE_SEARCHING if recipe.calibrator == AUTO else recipe.calibrator)
    candidate = _Candidate(model, light, samples, search, bench)
    nothing = candidate.drop([])
    if nothing <= search.allowed:
        return Kept([], [f"keep_float: no layer needs to stay in float (drop {nothing:+.4f} of {search})"])
    order = _order(model, samples, bench)
    found = [_least([[name] for name in order], candidate, search, len(order) if most is None else most)]
    if found[0].drop > search.allowed or found[0].candidates > _MANY * len(order):
        groups = _with_makers(model, order)
        if limit := _fitting(groups, order, most):
            found.append(_least(groups, candidate, search, limit))
    best = min(found, key=lambda tried: (max(tried.drop, search.allowed), len(tried.names), tried.drop))
    kept = [name for name in order if name in best.names]
    shown = ", ".join(untrusted(name, 60) for name in kept[:_NAMED])
    more = f" and {len(kept) - _NAMED} more" if len(kept) > _NAMED else ""
    enough = "" if best.drop <= search.allowed else ", which is still more than the search allows"
    return Kept(
        best.names,
        [
            f"keep_float: {len(kept)} of {len(order)} layers stay in float ({shown}{more}); drops of {search}: 0 kept"
            f" {nothing:+.4f}; {best.told}{enough}"
        ],
    )


class _Candidate:
    """The quantized model with some nodes in float, made and evaluated once for each choice."""

    def __init__(self, model: ModelProto, recipe: Recipe, samples: Samples, search: Search, bench: Bench):
        self._model, self._recipe, self._samples, self._search, self._bench = model, recipe, samples, search, bench
        self._known: dict[frozenset[str], float] = {}

    def drop(self, kept: Sequence[str]) -> float:
        names = frozenset(kept)
        if names not in self._known:
            done = 1 - 0.9 ** len(self._known)
            self._bench.report(0.1 + 0.7 * done, f"trying INT8 with {len(names)} nodes in float")
            file = self._bench.tmp / "candidate.onnx"
            onnx.save(_quantized(self._model, self._recipe, self._samples, kept, self._bench), file)
            self._known[names] = self._search.drop(file)
        return self._known[names]


def _fitting(groups: Sequence[list[str]], order: Sequence[str], most: int | None) -> int:
    """How many of the groups, from the first on, hold at most so many layers in all."""
    layers, held = set(order), set[str]()
    for count, group in enumerate(groups):
        held |= layers.intersection(group)
        if most is not None and len(held) > most:
            return count
    return len(groups)


def _least(groups: Sequence[list[str]], candidate: _Candidate, search: Search, most: int) -> Tried:
    """The shortest beginning of the groups, of at most so many, that does."""
    drops: dict[int, float] = {}

    def first(count: int) -> list[str]:
        return list(dict.fromkeys(name for group in groups[:count] for name in group))

    def good(count: int) -> bool:
        drops[count] = candidate.drop(first(count))
        return drops[count] <= search.allowed

    count = fewest(good, min(len(groups), most))
    told = "; ".join(f"{number} kept {value:+.4f}" for number, value in sorted(drops.items()))
    return Tried(first(count), count, drops[count], told)


def _with_makers(model: ModelProto, order: Sequence[str]) -> list[list[str]]:
    """Each layer with the nodes that its activations come from, up to and with the layers that make them."""
    wiring, nodes = Wiring(model), {node.name: node for node in model.graph.node}
    groups: list[list[str]] = []
    for name in order:
        group, front = [name], [wiring.maker.get(tensor) for tensor in nodes[name].input[:2]]
        while front:
            maker = front.pop()
            if maker is None or maker.name in group:
                continue
            group.append(maker.name)
            if maker.op_type not in QUANTIZED:
                front += [wiring.maker.get(tensor) for tensor in maker.input]
        groups.append(group)
    return groups


def fewest(good: Callable[[int], bool], limit: int) -> int:
    """The least count from 1 to `limit` that is good, if being good is monotone; `limit` where none is.

    By doubling and bisection: about 2 log2(count) questions.
    """
    low, high = 0, 1
    while high < limit and not good(high):
        low, high = high, 2 * high
    high = min(high, limit)
    if not good(high):
        return limit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def _quantized(model: ModelProto, recipe: Recipe, samples: Samples, kept: Sequence[str], bench: Bench) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return quantize(copy, recipe, samples, kept, bench)[0]


def _order(model: ModelProto, samples: Samples, bench: Bench) -> list[str]:
    """The layers' names, those first that remove most error for the time that they cost in float."""
    feeds = list(samples.feeds(evenly(len(samples), _RANKED_ON)))
    copy = ModelProto()
    copy.CopyFrom(model)
    scores = rank(copy, feeds, lambda done, what: bench.report(0.15 + 0.2 * done, what))
    file = bench.tmp / "float.onnx"
    onnx.save(model, file)
    times = times_us(file, scores, profile([Workload(file, feeds[:8])], 1, bench.tmp, blocks=1)[0])
    return [score.layer.name for score in sorted(scores, key=lambda score: -score.noise / times[score.layer.name])]


def times_us(file: Path, scores: Sequence[Sensitivity], operators: Sequence[Operator]) -> Mapping[str, float]:
    """Of each layer in float. A runtime names what it fused after a node, or not at all: then the mean stands for it."""
    mean = sum(operator.us for operator in operators) / max(1, len(operators)) or 1.0
    known = {operator.name: operator.us for operator in operators}

    def of(name: str) -> float:
        fused = (us for fused_name, us in known.items() if name in fused_name.split())
        return max(known.get(name) or next(fused, mean), 1.0)

    return {score.layer.name: of(score.layer.name) for score in scores}
