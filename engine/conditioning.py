"""How much a model itself makes of the last bits of its inputs.

Recurrent nets can be so ill-conditioned that two runtimes, both right in float32, give outputs that differ by tenths of their
range on some samples. What a conversion may differ by is then what the model differs by from itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from .parting import share
from .runtimes.runner import Runner

# Of an input's largest value in any sample: two units in its last place, which the first layer's rounding amounts to.
NUDGE = 2.0**-22
# One draw may miss the direction in which a sample is unstable.
_DRAWS = 3
Feeds = dict[str, np.ndarray]
Outputs = dict[str, list[np.ndarray]]


def own_response(runner: Runner, read: Callable[[], Iterable[Feeds]]) -> float:
    """The largest difference that nudging its inputs in their last bits makes to any output, as a share of that output's
    range on these samples; 0 where no input is of floating point. `read` gives the samples, each time anew."""
    largest: dict[str, float] = {}
    for fed in read():
        for name, value in fed.items():
            largest[name] = max(largest.get(name, 0.0), float(np.max(np.abs(value), initial=0.0)))
    still: Outputs = {}
    moved: list[Outputs] = [{} for _ in range(_DRAWS)]
    dice = np.random.default_rng(0)
    for fed in read():
        _keep(still, runner.run(fed))
        for draw in moved:
            _keep(draw, runner.run({name: _nudged(value, largest[name], dice) for name, value in fed.items()}))
    return max((share(values, draw[name]) for draw in moved for name, values in still.items()), default=0.0)


def _keep(outputs: Outputs, found: Feeds) -> None:
    for name, value in found.items():
        outputs.setdefault(name, []).append(value)


def _nudged(value: np.ndarray, largest: float, dice: np.random.Generator) -> np.ndarray:
    if value.dtype.kind != "f":
        return value
    return (value + NUDGE * largest * dice.choice((-1.0, 1.0), value.shape)).astype(value.dtype)
