"""What benchmarks/peers.py prints: a row a tool, the best peer of each model, the goals. From what is in the bank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeopt.benchmarks.honesty_counts import Goal
from edgeopt.benchmarks.peers_accuracy import Behind, Judged
from edgeopt.benchmarks.peers_ours import TOLERANCE
from edgeopt.benchmarks.peers_speed import Compared
from edgeopt.engine.measure.machine import MOST_FOREIGN

# An interval that lies wholly below this is a model that is lost.
LOST = 0.99
WANTED = 1.0


@dataclass(frozen=True)
class Peer:
    """One tool's result of one model. `problem`: why there is none. `behind` and `compared` are of ours against it."""

    tool: str
    problem: str = ""
    size_mb: float = 0.0
    seconds: float = 0.0
    peak_mb: float = 0.0
    judged: Judged | None = None
    behind: Behind | None = None
    compared: Compared | None = None

    @property
    def accurate(self) -> bool:
        """Within the tolerance by the point estimate."""
        return self.judged is not None and not self.judged.problem and self.judged.drop <= TOLERANCE

    @property
    def timed(self) -> bool:
        """At length."""
        return self.compared is not None and self.compared.interval is not None


@dataclass(frozen=True)
class Row:
    """One model: what edgeopt recommended, after which trials, and the peers."""

    model: str
    how: str
    ours: Peer
    peers: Sequence[Peer]
    tried: Sequence[str] = ()

    @property
    def ours_ms(self) -> float | None:
        """As it was beside the best peer."""
        return self.best.compared.ours_ms if self.best and self.best.compared else None

    @property
    def best(self) -> Peer | None:
        """The fastest peer whose accuracy is within the tolerance; by the ratio to ours, which is what was measured."""
        return min((peer for peer in self.peers if peer.accurate and peer.timed), key=_ratio, default=None)

    @property
    def fastest(self) -> Peer | None:
        """Whatever its accuracy."""
        return min((peer for peer in self.peers if peer.timed), key=_ratio, default=None)


def _ratio(peer: Peer) -> float:
    assert peer.compared is not None, "a timed peer"
    return peer.compared.ratio


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown, a table a model."""
    return [line for row in rows for line in _model(row)]


def _model(row: Row) -> list[str]:
    lines = [
        f"### {row.model}",
        "",
        f"edgeopt recommends: {row.how}. It tried (over the original, against its own bar):",
        "",
        *(f"- {trial}" for trial in row.tried),
        "",
        "| tool | accuracy | drop (95 %) | size, MB | to get there | ms | its latency / ours (95 %) |",
        "|---|---|---|---|---|---|---|",
        _line(row.ours, row.ours_ms),
        *(_line(peer, peer.compared.peer_ms if peer.compared else None) for peer in row.peers),
        "",
    ]
    if row.best:
        lines.append(f"Best peer: {row.best.tool}, {_times(row.best.compared)}.")
    if row.fastest and row.fastest is not row.best:
        lines.append(f"Fastest whatever its accuracy: {row.fastest.tool}, {_times(row.fastest.compared)}.")
    return [*lines, ""]


def _line(peer: Peer, ms: float | None) -> str:
    if peer.problem:
        return f"| {peer.tool} | {peer.problem[:160]} | | | | | |"
    cost = f"{peer.seconds:.0f} s, {peer.peak_mb:.0f} MB"
    shown = f"{ms:.3f}" if ms else ""
    return (
        f"| {peer.tool} | {_accuracy(peer.judged)} | {peer.size_mb:.2f} | {cost} | {shown} | {_times(peer.compared)} |"
    )


def _accuracy(judged: Judged | None) -> str:
    if judged is None or judged.problem:
        return f"{judged.problem[:80] if judged else ''} | "
    low, high = judged.interval
    return f"{judged.value:.4f} | {judged.drop:+.2%} ({low:+.1%} to {high:+.1%})"


def _times(compared: Compared | None) -> str:
    if compared is None:
        return ""
    if compared.problem:
        return compared.problem[:80]
    if compared.interval is None:
        return f"about {compared.ratio:.2f}"
    low, high = compared.interval
    return f"{compared.ratio:.3f} ({low:.3f} to {high:.3f})"


def circumstances(rows: Sequence[Row]) -> str:
    """When the comparisons at length were made, and how much of the machine others had meanwhile."""
    finals = [peer.compared for row in rows for peer in row.peers if peer.timed and peer.compared]
    if not finals:
        return "nothing is timed yet"
    times, foreign = sorted(compared.at for compared in finals), max(compared.foreign for compared in finals)
    noisy = ": NOT QUIET, other work was going on" if foreign > MOST_FOREIGN else ""
    return f"timed {times[0]} to {times[-1]}; others used {foreign:.0%} of the CPU time at most{noisy}"


def geometric_mean(rows: Sequence[Row]) -> float | None:
    """Of the best peers' latencies over ours; None where a model has none yet."""
    best = [row.best for row in rows]
    if not best or any(peer is None for peer in best):
        return None
    return math.exp(sum(math.log(_ratio(peer)) for peer in best if peer) / len(best))


def goals(rows: Sequence[Row]) -> list[Goal]:
    """As the project set them."""
    mean = geometric_mean(rows) or 0.0
    best = [(row.model, row.best) for row in rows if row.best]
    lost = [
        model for model, peer in best if peer.compared and peer.compared.interval and peer.compared.interval[1] < LOST
    ]
    behind = [model for model, peer in best if peer.behind is None or peer.behind.interval[0] > 0]
    return [
        _goal(
            f"speed: geometric mean of the best peer's latency / ours at least {WANTED:.1f}",
            mean >= WANTED,
            f"{mean:.3f}",
        ),
        _goal(f"every model: no interval wholly below {LOST}", not lost, ", ".join(lost) or "none"),
        _goal(
            "accuracy: ours nowhere worse than the best peer's by all of the interval",
            not behind,
            ", ".join(behind) or "none",
        ),
    ]


def _goal(text: str, met: bool, result: str) -> Goal:
    return Goal(text, result, "met" if met else "MISSED")
