"""What a person sees of a run: a line for each answer, and on a terminal a live line of what is being done."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.panel import Panel
from rich.text import Text

from . import live
from .calling import Answer
from .history import History, Trial
from .policy import Call, Goal, best

# Without a terminal: how often a long job says how far it is, seconds.
EVERY_S = 30.0
DOING = {
    "profile_model": "measuring the original",
    "analyze_sensitivity": "ranking the layers",
    "optimize_model": "making a variant",
    "benchmark_variant": "timing",
    "validate_variant": "judging the accuracy of",
    "decide_variant": "deciding on",
    "package_variant": "packaging",
    "render_report": "the trade-off",
    "wait_for_job": "waiting for what runs already",
}


class Screen:
    """Watches a run. `began` is when the person began to wait."""

    def __init__(self, goal: Goal, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.goal = goal
        self.began = time.monotonic()
        self.call_began = self.said = self.began
        self.doing, self.share, self.message, self.best = "", 0.0, "", "none yet"
        self.live: Live | None = None

    def start(self) -> None:
        """Begins the live line, where there is a terminal."""
        if self.console.is_terminal and self.live is None:
            self.live = Live(console=self.console, get_renderable=self._now, refresh_per_second=4, transient=True)
            self.live.start()

    def pause(self) -> None:
        """Takes the live line away."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def begins(self, call: Call) -> None:
        self.doing, self.share, self.message = doing(call), 0.0, ""
        self.call_began = time.monotonic()
        self.start()
        if self.live is None and call.tool not in ("decide_variant", "render_report"):
            self.say(f"{clock(self.call_began - self.began)}  {self.doing} ...", "dim")

    def goes_on(self, share: float, message: str) -> None:
        self.share, self.message = share, message
        if self.live is None and time.monotonic() - self.said >= EVERY_S:
            left = "" if "left" in message else live.time_left(time.monotonic() - self.call_began, share)
            told = ", ".join(part for part in (f"{share:.0%}", message, left) if part)
            self.say(f"{clock(time.monotonic() - self.began)}  {self.doing}: {told}", "dim")

    def answers(self, call: Call, answer: Answer, history: History) -> None:
        took = time.monotonic() - self.call_began
        found = best(history, self.goal)
        self.best = f"{found.variant_id}, {found.speedup:.2f}x" if found else "the original"
        style = "" if answer.ok else "yellow"
        self.say(f"{clock(time.monotonic() - self.began)}  {told(call, answer, history)} ({took:.0f} s)", style)

    def say(self, text: str, style: str = "") -> None:
        """A line, above the live one."""
        self.said = time.monotonic()
        self.console.print(Text(text, style=style), soft_wrap=True)

    def _now(self) -> RenderableType:
        now = time.monotonic()
        budget = f" of {self.goal.budget_s / 60:.3g} min" if self.goal.budget_s is not None else ""
        line = Text.assemble(
            (f"{clock(now - self.began)}{budget}  ", "dim"),
            live.told(self.doing, now - self.call_began, self.share, self.message),
            (f" · best: {self.best}", "green"),
        )
        line.truncate(self.console.width, overflow="ellipsis")
        return line


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def doing(call: Call) -> str:
    """What a call does, in a few words."""
    words = DOING.get(call.tool, call.tool)
    if call.tool == "optimize_model":
        step: dict[str, Any] = call.arguments["step"]
        options = ", ".join(f"{name}={value}" for name, value in step.items() if name != "technique")
        return f"{words}: {step['technique']}{f' ({options})' if options else ''} of {call.arguments.get('parent', 'best')}"
    return f"{words} {call.variant_id}" if call.variant_id else words


def told(call: Call, answer: Answer, history: History) -> str:
    """What an answer says, on a line."""
    if not answer.ok:
        return f"{doing(call)}: {answer.status}: {answer.problem}"
    data = answer.data
    if measured := data.get("baseline"):
        accuracy = measured["accuracy"]
        return (
            f"the original: {measured['latency_ms']['mean']:.3f} ms, {accuracy['metric']} {accuracy['value']:.4f} on"
            f" {accuracy['n']} samples; {measured['label']}"
        )
    if made := data.get("variant"):
        return f"{made['variant_id']}: {made['technique']}, {made['size_bytes'] / 2**20:.2f} MB"
    if comparison := data.get("comparison"):
        return f"{_name(call)}: {speed(comparison['speedup'])}"
    if judged := data.get("validation"):
        low, high = judged["ci95_relative_drop"]
        return (
            f"{_name(call)}: {judged['status']}, {judged['metric']} {judged['baseline']:.4f} -> {judged['optimized']:.4f}"
            f" (drop {judged['relative_drop']:+.2%}, {low:+.2%} to {high:+.2%})"
        )
    if decision := data.get("decision"):
        return f"{call.variant_id}: {decision['outcome']}, by {decision['decided_by']}: {decision['reason']}"
    if package := data.get("package"):
        return f"packaged {call.variant_id}: {package['verification']}"
    return doing(call)


def _name(call: Call) -> str:
    return call.variant_id or "the variant"


def speed(speedup: dict[str, Any]) -> str:
    low, high = speedup["ci95"]
    return f"{speedup['value']:.2f}x ({low:.2f} to {high:.2f}), {speedup['verdict']}"


def remark(trial: Trial) -> str:
    """A variant in half a line, for a person who is to decide on it."""
    v = trial.validation
    loss = f"{v.verdict}, drop {v.relative_drop:+.2%}" if v else "not validated"
    return f"{trial.variant_id} {trial.artifact.technique}: {trial.speedup:.2f}x, {loss}"


def show_text(console: Console, text: str) -> None:
    """The server's Markdown: rendered on a terminal, as it is elsewhere."""
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        console.print(text.strip(), markup=False, highlight=False, soft_wrap=True)


def show_refusal(console: Console, refusal: dict[str, Any]) -> None:
    """A refusal with its rule, its reason and its next calls."""
    calls = "\n".join(f"next: {c['tool']} ({c['why']})" for c in refusal["next_calls"])
    text = f"{refusal['guardrail']}\n\n{refusal['message']}\n{calls}"
    console.print(Panel(text, title=f"refused: {refusal['code']}", style="yellow", highlight=False))
