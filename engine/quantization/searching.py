"""How much accuracy a model keeps, for searches: on labelled calibration data, never on the evaluation set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...contract.evaluation import Preprocessing
from ...contract.measures import Interface
from ..bench import Bench
from ..data.dataset import Dataset, open_dataset
from ..jobs import Optimize
from ..measure.accuracy import evaluate
from ..measure.noninferiority import drop
from ..problems import JobProblem
from ..runtimes.runner import open_runner

# Of the tolerance: what a search may use up on its own samples. It chooses among candidates, which flatters the chosen one.
SHARE = 0.5


class Search:
    """`whole`: the metric's value of the float model on the search samples. `allowed`: the drop that a search accepts."""

    def __init__(self, value: Callable[[Path], float], metric: str, whole: float, allowed: float, samples: int):
        self._value, self._metric = value, metric
        self.whole, self.allowed, self.samples = whole, allowed, samples

    def drop(self, model: Path) -> float:
        """What this model loses, positive when worse, in units of the metric."""
        return drop(self._metric, self.whole, self._value(model))

    def __str__(self) -> str:
        return f"{self._metric} on {self.samples} labelled calibration samples ({self.whole:.4f} in float)"


def open_search(
    task: Optimize, preprocessing: Preprocessing, interface: Interface, parent: Path, bench: Bench
) -> Search:
    """On the session's calibration set, which must have labels. Raises JobProblem CALIBRATION_UNFIT where it has none."""
    labelled = _labelled(task, preprocessing, interface, bench)
    metric = task.evaluation.metric

    def value(model: Path) -> float:
        runner = open_runner(model, interface=interface)
        decoding = task.evaluation.decoding
        return evaluate(runner, labelled, metric, lambda _done, _what: None, decoding=decoding).value()

    whole = value(parent)
    allowed = SHARE * task.tolerance * (abs(whole) if task.tolerance_kind == "relative" else 1.0)
    return Search(value, metric, whole, allowed, len(labelled))


def _labelled(task: Optimize, preprocessing: Preprocessing, interface: Interface, bench: Bench) -> Dataset:
    if task.evaluation.adapter or task.evaluation.metric_code:
        raise JobProblem(
            "UNAVAILABLE",
            "a search evaluates by built-in metrics alone, and this session's needs code of your own: rank the layers with"
            " analyze_sensitivity and name those to keep in int8_static keep_float=[...]",
        )
    try:
        return open_dataset(
            str(task.calibration_path), preprocessing, interface.inputs, labelled=True, roots=bench.roots
        )
    except JobProblem as found:
        raise JobProblem(
            "CALIBRATION_UNFIT",
            "choosing the layers to keep in float takes labels, and the calibration set has none that can be used"
            f" ({found.problem.message}): open a session with a labelled calibration set (outside the evaluation set), or"
            " rank the layers with analyze_sensitivity and name those to keep in int8_static keep_float=[...]",
        ) from found
