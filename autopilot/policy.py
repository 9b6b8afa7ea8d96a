"""The autopilot's policy: from what is known to the next call, or to the end with its reason. Pure: no clock, no I/O.

It follows the server's recommend_next. Its own are four things: when to stop, which of the variants that pass is kept,
when a person is asked, and that no call is made twice. So a refusal is never retried, and it always ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from .history import History, Trial

# What the search may call on the word of recommend_next, or of a refusal's next_calls. Decisions are the policy's own.
SEARCHING = frozenset(
    {
        "wait_for_job",
        "profile_model",
        "analyze_sensitivity",
        "optimize_model",
        "benchmark_variant",
        "validate_variant",
    }
)
# Jobs that are cancelled when the budget is spent. A validation is let end: its look is paid for.
CANCELLED_AT_THE_BUDGET = frozenset({"analyze_sensitivity", "optimize_model", "benchmark_variant"})
# Smaller by less is not what anybody asks for.
SMALLER = 1.05
# No tree of the server's is nearly as long: a guard against one that never ends.
MOST_CALLS = 200


@dataclass(frozen=True)
class Call:
    """A call to make, and why."""

    tool: str
    arguments: dict[str, Any]
    because: str = ""

    @property
    def key(self) -> str:
        """What makes two calls the same: the reason for a decision does not make it another."""
        arguments = {name: value for name, value in self.arguments.items() if name != "reason"}
        return json.dumps([self.tool, arguments], sort_keys=True)

    @property
    def variant_id(self) -> str | None:
        return self.arguments.get("variant_id")


@dataclass(frozen=True)
class Stop:
    """The end, and why nothing more is tried. `waiting`: the variants that only a person can keep and that would be faster
    than what is packaged."""

    because: str
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True)
class Goal:
    """What is asked for. The latency target and the tolerance are the session's own.

    `budget_s` bounds the search; the baseline and the package are made whatever it is. `smaller`: a smaller variant is worth
    keeping, too. `threads`: what the baseline is measured on, and with it every comparison; the server's own number where it
    is left out. `person`: somebody can be asked through this client. `output_dir`: where packages go, each in a folder of its
    own; below the workspace where it is left out.
    """

    budget_s: float | None = None
    smaller: bool = False
    threads: int | None = None
    person: bool = False
    output_dir: str | None = None


@dataclass(frozen=True)
class Known:
    """What there is to go by. `recommended`: the answer of recommend_next. `made`: the calls of this run, whatever they
    answered. `refused`: the codes of those that were refused. `offered`: the next_calls of the newest answer, where that was
    a refusal."""

    history: History
    recommended: tuple[Call, ...] = ()
    made: tuple[Call, ...] = ()
    refused: frozenset[str] = frozenset()
    offered: tuple[Call, ...] = ()
    elapsed_s: float = 0.0
    keys: frozenset[str] = field(default=frozenset(), init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", frozenset(call.key for call in self.made))

    def after(self, call: Call, history: History, refusal: dict[str, Any] | None) -> Known:
        """What is known when a call has been answered: the history as it is then, and the refusal if it was one."""
        codes = {refusal["code"]} if refusal else set[str]()
        offered = tuple(Call(c["tool"], c["arguments"], c["why"]) for c in refusal["next_calls"]) if refusal else ()
        made = (*self.made, call)
        return replace(self, history=history, made=made, refused=self.refused | codes, offered=offered)

    def is_new(self, call: Call) -> bool:
        return call.key not in self.keys

    def tried(self, tool: str, variant_id: str) -> bool:
        """Whether this was called for this variant, with whatever else."""
        return any(call.tool == tool and call.variant_id == variant_id for call in self.made)


def next_move(known: Known, goal: Goal) -> Call | Stop:
    """What to do now: wait for what runs, settle what is measured, search on, or close."""
    for step in (_wait, _settle, _search, _close):
        for call in step(known, goal):
            if known.is_new(call):
                return call
    return Stop(why_no_more(known, goal), tuple(t.variant_id for t in worth_asking_about(known.history)))


# The phases of a run: each gives the calls that it would make, best first.


def _wait(known: Known, _goal: Goal) -> Iterator[Call]:
    """What runs already, of an earlier client or an earlier run, comes first: nothing else could be done meanwhile."""
    yield from (call for call in known.recommended if call.tool == "wait_for_job")


def _settle(known: Known, goal: Goal) -> Iterator[Call]:
    """Decides on what is measured: a loss is given up, of what passes the best is kept. What the budget left unmeasured stays
    as it is, for another run."""
    history, spent = known.history, _spent(known, goal)
    undecided = [trial for trial in history.trials.values() if trial.outcome is None]
    for trial in undecided:
        if trial.validation and not trial.passed:
            reason = f"{trial.validation.verdict}: not proven to be within the tolerance; a person may still keep it"
            yield _decide(history, trial, "revert", reason)
        elif not spent and (why := _unmeasurable(known, trial)):
            yield _decide(history, trial, "revert", why)
    for trial in undecided:
        if trial.passed and not trial.unmeasured:
            yield _keep_or_revert(history, trial, goal)


def _search(known: Known, goal: Goal) -> Iterator[Call]:
    """The next thing to try or to measure, by the server's word."""
    if _enough(known) or _spent(known, goal):
        return
    for call in (*known.offered, *known.recommended):
        if call.tool in SEARCHING and _is_sound(call, known.history):
            yield _on_threads(call, goal)


