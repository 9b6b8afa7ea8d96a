"""A server in a few pure lines: the real rules, the real recommendations, the real fold; only what is measured is drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import hypothesis
from edgeopt.autopilot.history import History, read
from edgeopt.autopilot.policy import Call, Goal, Known, Stop, next_move
from edgeopt.contract.measures import LayerScore
from edgeopt.contract.refusals import Refusal
from edgeopt.contract.steps import MAKES, Step, precision_asked
from edgeopt.state.events import Event, JobFailed, ReportRendered, SensitivityAnalyzed
from edgeopt.state.guardrails import judge
from edgeopt.state.request import Facts, Request
from edgeopt.state.rules.decisions import needs_person
from edgeopt.state.session import Session
from edgeopt.tools.recommending import recommendations
from pydantic import TypeAdapter

from ..state import worlds

STEP: TypeAdapter[Step] = TypeAdapter(Step)
ANSWERS = Literal["keep", "revert", "leave"]


@dataclass(frozen=True)
class Drawn:
    """What measuring a variant will give. None: the job breaks."""

    speedup: float | None = 1.5
    status: worlds.Verdict | None = "PASS"
    made: bool = True


@dataclass
class Server:
    """`draws`: of the variants, in order; the last holds for all that follow. `person`: what somebody answers, None where
    nobody can be asked. `recommends`: instead of the server's own advice."""

    session: Session
    draws: list[Drawn]
    person: ANSWERS | None = None
    looks_allowed: int | None = None
    recommends: Callable[[Session], list[Call]] | None = None
    calls: list[Call] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    refusals: list[tuple[Call, Refusal]] = field(default_factory=list)
    number: int = 100

    @property
    def history(self) -> History:
        return read(json.dumps(recorded.event.model_dump(mode="json")) for recorded in self.session.history)

    def recommended(self) -> tuple[Call, ...]:
        if self.recommends:
            return tuple(self.recommends(self.session))
        found = recommendations(self.session, lambda *_: {})
        return tuple(Call(r.tool, r.arguments, r.reason) for r in found)

    def answer(self, call: Call) -> dict[str, Any] | None:
        """Does what is asked, or gives the refusal."""
        self.calls.append(call)
        if refusal := self._judged(call):
            self.refusals.append((call, refusal))
            return refusal.model_dump(mode="json")
        self.number += 1
        events = self._work(call)
        self.session = worlds.grown(self.session, *events) if events else self.session
        return None

    def _judged(self, call: Call) -> Refusal | None:
        arguments = call.arguments
        named = arguments.get("variant_id", arguments.get("parent", "best"))
        variant = self.session.best if named == "best" else named
        step = STEP.validate_python(arguments["step"]) if "step" in arguments else None
        spent = sum(record.validation is not None for record in self.session.variants.values())
        facts = Facts(
            owner=self.session.opened.owner,
            asking="chat" if self.person else "nobody",
            cannot_ask_because="there is nobody",
            looks_allowed=self.looks_allowed,
            looks_spent=spent,
        )
        request = Request(call.tool, variant_id=variant, step=step, outcome=arguments.get("outcome"))
        return judge(self.session, request, facts)

    def _work(self, call: Call) -> list[Event]:
        match call.tool:
            case "profile_model":
                return worlds.profiled(self.number)
            case "analyze_sensitivity":
                return self._ranked(call)
            case "optimize_model":
                return self._made(call)
            case "benchmark_variant":
                speedup = self._draw(call.variant_id or "").speedup
                return self._or_broken(
                    call, speedup and worlds.benchmarked(self.number, call.variant_id or "", speedup)
                )
            case "validate_variant":
                status = self._draw(call.variant_id or "").status
                return self._or_broken(call, status and worlds.validated(self.number, call.variant_id or "", status))
            case "decide_variant":
                return self._decision(call)
            case "package_variant":
                return worlds.packaged(self.number, call.variant_id or "")
            case "render_report":
                return [ReportRendered(report="tradeoff")]
            case _:
                return []

    def _draw(self, variant_id: str) -> Drawn:
        return self.draws[min(int(variant_id[1:]), len(self.draws)) - 1]

    def _or_broken(self, call: Call, events: Any) -> list[Event]:
        if events:
            return events
        started = worlds.started(self.number, call.tool, call.variant_id)
        return [started, JobFailed(job_id=started.job_id, code="KILLED", message="out of memory")]

    def _ranked(self, call: Call) -> list[Event]:
        layers = [LayerScore(name="conv", op="Conv", score=0.1, accuracy_drop=0.01)]
        started = worlds.started(self.number, call.tool)
        found = SensitivityAnalyzed(
            job_id=started.job_id, parent_id=call.arguments["parent"], layers=layers, of=1, samples=24, confirmation=""
        )
        return [started, found]

    def _made(self, call: Call) -> list[Event]:
        number = int(self.session.next_variant_id()[1:])
        if not self._draw(f"v{number}").made:
            return self._or_broken(call, None)
        parent = call.arguments.get("parent", "best")
        parent = self.session.best if parent == "best" else parent
        step = STEP.validate_python(call.arguments["step"])
        parameters = step.model_dump(mode="json", exclude={"technique"})
        changes = {
            "technique": step.technique,
            "parameters": parameters,
            "format": MAKES.get(step.technique, "onnx"),
            "precision": precision_asked(step.technique, parameters) or "fp32",
        }
        started, created = worlds.created(self.number, number, parent)
        artifact = worlds.artifact(number, parent).model_copy(update=changes)
        return [started, created.model_copy(update={"artifact": artifact})]

    def _decision(self, call: Call) -> list[Event]:
        variant, outcome = call.variant_id or "", call.arguments["outcome"]
        if outcome == "keep" and needs_person(self.session.variants[variant]):
            self.asked.append(variant)
            if self.person == "leave":
                return []
            kept = self.person == "keep"
            return [worlds.decided(self.session, variant, "keep" if kept else "revert", by_person=True)]
        return [worlds.decided(self.session, variant, outcome, by_person=False)]


def play(
    server: Server, goal: Goal | None = None, seconds_a_call: float = 0.0, most: int = 1000
) -> tuple[Stop, History]:
    """A whole run of the policy; its end. Fails where it does not end."""
    goal = goal or Goal(person=server.person is not None)
    known = Known(server.history)
    for number in range(most):
        known = replace(known, recommended=server.recommended(), elapsed_s=number * seconds_a_call)
        move = next_move(known, goal)
        if isinstance(move, Stop):
            return move, server.history
        refusal = server.answer(move)
        known = known.after(move, server.history, refusal)
    raise AssertionError(f"no end after {most} calls")


# On a busy machine examples take as long as they take; what is claimed of them has nothing to do with time.
calm = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], max_examples=60)
