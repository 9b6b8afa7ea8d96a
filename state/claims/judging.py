"""Judges the numbers of a text by the facts of a session. Deterministic: the same text and events, the same marks.

A number is supported where a recorded value of its kind rounds to it at the precision that it states. What kind it is follows
from its unit and the words of its clause, else of its sentence; where these name variants, only their facts count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from ...contract.record import Record
from ..session import BASELINE
from .facts import Fact, plain
from .reading import Claim, Dimension, claims

Mark = Literal["measured", "stale", "host-only", "invented"]
BAD: frozenset[Mark] = frozenset({"invented", "host-only"})


class Judged(Record):
    """A number of a text, its mark and why. `support`: where the value is recorded."""

    line: int
    claim: str
    mark: Mark
    why: str
    support: str = ""
    sentence: str = ""


def _q(*names: str) -> frozenset[str]:
    return frozenset(names)


_LOSS = re.compile(r"\bdrop|\bchange|\bloss\b|\bloses?\b|\blost\b|degrad|\bfell\b|worse|\bdelta\b|declin|decreas|lower", re.IGNORECASE)  # fmt: skip
_GAIN = re.compile(r"\bgain|improv|better|higher|increas|\brose\b", re.IGNORECASE)
# What words say of the number beside them. Of those that fit its unit the particular ones win over the general.
_PARTICULAR: tuple[tuple[str, frozenset[str]], ...] = (
    (r"p ?50\b|median", _q("p50", "p50_ratio")),
    (r"p ?95\b", _q("p95", "p95_ratio")),
    (r"p ?99\b", _q("p99", "p99_ratio")),
    (r"\bmean\b|\baverage", _q("latency", "speedup")),
    (r"\bstd\b|standard deviation|jitter|±|\+/-", _q("std", "half_width", "latency", "accuracy", "speedup")),
    (r"latency target|target of|target latency", _q("target")),
    (r"\bmemory\b|\bram\b|\brss\b", _q("memory", "memory_ratio", "memory_cut")),
    (r"toleran|agreed", _q("tolerance", "drop", "drop_points")),
    (r"ceiling|realistic|at most .* gain", _q("ceiling", "share")),
    (r"more samples|samples more", _q("more_samples")),
    (r"\bclass\b", _q("class")),
    (r"\balpha\b", _q("alpha")),
)
_GENERAL: tuple[tuple[str, frozenset[str]], ...] = (
    (r"faster|speed-?up|sped up|accelerat|quicker|doubled|tripled|twice as fast", _q("speedup", "latency_cut", "speed_gain", "saving")),
    (r"slower|slow(?:s|ed)? down|slowdown", _q("slowdown")),
    (r"smaller|compress|shrunk|shrink|shrank|\bsize\b|\bdisk\b|\bfile\b|halved", _q("compression", "size", "size_cut", "growth")),
    (r"larger|bigger|of (?:the|its) (?:original )?size", _q("growth", "size")),
    (r"latency|inference time|takes|\btook\b|runs in|per inference", _q("latency", "p50", "latency_cut", "saving", "target", "duration")),
    (r"accuracy|accurate|top-?[15]\b|\bf1|\bauc\b|\bmap(?:50)?\b|spearman|rmse|\bmae\b|correct", _q("accuracy")),
    (_LOSS.pattern, _q("drop", "drop_points")),
    (_GAIN.pattern, _q("drop", "drop_points")),
    (r"throughput|per second|/s\b|\bfps\b", _q("throughput", "throughput_ratio")),
    (r"half.?width|noise", _q("half_width")),
    (r"sensitiv", _q("sensitivity", "drop_points")),
    (r"\bsamples\b", _q("samples", "more_samples")),
    *((rf"\b{word}\b", _q(word)) for word in ("classes", "runs", "threads", "processes", "variants", "parameters", "flips", "look")),
)  # fmt: skip
_WORDS = [(re.compile(pattern, re.IGNORECASE), meant) for pattern, meant in (*_PARTICULAR, *_GENERAL)]
_IS_PARTICULAR = len(_PARTICULAR)
# What a number without a unit may be.
_UNITLESS: frozenset[Dimension] = frozenset({"time", "ratio", "share", "value", "rate", "count"})
# What supports a number only where it is named: a claim without words is about something that a reader would look for.
_ONLY_NAMED = _q("half_width", "share", "ceiling", "sensitivity", "std", "growth", "alpha", "look", "tolerance", "class", "slowdown")  # fmt: skip
_INTERVAL = re.compile(r"interval|confidence|\bCI\b|between|\bbounds?\b|\bend\b|\bends\b", re.IGNORECASE)
_COMPARED = re.compile(
    r"against|from|versus|\bvs\b|compared|instead|\bthan\b|down|before|->|→|\bup to\b", re.IGNORECASE
)
# The values that a bound ("over", "under") is about: never an end of an interval, nor a spread.
_HEADLINES = _q("latency", "p50", "p95", "p99", "speedup", "compression", "size", "memory", "accuracy", "drop", "drop_points", "throughput", "samples", "runs")  # fmt: skip

_LABEL = re.compile(r"\bhost[ -]estimate[sd]?\b|not (?:on )?(?:the )?target hardware", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:not?|never|isn't|aren't|rather than|instead of|no longer)\s+(?:an?\s+|just\s+|mere\s+|only\s+)*host[ -]estimates?", re.IGNORECASE)  # fmt: skip
_DEVICES = {
    "jetson-orin-nano": r"jetson(?:[ -]orin)?(?:[ -]nano)?|orin[ -]nano",
    "raspberry-pi-5": r"raspberry[ -]pi[ -]5|\b(?:r?pi|rpi)[ -]?5\b",
    "raspberry-pi-4": r"raspberry[ -]pi[ -]4|\b(?:r?pi|rpi)[ -]?4\b",
    "": r"raspberry[ -]pi\b(?![ -][45])|on[ -]device|on (?:the|your|its|an?|our) (?:target|device|edge device|target device|board)|\bon target\b|target measurement|device latency|(?:on|at) the edge",
}
_ON_DEVICE = {name: re.compile(rf"(?<!for )(?<!for the )(?<!for a )(?<!for your )(?:{p})", re.IGNORECASE) for name, p in _DEVICES.items()}  # fmt: skip


def judge_text(text: str, facts: Iterable[Fact], target: str) -> list[Judged]:
    """Every claim of the text, marked. `target`: the session's target device."""
    known = list(facts)
    names = frozenset(s for f in known for s in f.subjects) | {BASELINE}
    return [_judge(claim, known, names, target) for claim in claims(text)]