def _on_threads(call: Call, goal: Goal) -> Call:
    """The baseline's measurement fixes the threads of the session: all that is compared runs on as many."""
    if call.tool != "profile_model" or goal.threads is None:
        return call
    return replace(call, arguments={"threads": goal.threads, **call.arguments})


def _close(known: Known, goal: Goal) -> Iterator[Call]:
    """The person's word where it matters, the package, the table."""
    history = known.history
    if history.baseline is None:
        return
    if goal.person:
        for trial in worth_asking_about(history):
            yield _decide(history, trial, "keep", "faster than all that pass; the user decides")
    found = best(history, goal)
    if found and found.variant_id not in history.packages:
        place = {"output_dir": f"{goal.output_dir}/{history.model_name}-{found.variant_id}"} if goal.output_dir else {}
        of: dict[str, Any] = {"session_id": history.session_id, "variant_id": found.variant_id}
        yield Call("package_variant", of | place, "the best that is kept")
    yield Call("render_report", {"session_id": history.session_id, "kind": "tradeoff"}, "the table for the person")


# Which variant.


def best(history: History, goal: Goal) -> Trial | None:
    """The variant to package: the fastest that is kept; the smallest where smaller is what was asked for. None where the
    original is as good."""
    worth = [trial for trial in history.trials.values() if trial.kept and _is_worth_it(trial, goal)]
    return max(worth, key=lambda trial: _merit(trial, history, goal), default=None)


def _merit(trial: Trial, history: History, goal: Goal) -> tuple[bool, float]:
    """What meets the latency target comes before all that does not."""
    return _meets_target(trial, history), trial.compression if goal.smaller else trial.speedup


def _meets_target(trial: Trial, history: History) -> bool:
    target, compared = history.latency_target_ms, trial.comparison
    return target is not None and compared is not None and compared.variant.latency_ms.mean <= target


def _is_worth_it(trial: Trial, goal: Goal) -> bool:
    """Faster, or smaller where that is the point: by the goal, or by whoever accepted a loss for it."""
    smaller = trial.compression > SMALLER and (goal.smaller or trial.by_person)
    return trial.faster or smaller


