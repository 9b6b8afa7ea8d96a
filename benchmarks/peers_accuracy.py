"""Accuracy of ours and the peers': the same samples, edgeopt's own paired statistics."""

from __future__ import annotations

from pathlib import Path

from edgeopt.benchmarks.peers_models import Model
from edgeopt.benchmarks.peers_ours import TOLERANCE
from edgeopt.contract.record import Record
from edgeopt.engine.measure.accuracy import evaluate
from edgeopt.engine.measure.noninferiority import Bar, judge
from edgeopt.engine.measure.outcomes import Outcomes
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner

Interval = tuple[float, float]
BAR = Bar(TOLERANCE, "relative", 0.05)


class Judged(Record):
    """Of one file on the evaluation set. `drop`: relative to the float original's value, with its 95 % interval, positive when
    worse; `status` as a first look would have it. `problem`: why there is none of it."""

    value: float = 0.0
    drop: float = 1.0
    interval: Interval = (1.0, 1.0)
    status: str = ""
    problem: str = ""


class Behind(Record):
    """How far ours is behind a peer, relative to the peer's value, with its 95 % interval; positive when ours is worse."""

    drop: float
    interval: Interval


class Judge:
    """Judges files of one model; each is run over the evaluation set once."""

    def __init__(self, model: Model):
        self._model, self._data, self._interface = model, model.samples(), model.interface()
        self._known: dict[Path, Outcomes] = {}

    def against_float(self, file: Path) -> Judged:
        try:
            now = self._outcomes(file)
        except JobProblem as problem:
            return Judged(problem=str(problem))
        before = self._outcomes(self._model.path)
        verdict = judge(before, now, BAR)
        return Judged(
            value=now.value(),
            drop=verdict.drop / abs(before.value_of_unique()),
            interval=verdict.relative_interval,
            status=verdict.status,
        )

    def behind(self, ours: Path, peer: Path) -> Behind:
        """JobProblem where one of them does not run."""
        theirs = self._outcomes(peer)
        verdict = judge(theirs, self._outcomes(ours), BAR)
        return Behind(drop=verdict.drop / abs(theirs.value_of_unique()), interval=verdict.relative_interval)

    def _outcomes(self, file: Path) -> Outcomes:
        if file not in self._known:
            model = self._model
            self._known[file] = evaluate(
                open_runner(file, interface=self._interface),
                self._data,
                model.evaluation.metric,
                lambda _done, _message: None,
                model.code("metric_code"),
                adapter=model.code("adapter"),
                decoding=model.evaluation.decoding,
            )
        return self._known[file]
