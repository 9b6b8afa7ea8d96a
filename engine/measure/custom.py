"""A metric of the user's own: a function of a file that the operator allowed, called in the sandbox alone."""

from __future__ import annotations

import numpy as np

from ..problems import JobProblem
from .outcomes import Outcomes
from .statistics import bootstrap
from .user_code import UserFunction

Arrays = dict[str, np.ndarray]

# Calls of a function that gives one number: enough for an interval, few enough for a slow one.
RESAMPLES = 1000
# Outputs of all samples lie in memory at once, and once more for each call.
MOST_BYTES = 2**30


class UserMetric:
    """`metric(outputs, labels)`, its answer checked. Higher is better."""

    def __init__(self, function: UserFunction):
        self.function = function

    def __call__(self, outputs: Arrays, labels: np.ndarray, where: str) -> np.ndarray:
        """One finite number, float64 (), or one for each sample, float64 (samples,). `where` is for the message.

        JobProblem INVALID_ARGUMENT where the function fails or gives anything else.
        """
        values = self.function.as_numbers(where, dict(outputs), labels)
        if values.shape not in ((), (len(labels),)):
            raise self._wrong(f"gives an array of shape {list(values.shape)} on {where} ({len(labels)})")
        if not np.isfinite(values).all():
            broken = sum(int(np.sum(~np.isfinite(v))) for v in outputs.values() if v.dtype.kind == "f")
            raise self._wrong(f"gives NaN or infinity on {where}, of whose outputs {broken} values are so themselves")
        return values

    def one(self, outputs: Arrays, labels: np.ndarray, where: str) -> float:
        """As a call, of a function that gives one number."""
        values = self(outputs, labels, where)
        if values.shape != ():
            raise self._wrong(f"gives one number on all samples and {len(values)} on {where}")
        return float(values)

    def _wrong(self, what: str) -> JobProblem:
        return self.function.wrong(what, "one finite number, or one for each sample, of which the mean is the value")


class Custom:
    """Gathers all outputs that have one row a sample, and lets user code judge them at the end."""

    def __init__(self, metric: UserMetric, labels: np.ndarray):
        self.metric = metric
        self.labels = labels.copy()
        self.rows: list[Arrays] = []
        self.bytes = 0

    def add(self, start: int, stop: int, outputs: Arrays) -> None:
        self.bytes += sum(values.nbytes for values in outputs.values())
        if self.bytes > MOST_BYTES:
            raise JobProblem(
                "UNAVAILABLE",
                f"the outputs of the first {stop} samples fill {MOST_BYTES >> 20} MB: a custom metric gets those of all"
                " samples at once. Use a smaller evaluation set, or a model that ends in smaller outputs",
            )
        self.rows.append(outputs)

    def outcomes(self, unique: np.ndarray) -> Outcomes:
        outputs = self._joined()
        varies = any(bool((values != values[:1]).any()) for values in outputs.values())
        values = self.metric(outputs, self.labels, "all samples")
        return Outcomes(
            metric="custom",
            labels=self.labels,
            decisions=values[:, np.newaxis] if values.shape else np.zeros((0, 1)),
            correct=np.zeros(0, np.bool_),
            lead=np.zeros(0),
            finite=np.ones(len(self.labels), np.bool_),
            unique=unique,
            varies=varies,
            chance=0.0,
            computed=np.zeros(0) if values.shape else self._drawn(float(values), outputs, unique),
        )

    def _joined(self) -> Arrays:
        shapes = [{name: (v.shape[1:], v.dtype) for name, v in row.items()} for row in self.rows]
        alike = [name for name in shapes[0] if all(s.get(name) == shapes[0][name] for s in shapes)]
        if not alike:
            raise JobProblem("INVALID_ARGUMENT", "no output of the model has one row a sample, all of one shape")
        joined = {name: np.concatenate([row[name] for row in self.rows]) for name in alike}
        self.rows.clear()
        self.labels.flags.writeable = False
        for values in joined.values():
            values.flags.writeable = False  # a function that changed them would judge its own work later
        return joined

    def _drawn(self, value: float, outputs: Arrays, unique: np.ndarray) -> np.ndarray:
        """The value, that of the unique samples, and those of the draws that every model on these samples gets."""

        def of(index: np.ndarray, where: str) -> float:
            return self.metric.one({name: values[index] for name, values in outputs.items()}, self.labels[index], where)

        draws = bootstrap(
            lambda index: of(unique[index], "samples drawn with replacement"), len(unique), resamples=RESAMPLES
        )
        return np.array([value, of(unique, "the different samples"), *draws])