def _keep_or_revert(history: History, trial: Trial, goal: Goal) -> Call:
    """A variant that passed is kept where it is the best so far. An export is kept as the road that it is: of the other
    formats little can be made without it."""
    rival = best(history, goal)
    if _is_worth_it(trial, goal) and (rival is None or _merit(trial, history, goal) > _merit(rival, history, goal)):
        return _decide(history, trial, "keep", "passed, and the best so far")
    if trial.artifact.technique == "export_onnx":
        return _decide(history, trial, "keep", "passed; the road to ONNX, from which other steps start")
    if rival is not None and _is_worth_it(trial, goal):
        return _decide(history, trial, "revert", f"passed, but {rival.variant_id} is better")
    return _decide(history, trial, "revert", "passed, but is not measurably faster")


def worth_asking_about(history: History) -> list[Trial]:
    """The variants outside the tolerance that are faster than all that pass or are kept, fastest first. Whoever turned one
    down is not asked about another that loses as much."""
    bar = max((t.speedup for t in history.trials.values() if t.passed or t.kept), default=1.0)
    lossy = [t for t in history.trials.values() if t.validation and not t.passed and not t.kept]
    no = [_loss(t) for t in lossy if t.by_person]
    asked = [t for t in lossy if not t.by_person and t.faster and t.speedup > bar and _loss(t) < min(no, default=1e9)]
    return sorted(asked, key=lambda trial: -trial.speedup)


def _loss(trial: Trial) -> float:
    return trial.validation.relative_drop if trial.validation else 0.0


def _unmeasurable(known: Known, trial: Trial) -> str | None:
    """Why a variant cannot be judged: its measuring was tried in this run and gave nothing."""
    if trial.comparison is None and known.tried("benchmark_variant", trial.variant_id):
        return "its speed could not be measured"
    if trial.validation is None and known.tried("validate_variant", trial.variant_id):
        return "its accuracy could not be judged"
    return None


def _decide(history: History, trial: Trial, outcome: str, reason: str) -> Call:
    of = {"session_id": history.session_id, "variant_id": trial.variant_id}
    return Call("decide_variant", of | {"outcome": outcome, "reason": reason}, reason)


# What is made, and when it is enough.


def _is_sound(call: Call, history: History) -> bool:
    """Whether the call can be made as it stands, and never builds on what is not measured and kept."""
    if not _is_complete(call.arguments.values()) or call.arguments.get("session_id") != history.session_id:
        return False
    if call.tool != "optimize_model":
        return True
    parent = call.arguments.get("parent", "best")
    on_firm_ground = parent in ("best", "baseline") or (parent in history.trials and history.trials[parent].kept)
    return on_firm_ground and not any(trial.unmeasured for trial in history.trials.values())


def _is_complete(values: Iterable[Any]) -> bool:
    """A refusal leaves to the caller what it writes as '...'."""
    return all(value is not None and value != "..." for value in values)


def _enough(known: Known) -> str | None:
    """Why what there is suffices."""
    history = known.history
    for trial in history.trials.values():
        if trial.kept and trial.comparison and _meets_target(trial, history):
            latency = trial.comparison.variant.latency_ms.mean
            return f"{trial.variant_id} meets the latency target: {latency:.3g} of {history.latency_target_ms:.3g} ms."
    return None


def _spent(known: Known, goal: Goal) -> str | None:
    """What has run out. The baseline is measured whatever the budget: without it there is nothing to say."""
    if known.history.baseline is None:
        return None
    if goal.budget_s is not None and known.elapsed_s >= goal.budget_s:
        return f"The budget of {goal.budget_s / 60:.3g} minutes is spent."
    if "LOOK_BUDGET" in known.refused:
        return "The looks at the evaluation set that the policy allows are spent."
    if len(known.made) >= MOST_CALLS:
        return f"{MOST_CALLS} calls were made; a run makes no more."
    return None


def why_no_more(known: Known, goal: Goal) -> str:
    """Why the search has ended."""
    if known.history.baseline is None:
        return "The baseline could not be measured."
    nothing = "Nothing is left that the server would try."
    return _enough(known) or _spent(known, goal) or nothing