def _judge(claim: Claim, facts: list[Fact], names: frozenset[str], target: str) -> Judged:
    unknown = _named(claim.clause) - names
    alike = [f for f in facts if _same_kind(claim, f)]
    meant = _meant(claim)
    fitting = [f for f in alike if _is_meant(claim, f, meant) and _of_subject(claim, f)]
    found = [f for f in fitting if states(claim, f)]
    said = claim.sentence.strip()[:160]

    def marked(mark: Mark, why: str, fact: Fact | None = None) -> Judged:
        return Judged(
            line=claim.line, claim=claim.text, mark=mark, why=why, support=fact.source if fact else "", sentence=said
        )

    if unknown:
        return marked("invented", f"the session has no {', '.join(sorted(unknown))}")
    if not found:
        return marked("invented", _why_invented(claim, fitting, alike))
    labelled = [f for f in found if _sold(claim, f, target) is None]
    current = [f for f in labelled if not f.stale]
    if current:
        return marked("measured", f"{current[-1].words}: {current[-1].value:.6g}", current[-1])
    if labelled:
        return marked("stale", f"{labelled[-1].words}: {labelled[-1].stale}", labelled[-1])
    best = next((f for f in reversed(found) if not f.stale), found[-1])
    return marked("host-only", f"{best.words}: {_sold(claim, best, target)}", best)


def states(claim: Claim, fact: Fact) -> bool:
    """Whether the recorded value rounds to the claim, at the claim's own precision; of a bound, whether it holds."""
    scales = claim.unit.scales if claim.unit and claim.unit.dimension != "other" else (1.0,)
    return any(_rounds(claim, fact, fact.value / scale) for scale in scales)


def _rounds(claim: Claim, fact: Fact, value: float) -> bool:
    if claim.bound in ("at least", "at most"):
        if fact.quantity not in _HEADLINES or "interval" in fact.words:
            return False
        return value >= claim.value if claim.bound == "at least" else value <= claim.value
    half = 0.5 * 10.0**-claim.digits * (1 + 1e-9) + 1e-12
    values = {value}
    if fact.quantity in ("drop", "drop_points") and _GAIN.search(claim.clause) and not _LOSS.search(claim.clause):
        values = {-value}  # a loss is no gain
    elif fact.quantity in ("drop", "drop_points", "half_width", "saving"):
        values.add(-value)  # a drop is written with either sign
    return any(abs(v - claim.value) <= half for v in values)


def _same_kind(claim: Claim, fact: Fact) -> bool:
    if claim.unit is None:
        return fact.dimension in _UNITLESS or fact.dimension == "points"
    if claim.unit.dimension == "share" and fact.dimension == "points":
        return bool(re.search(r"absolute", claim.sentence, re.IGNORECASE)) or fact.quantity == "tolerance"
    return claim.unit.dimension == fact.dimension


