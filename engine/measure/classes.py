"""Which classes a variant has ruined: a total within the tolerance can hide a class that is lost."""

from __future__ import annotations

import numpy as np

from ...contract.measures import ClassDrop
from .noninferiority import Bar
from .outcomes import Outcomes
from .statistics import drop_above, exact_p_above, holm

# A class of fewer different samples is not tested: hardly any loss in it could be proven, and each test costs the others
# some power. Chosen by the labels alone, so that the choice favours no outcome.
FEWEST = 10


def class_drops(baseline: Outcomes, variant: Outcomes, bar: Bar) -> list[ClassDrop]:
    """Every class of at least `FEWEST` different samples, by its share of samples that are right (top5: among the five).

    `ruined`: its drop is proven larger than the tolerance of the class's own baseline, by an exact paired test with Holm's
    correction, so that a variant that ruins no class has one called ruined with a chance of at most `bar.alpha`.
    """
    labels = baseline.labels[baseline.unique]
    before, now = baseline.correct[baseline.unique], variant.correct[baseline.unique]
    classes, counts = np.unique(labels, return_counts=True)
    tested = classes[counts >= FEWEST]
    of_class = [labels == label for label in tested]
    p_values = [_p_value(before[index], now[index], bar) for index in of_class]
    return [
        ClassDrop(
            label=int(label),
            samples=int(index.sum()),
            baseline=float(before[index].mean()),
            optimized=float(now[index].mean()),
            drop=float(before[index].mean() - now[index].mean()),
            ruined=ruined,
        )
        for label, index, ruined in zip(tested, of_class, holm(p_values, bar.alpha), strict=True)
    ]


def _p_value(before: np.ndarray, now: np.ndarray, bar: Bar) -> float:
    n, b, c = len(before), int(np.sum(before & ~now)), int(np.sum(~before & now))
    margin = bar.margin(float(before.mean()))
    # Most classes are nowhere near: the quick test, which errs towards ruin, spares them the exact one.
    if margin >= 1 or not drop_above(b, c, n, margin, bar.alpha):
        return 1.0
    return exact_p_above(b, c, n, margin)
