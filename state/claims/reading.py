"""The numbers of a text that claim something: their value, unit and precision, and the words around them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

# Canonical units: time ms, ratio times, share a fraction of 1, points a difference of two shares, size bytes, rate 1/s.
Dimension = Literal["time", "ratio", "share", "points", "size", "rate", "count", "value", "other"]
Bound = Literal["", "about", "at least", "at most"]


@dataclass(frozen=True)
class Unit:
    """`scales`: what one of it may be in the canonical unit; MB are 2**20 or 10**6 bytes."""

    dimension: Dimension
    scales: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Claim:
    """A number as it stands in a text. `digits`: decimals that it states; below 0 where trailing zeros are not stated.
    `clause` and `sentence` are the words that say what it is of (of a table's cell: its column, its row); `section` is where
    its label may stand. `unit` is None where it has none; `ranged` where it is an end of a range."""

    text: str
    line: int
    start: int
    value: float
    digits: int
    unit: Unit | None
    bound: Bound
    clause: str
    sentence: str
    section: str
    ranged: bool = False


_MS, _SHARE, _COUNT = Unit("time"), Unit("share", (0.01,)), Unit("count")
# Spellings, longest first: what follows a number is read as the longest that fits.
UNITS: dict[str, Unit] = {
    **dict.fromkeys(("ms", "msec", "milliseconds", "millisecond"), _MS),
    **dict.fromkeys(("µs", "μs", "us", "microseconds"), Unit("time", (1e-3,))),
    **dict.fromkeys(("ns", "nanoseconds"), Unit("time", (1e-6,))),
    **dict.fromkeys(("s", "sec", "seconds", "second"), Unit("time", (1e3,))),
    **dict.fromkeys(("min", "minutes", "minute"), Unit("time", (6e4,))),
    **dict.fromkeys(("%", "percent", "per cent"), _SHARE),
    **dict.fromkeys(("percentage points", "percentage point", "% points", "%-points", "pp", "pts", "points", "point"), Unit("points", (0.01,))),
    **dict.fromkeys(("x", "×", "-fold", "fold", "times", "-times"), Unit("ratio")),
    **dict.fromkeys(("bytes", "byte", "B"), Unit("size")),
    **dict.fromkeys(("KB", "kB", "KiB", "kilobytes"), Unit("size", (2**10, 1e3))),
    **dict.fromkeys(("MB", "MiB", "megabytes"), Unit("size", (2**20, 1e6))),
    **dict.fromkeys(("GB", "GiB", "gigabytes"), Unit("size", (2**30, 1e9))),
    **dict.fromkeys(("/s", "per second", "fps", "FPS", "inferences/s", "images/s", "samples/s", "inf/s", "inferences per second", "images per second", "samples per second", "frames per second", "qps"), Unit("rate")),
    **dict.fromkeys(("W", "mW", "J", "mJ", "°C", "GHz", "MHz", "FLOPs", "GFLOPs", "MACs", "TOPS", "watts", "joules"), Unit("other")),
}  # fmt: skip
# What is counted, by the word after the number: the quantity that it must be.
COUNTED: dict[str, str] = {
    **dict.fromkeys(("samples", "images", "pictures", "examples"), "samples"),
    **dict.fromkeys(("classes",), "classes"),
    **dict.fromkeys(("runs", "iterations", "repetitions", "inferences", "calls"), "runs"),
    **dict.fromkeys(("threads", "thread"), "threads"),
    **dict.fromkeys(("processes",), "processes"),
    **dict.fromkeys(("variants", "candidates"), "variants"),
    **dict.fromkeys(("parameters", "params", "weights"), "parameters"),
    **dict.fromkeys(("flips", "flipped", "predictions", "decisions"), "flips"),
    **dict.fromkeys(("looks",), "look"),
}
_NUMBER_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_MULTIPLES = {"twice": 2.0, "doubled": 2.0, "doubles": 2.0, "double": 2.0, "tripled": 3.0, "halved": 2.0, "halves": 2.0}

_NUMBER = r"(?:\d{1,3}(?:[,'_\u202f\u00a0]\d{3})+(?![\d])(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,9})?"
_UNIT = "|".join(re.escape(u) for u in sorted((*UNITS, *COUNTED), key=len, reverse=True))
_ADJECTIVE = r"(?:(?:timed|test|evaluation|calibration|held-out|distinct|different|other|more|changed|validation|training)\s+){0,2}"
_CLAIM = re.compile(
    rf"(?<![\w.])(?P<sign>[+\-\u2212](?=[\d.]))?(?P<number>{_NUMBER})(?P<magnitude>[kKM](?=\s+(?:param|weight|sample|image)))?"
    rf"(?:[ \u00a0\u202f]?[ \u00a0\u202f]?{_ADJECTIVE}(?P<unit>{_UNIT})(?![\w]))?(?![\w])"
)
_SPELT = re.compile(
    rf"\b(?:(?P<word>{'|'.join(_NUMBER_WORDS)})[ -](?:times|fold)|(?P<twice>{'|'.join(_MULTIPLES)}))\b", re.IGNORECASE
)
_BOUNDS: tuple[tuple[re.Pattern[str], Bound], ...] = (
    (re.compile(r"(?:at least|more than|over|above|exceed(?:s|ing)?|greater than|no less than|>=?|≥)\s*$", re.IGNORECASE), "at least"),
    (re.compile(r"(?:at most|less than|under|below|no more than|not more than|fewer than|<=?|≤)\s*$", re.IGNORECASE), "at most"),
    (re.compile(r"(?:about|around|approximately|approx\.?|roughly|nearly|almost|some|circa|ca\.|~|≈)\s*$", re.IGNORECASE), "about"),
)  # fmt: skip
# What has digits and claims nothing: blanked, so that places in the text stay what they are.
_NO_CLAIMS = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE | re.DOTALL)
    for pattern in (
        r"^(?P<fence>```|~~~).*?^(?P=fence)[^\n]*$",
        r"`[^`\n]*[A-Za-z_]{3,}[^`\n]*`",
        r"\b[a-z]+://\S+",
        r"(?<![\w/])(?:~|\.{1,2})?/[\w.\-]+(?:/[\w.\-]*)*",
        r"(?<![\w\-./])[\w\-./]{1,255}\.(?:onnx|npz|npy|json|py|md|toml|tflite|pt2?|pth|csv|h5|keras|engine|html|svg|png|db)\b",
        r"\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?",
        r"\b\d{1,2}:\d{2}(?::\d{2})?\b",
        r"\b(?:\d{1,2}(?:st|nd|rd|th)?\s+)?(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?\s+\d{1,4}(?:,?\s+\d{4})?\b",
        r"\bin (?:19|20)\d{2}\b(?!\s*(?:ms|%|x\b))",
        r"\bv?\d+\.\d+\.\d+[\w.+-]*",
        r"\b(?:version|python|opset|ir|onnx ?runtime|onnxruntime|onnx|pytorch|torch|tensorflow|tf|openvino|cuda|tensorrt|jetpack|edgeopt|linux|kernel|abi)[ -]v?\d+(?:\.\d+)*\b",
        r"\b[A-Za-z_][\w-]{0,64}[A-Za-z_]-\d+(?:\.\d+)*\b|\b[A-Z]+-\d+\b",
        r"\b(?!\d+e\d+\s*(?:ms|µs|s\b|%|x\b|[kMG]?B\b|/s))(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{8,}\b",
        r"\b\d+[- ]?bits?\b",
        r"^[ \t]*(?:[-*>]\s+)?(?:#+\s*)?\d+(?:\.\d+)*[.)](?=\s)",
        r"^#+\s+\d+(?:\.\d+)*\s",
        r"\|\s*\d+\.(?=\s)",
        r"#\d+\b",
        r"\b(?:step|phase|section|chapter|figure|fig\.|table|page|item|rule|line|event|seq|option|attempt|raspberry pi|pi|rpi|class|layer|port|seed|version|job|issue|note|question|guardrail|layers?)s?\s+(?:no\.?\s*)?\d+(?:\.\d+)*\b(?!\s*(?:ms|%|x\b|MB))",
        r"\b9\d(?:\.\d+)?\s?(?:%|percent)[ -]*(?:confidence|ci\b|interval|bound|level)",
        r"\bCI ?9\d\b|\bp ?[<=] ?0?\.\d+",
    )
)  # fmt: skip
_ABBREVIATED = re.compile(r"\b(?:e\.g|i\.e|approx|ca|vs|fig|no|acc)\.$", re.IGNORECASE)


# Characters before a number in which the words lie that say what it is; on either side of it those of its clause, and of its
# sentence. Without them a long line would be read once for every number in it.
_NEAR, _FAR, _READ = 80, 400, 2_000
# As far as a float goes.
MOST_DIGITS = 308


def claims(text: str) -> list[Claim]:
    """Every number that claims something, in order. Identifiers, dates, versions, code, list numbers and the 95 % of an
    interval do not."""
    clean = blanked(text)
    return [claim for start, end in _sections(text) for claim in _in_section(text, clean, start, end)]


def blanked(text: str) -> str:
    """The text with what claims nothing replaced by spaces of the same length."""
    for pattern in _NO_CLAIMS:
        text = pattern.sub(lambda m: re.sub(r"[^\n|]", " ", m.group()), text)
    return text


def _sections(text: str) -> Iterator[tuple[int, int]]:
    """Where the sections lie: a heading of the first two levels begins one."""
    starts = [0, *(m.start() for m in re.finditer(r"^#{1,2}\s", text, re.MULTILINE) if m.start())]
    yield from zip(starts, [*starts[1:], len(text)], strict=True)


def _in_section(text: str, clean: str, start: int, end: int) -> Iterator[Claim]:
    head: list[str] = []
    place = start
    for line in text[start:end].splitlines(keepends=True):
        at = _Place(place, text.count("\n", 0, place) + 1, text[start:end])
        masked = clean[place : place + len(line)]
        if line.lstrip().startswith("|"):
            if not head:
                head = [cell.strip() for cell in line.strip().strip("|").split("|")]
            elif not re.fullmatch(r"[\s|:\-]+", line):
                yield from _in_row(masked, line, head, at)
        else:
            head = []
            for low, high in _sentences(line):
                yield from _in_words(masked[low:high], line[low:high], at.after(low))
        place += len(line)


class _Place(NamedTuple):
    """Where words stand: offset and line in the text, and the section around them."""

    start: int
    line: int
    section: str

    def after(self, offset: int) -> _Place:
        return self._replace(start=self.start + offset)


def _in_row(masked: str, line: str, head: list[str], at: _Place) -> Iterator[Claim]:
    """A cell's number is of its column and its row; a column names the unit of its bare numbers."""
    first = line.strip().strip("|").split("|")[0]
    offset = line.index("|") + 1
    for column, cell in enumerate(masked[offset:].split("|")):
        title = head[column] if column < len(head) else ""
        context = f"{title}; {first}; {line[offset : offset + len(cell)]}" if column else first
        yield from _in_words(cell, context, at.after(offset), f"{title} {first}" if column else "")
        offset += len(cell) + 1


def _in_words(masked: str, sentence: str, at: _Place, title: str = "") -> Iterator[Claim]:
    """The claims of one sentence, or of one cell of a table below `title`."""
    found = sorted([*_digits(masked, title), *_spelt(masked)], key=lambda f: f.start)
    for n, number in enumerate(found):
        following = found[n + 1] if n + 1 < len(found) else None
        opens = following is not None and bool(re.fullmatch(_RANGE, masked[number.stop : following.start]))
        closes = n > 0 and bool(re.fullmatch(_RANGE, masked[found[n - 1].stop : number.start]))
        unit = number.unit or (following.unit if following and opens else None)
        if (
            unit is None
            and number.digits <= 0
            and not title
            and not _NAMED.search(masked[max(0, number.start - _NEAR) : number.start])
        ):
            continue  # a bare whole number that nothing names
        bound = _bound(masked[max(0, number.start - _NEAR) : number.start])
        said = sentence[max(0, number.start - _READ) : number.stop + _READ]
        clause = said if title else f"{_clause(sentence, number.start, number.stop)} {number.counted}"
        digits = _stated(number) if bound == "about" else number.digits
        text = number.text.strip()
        yield Claim(
            text, at.line, at.start + number.start, number.value, digits, unit, bound, clause, said, at.section,
            opens or closes,
        )  # fmt: skip


def _bound(before: str) -> Bound:
    for pattern, bound in _BOUNDS:
        if pattern.search(before):
            return bound
    return ""


def _stated(number: _Number) -> int:
    """The decimals that 'about' states: trailing zeros of a whole number are not meant, as far as they are a tenth of it."""
    whole = f"{number.value:.0f}"
    return number.digits if number.digits else _within_a_tenth(len(whole.rstrip("0")) - len(whole), number.value)


def _within_a_tenth(digits: int, value: float) -> int:
    """So many decimals that rounding to them moves the value by no more than a tenth; all of a whole number where need be."""
    while digits < 0 and 0.5 * 10.0**-digits > 0.1 * abs(value):
        digits += 1
    return digits


class _Number(NamedTuple):
    start: int
    stop: int
    text: str
    value: float
    digits: int
    unit: Unit | None
    counted: str = ""


_RANGE = r"\s*(?:-|–|to|and|,|±|\+/-|->|→)\s*"
_NAMED = re.compile(r"(?:latency|accuracy|top-?1|top-?5|f1|speed-?up|drop|loss|size|memory|throughput|p50|p95|p99|mean|median|ratio|score|factor)\s*(?:\([^)]*\)\s*)?(?:of|is|was|:|=|at|to|from|by|stays|remains)?\s*[+\-\u2212~]?$", re.IGNORECASE)  # fmt: skip


def _digits(masked: str, title: str) -> Iterator[_Number]:
    inside = next((UNITS[u] for u in re.findall(r"\(([^)]+)\)", title) if u in UNITS), None)
    for m in _CLAIM.finditer(masked):
        spelling = m["unit"] or ""
        counted = COUNTED.get(spelling, "")
        unit = _COUNT if counted else UNITS.get(spelling, inside)
        mantissa, _, exponent = re.sub(r"[,'_\u202f\u00a0]", "", m["number"]).lower().partition("e")
        power = int(exponent or 0) + {"k": 3, "K": 3, "M": 6}.get(m["magnitude"] or "", 0)
        sign = -1 if m["sign"] in ("-", "\u2212") else 1
        value = min(float(f"{mantissa}e{power}"), sys.float_info.max)
        digits = len(mantissa.partition(".")[2]) - power
        if exponent:
            digits = _within_a_tenth(max(digits, -MOST_DIGITS), value)
        yield _Number(m.start(), m.end(), m.group(), sign * value, digits, unit, counted)


def _spelt(masked: str) -> Iterator[_Number]:
    for m in _SPELT.finditer(masked):
        value = float(_NUMBER_WORDS[m["word"].lower()]) if m["word"] else _MULTIPLES[m["twice"].lower()]
        yield _Number(m.start(), m.end(), m.group(), value, 0, UNITS["x"])


def _sentences(line: str) -> Iterator[tuple[int, int]]:
    """Places of the sentences of a line: a stop ends one where a space follows."""
    start = 0
    for m in re.finditer(r"[.!?](?=\s)", line):
        if _ABBREVIATED.search(line, max(0, m.end() - _NEAR), m.end()):
            continue
        yield start, m.end()
        start = m.end()
    yield start, len(line)


_BREAKS = re.compile(r"[,;:()](?=\s|$|\W)|\bwith\b|\bwhile\b|\bbut\b|\band\b|\(")


def _clause(said: str, at: int, stop: int) -> str:
    """The words around a number up to the next comma, bracket or 'and'."""
    first, last = max(0, at - _FAR), min(len(said), stop + _FAR)
    before = [m.end() for m in _BREAKS.finditer(said, first, at) if not m.group().startswith(":")]
    after = _BREAKS.search(said, stop, last)
    return said[before[-1] if before else first : after.start() if after else last]
