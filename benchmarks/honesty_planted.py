"""Variants that are slower by a known share: real work added to the graph, its amount found by measuring.

The effect is measured by `honesty_process`, which has its own code for it, and with far more calls than a comparison.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from edgeopt.benchmarks.honesty_counts import percent
from edgeopt.benchmarks.honesty_models import Subject
from edgeopt.benchmarks.honesty_process import InSequence, SideBySide, measure
from edgeopt.contract.record import Record
from edgeopt.engine.measure.statistics import t_quantile
from onnx import TensorProto, helper, numpy_helper

# What a value that is added costs here and there, about: it says where to begin. And more values than should be needed.
_VALUE_MS = 1e-5
_MOST_AMOUNT = 2**24
# A variant is taken where its slowdown is known so well (half the width of its 95 % interval): processes differ by 1 to 2 %.
_KNOWN = 0.006
_ROUNDS = 6


@dataclass(frozen=True)
class Effort:
    """How thoroughly a slowdown is planted: bisections, ms of a process in them, processes and ms of a round of the final
    measure.

    `insist`: to add rounds until the slowdown is known, and to raise where it never is.
    """

    halvings: int
    ms: float
    processes: int
    final_ms: float
    insist: bool


THOROUGH = Effort(halvings=4, ms=1500, processes=16, final_ms=800, insist=True)
HASTY = Effort(halvings=2, ms=600, processes=2, final_ms=1000, insist=False)


class Planted(Record):
    """The work that was added, and the slowdown that it was then measured to make, with its 95 % interval."""

    amount: int
    slowdown: float
    interval: tuple[float, float]


def slowed(model: Path, amount: int, out: Path) -> Path:
    """Writes a copy with an output more: the largest of `amount` hyperbolic arc sines that depend on the input.

    A runtime can neither fold that away nor leave it out, and every value costs about the same.
    """
    proto = onnx.load(model)
    graph = proto.graph
    graph.initializer.append(numpy_helper.from_array(np.linspace(0, 1, amount, dtype=np.float32), "extra_values"))
    graph.node.extend(
        [
            helper.make_node("ReduceMax", [graph.input[0].name], ["extra_scalar"], keepdims=0),
            helper.make_node("Add", ["extra_scalar", "extra_values"], ["extra_sums"]),
            helper.make_node("Asinh", ["extra_sums"], ["extra_work"]),
            helper.make_node("ReduceMax", ["extra_work"], ["extra_output"], keepdims=0),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("extra_output", TensorProto.FLOAT, []))
    onnx.checker.check_model(proto)
    onnx.save(proto, out)
    return out


def amount_for(slowdown: float, measured: Callable[[int], float], first: int, halvings: int) -> int:
    """The amount of work that slows a model down by this share, by doubling the first guess and then bisecting.

    Raises:
        RuntimeError: the least work is too much already, or nothing is enough.
    """
    low, high = 0, first
    while measured(high) < slowdown:
        low, high = high, 2 * high
        if high > _MOST_AMOUNT:
            raise RuntimeError(f"no amount of work that was tried slows the model down by {percent(slowdown)}")
    for _ in range(halvings):
        middle = (low + high) // 2
        low, high = (middle, high) if measured(middle) < slowdown else (low, middle)
    amount = (low + high) // 2
    if amount < 1:
        raise RuntimeError(f"the model is too fast: a single operation slows it down by more than {percent(slowdown)}")
    return amount


def plant(subject: Subject, slowdown: float, effort: Effort, tmp: Path) -> Planted:
    """Finds the work that slows this model down by `slowdown`, and measures what it does.

    Raises:
        RuntimeError: the machine was too noisy, or the model is too fast for so small a share.
    """
    trial = tmp / f"{subject.name}_trial.onnx"

    def measured(amount: int) -> float:
        return _slowdowns(subject, slowed(subject.path, amount, trial), 1, effort.ms, tmp)[0]

    first = max(1, round(slowdown * _call_ms(subject, tmp) / _VALUE_MS))
    amount = amount_for(slowdown, measured, first, effort.halvings)
    each: list[float] = []  # what a value that is added slows down by, as each process found it
    while True:
        found = _slowdowns(subject, slowed(subject.path, amount, trial), effort.processes, effort.final_ms, tmp)
        each += [slow / amount for slow in found]
        amount = max(1, round(slowdown / max(statistics.fmean(each), slowdown / _MOST_AMOUNT)))
        planted = _summary(amount, [value * amount for value in each])
        if not effort.insist or planted.interval[1] - planted.slowdown <= _KNOWN:
            return planted
        if len(each) >= _ROUNDS * effort.processes:
            low, high = planted.interval
            raise RuntimeError(
                f"{subject.name}: a slowdown of {percent(slowdown)} was sought, and after {len(each)} processes it is known only"
                f" to be between {low:.1%} and {high:.1%}. The machine is too busy to plant it: run this again when it is"
                " quieter."
            )


def _call_ms(subject: Subject, tmp: Path) -> float:
    task = InSequence(models=[str(subject.path)], inputs=str(subject.inputs), threads=1, warm_calls=5, calls=50)
    return statistics.median(measure(task, tmp).times_ms[0])


def _slowdowns(subject: Subject, variant: Path, processes: int, ms: float, tmp: Path) -> list[float]:
    """What each of so many fresh processes finds: the median over its quads. Each model is the first in half of them."""
    found = []
    for index in range(processes):
        turned = index % 2 == 1
        first, second = (variant, subject.path) if turned else (subject.path, variant)
        task = SideBySide(models=(str(first), str(second)), inputs=str(subject.inputs), threads=1, ms=ms)
        ratio = statistics.median(measure(task, tmp).log_ratios)
        found.append(math.expm1(-ratio if turned else ratio))
    return found


def _summary(amount: int, slowdowns: list[float]) -> Planted:
    """Student's interval over processes."""
    mean, n = statistics.fmean(slowdowns), len(slowdowns)
    half = t_quantile(0.975, n - 1) * statistics.stdev(slowdowns) / math.sqrt(n)
    return Planted(amount=amount, slowdown=mean, interval=(mean - half, mean + half))