def _meant(claim: Claim) -> frozenset[str] | None:
    """The quantities that the words beside a claim name, of its dimension; None where they name none."""
    for words in (claim.clause, claim.sentence):
        found = [
            (n, meant) for n, (pattern, meant) in enumerate(_WORDS) if pattern.search(words) and _fits(claim, meant)
        ]
        particular = [meant for n, meant in found if n < _IS_PARTICULAR and words is claim.clause]
        if chosen := particular or [meant for _, meant in found]:
            return frozenset[str]().union(*chosen)
    return None


_OF: dict[str, frozenset[Dimension]] = {
    **dict.fromkeys(("latency", "p50", "p95", "p99", "std", "saving", "target", "duration"), frozenset({"time"})),
    **dict.fromkeys(("speedup", "compression", "memory_ratio", "p50_ratio", "p95_ratio", "p99_ratio", "throughput_ratio", "ceiling"), frozenset({"ratio"})),
    **dict.fromkeys(("slowdown", "growth"), frozenset({"ratio", "share"})),
    **dict.fromkeys(("latency_cut", "speed_gain", "size_cut", "memory_cut", "accuracy", "drop", "share"), frozenset({"share"})),
    "half_width": frozenset({"share", "ratio"}),
    "tolerance": frozenset({"share", "points"}),
    "class": frozenset({"share", "points", "count"}),
    "alpha": frozenset({"value"}),
    "drop_points": frozenset({"points"}),
    "sensitivity": frozenset({"value"}),
    **dict.fromkeys(("size", "memory"), frozenset({"size"})),
    "throughput": frozenset({"rate"}),
}  # fmt: skip


def _is_meant(claim: Claim, fact: Fact, meant: frozenset[str] | None) -> bool:
    """Whether the words allow the fact; an end of an interval is no value of its own, so it must be said to be one."""
    if fact.verbatim:
        return fact.verbatim in plain(claim.sentence)
    if fact.words.partition(" end of the ")[1] and not (claim.ranged or _INTERVAL.search(claim.sentence)):
        return False
    return fact.quantity in meant if meant is not None else fact.quantity not in _ONLY_NAMED


def _fits(claim: Claim, meant: frozenset[str]) -> bool:
    if claim.unit is None:
        return True
    return any(claim.unit.dimension in _OF.get(q, frozenset({"count"})) for q in meant)


def _named(words: str) -> frozenset[str]:
    """The variants that words name, and the baseline."""
    found = frozenset(re.findall(r"\bv\d+\b(?!\.\d)", words))
    return found | {BASELINE} if re.search(r"\bbaseline|\boriginal\b", words, re.IGNORECASE) else found


def _of_subject(claim: Claim, fact: Fact) -> bool:
    """Whether the fact is of what the words name. Beside a variant the baseline of its run counts where two are compared; a
    ratio is of a variant over the baseline."""
    named = _named(claim.clause) or _named(claim.sentence)
    both = BASELINE in fact.subjects and len(fact.subjects) > 1
    if not named:
        return fact.quantity != "speedup" or fact.subjects != {BASELINE}
    if both and BASELINE not in named:
        return bool(named & fact.subjects) and bool(_COMPARED.search(claim.sentence))
    if BASELINE in named and fact.dimension in ("ratio", "share", "points"):
        return named == {BASELINE} or not fact.subjects or bool(named & fact.subjects)
    return not fact.subjects or bool(named & fact.subjects)


def _sold(claim: Claim, fact: Fact, target: str) -> str | None:
    """What is wrong with where the number is said to be from; None where that is right."""
    denied = bool(_DENIED.search(claim.sentence))
    label = bool(_LABEL.search(claim.sentence)) and not denied
    devices = {name for name, pattern in _ON_DEVICE.items() if pattern.search(_LABEL.sub("", claim.sentence))}
    if fact.where is None:
        return None
    if fact.where == "target":
        others = devices - {"", target}
        return f"measured on {target}, not on {', '.join(sorted(others))}" if others else None
    if denied or (devices and not label):
        return "a host estimate, said as a number of the device"
    anywhere = _LABEL.search(_DENIED.sub("", claim.section))
    return None if anywhere else 'a host estimate without its label: add "Host Estimate (not target hardware)"'


def _why_invented(claim: Claim, fitting: list[Fact], alike: list[Fact]) -> str:
    elsewhere = next((f for f in alike if states(claim, f) and not claim.bound.startswith("at ")), None)
    if elsewhere:
        return f"recorded, but as {elsewhere.words}"
    if not alike:
        return "nothing of this unit is recorded"
    scale = claim.unit.scales[0] if claim.unit else 1.0
    near = min(fitting or alike, key=lambda f: abs(f.value / scale - claim.value))
    return f"no recorded value rounds to it; the nearest is {near.value / scale:.6g}, {near.words}"
