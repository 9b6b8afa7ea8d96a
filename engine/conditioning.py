"""How much a model itself makes of the last bits of its inputs.

Recurrent nets can be so ill-conditioned that two runtimes, both right in float32, give outputs that differ by tenths of their
range on some samples. What a conversion may differ by is then what the model differs by from itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .parting import share
from .runtimes.runner import Runner

# Of an input's largest value: two units in the last place, which the first layer's rounding amounts to.
NUDGE = 2.0**-22
# One draw may miss the direction in which a sample is unstable.
_DRAWS = 3
Feeds = dict[str, np.ndarray]


def own_response(runner: Runner, feeds: Iterable[Feeds]) -> float:
    """The largest difference that nudging its inputs in their last bits makes to any output, as a share of that output's
    range on these samples; 0 where no input is of floating point."""
    still: dict[str, list[np.ndarray]] = {}
    moved: list[dict[str, list[np.ndarray]]] = [{} for _ in range(_DRAWS)]
    dice = np.random.default_rng(0)
    for fed in feeds:
        for name, value in runner.run(fed).items():
            still.setdefault(name, []).append(value)
        for draw in moved:
            for name, value in runner.run(_nudged(fed, dice)).items():
                draw.setdefault(name, []).append(value)
    return max((share(values, draw[name]) for draw in moved for name, values in still.items()), default=0.0)


def _nudged(fed: Feeds, dice: np.random.Generator) -> Feeds:
    return {name: _with_noise(value, dice) if value.dtype.kind == "f" else value for name, value in fed.items()}


def _with_noise(value: np.ndarray, dice: np.random.Generator) -> np.ndarray:
    size = NUDGE * max(float(np.max(np.abs(value), initial=0.0)), np.finfo(np.float32).tiny / NUDGE)
    return (value + size * dice.choice((-1.0, 1.0), value.shape)).astype(value.dtype)
