"""The knowledge base as a library: its pages, and a full-text index of their sections (SQLite's FTS5, in memory).

Sections are what is found and cited. They are ranked by BM25 with words stemmed (Porter), where a word in a heading weighs
more than one in the text. A query is any text: its words are looked up, whatever else it holds is no syntax.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1] / "prompts" / "knowledge"
SOURCES = "Sources"
# Of a page's title, a section's heading and its text.
WEIGHTS = (4.0, 6.0, 1.0)
MOST_WORDS = 40
# Asked in almost every question, and telling nothing of what is asked.
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "get",
        "gets",
        "getting",
        "had",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "should",
        "so",
        "than",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "too",
        "up",
        "us",
        "use",
        "using",
        "was",
        "we",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
# What people call it, and what the pages call it.
ALSO = {
    "trt": "tensorrt",
    "ort": "onnx runtime",
    "onnxruntime": "onnx runtime",
    "rpi": "raspberry pi",
    "pi5": "raspberry pi 5",
    "pi4": "raspberry pi 4",
    "litert": "tflite",
    "tflite": "litert",
    "half": "fp16",
    "float16": "fp16",
    "collapse": "garbage",
    "collapsed": "garbage",
    "qdq": "Q/DQ",
    "ptq": "post-training quantization",
    "qat": "quantization-aware training",
    "oom": "memory",
    "overheating": "throttling",
    "yolo": "detector",
}


@dataclass(frozen=True)
class Page:
    """One Markdown file. `sections`: (heading, text) in order, the text before the first heading under the title; without
    the sources."""

    collection: str
    name: str
    title: str
    sections: tuple[tuple[str, str], ...]
    text: str

    @property
    def path(self) -> str:
        return f"{self.collection}/{self.name}.md"

    @property
    def uri(self) -> str:
        return f"edgeopt://knowledge/{self.collection}/{self.name}"


class Found(NamedTuple):
    """A section that answers a query; a higher score answers better."""

    page: Page
    heading: str
    text: str
    score: float


@cache
def pages() -> dict[str, Page]:
    """Every page by its path (`edge_ai/calibration.md`), in order."""
    read = (_page(file) for file in sorted(ROOT.glob("*/*.md")))
    return {page.path: page for page in read}


def collections() -> list[str]:
    return sorted({page.collection for page in pages().values()})


def contents() -> str:
    """The titles of all pages with their addresses, a list a collection."""
    lines: list[str] = ["# Knowledge base"]
    for collection in collections():
        of = [page for page in pages().values() if page.collection == collection]
        lines += ["", f"## {collection}", "", *(f"- {page.title}: {page.uri}" for page in of)]
    return "\n".join(lines)


def _page(file: Path) -> Page:
    text = file.read_text(encoding="utf-8")
    title, *rest = _parts(text)
    sections = [(title[0], title[1]), *rest]
    told = tuple((heading, body) for heading, body in sections if heading != SOURCES and body)
    return Page(file.parent.name, file.stem, title[0], told, text)


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Headings of the first two levels with the text below them; what stands in a fenced block is no heading."""
    heading, body, fenced = "", [], False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if not fenced and re.match(r"##? ", line):
            if heading:
                yield heading, "\n".join(body).strip()
            heading, body = line.lstrip("# ").strip(), []
        else:
            body.append(line)
    yield heading, "\n".join(body).strip()


class Index:
    """The sections of the pages, searchable.

    Raises:
        sqlite3.OperationalError: this Python's SQLite was built without FTS5.
    """

    def __init__(self, read: dict[str, Page]):
        self._rows = [(page, heading, text) for page in read.values() for heading, text in page.sections]
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute(
            "CREATE VIRTUAL TABLE sections USING fts5(title, heading, body, collection UNINDEXED,"
            ' tokenize = "porter unicode61 remove_diacritics 2")'
        )
        self._db.executemany(
            "INSERT INTO sections(rowid, title, heading, body, collection) VALUES (?, ?, ?, ?, ?)",
            (
                (n, page.title, "" if heading == page.title else heading, text, page.collection)
                for n, (page, heading, text) in enumerate(self._rows)
            ),
        )

    def search(self, query: str, collection: str | None = None, limit: int = 5) -> list[Found]:
        """The sections that answer best, best first; none where no word of the query is in any."""
        expression = match_expression(query)
        if not expression:
            return []
        sql = (
            f"SELECT rowid, bm25(sections, {', '.join(map(str, WEIGHTS))}) AS rank FROM sections"
            " WHERE sections MATCH ? AND (? IS NULL OR collection = ?) ORDER BY rank, rowid LIMIT ?"
        )
        with self._lock:
            found = self._db.execute(sql, (expression, collection, collection, limit)).fetchall()
        return [Found(*self._rows[row], score=round(-rank, 3)) for row, rank in found]


@cache
def index() -> Index:
    """The index of the pages that are installed, made at first use."""
    return Index(pages())


def match_expression(query: str) -> str:
    """FTS5's expression for any text: each of its words (and what it is also called) as a quoted phrase, any of which may be
    found, and all of them in a row as a heading; empty where there is no word."""
    asked = re.findall(r"\w+", query.lower())[: 2 * MOST_WORDS]
    telling = [word for word in dict.fromkeys(asked) if word not in STOP_WORDS] or list(dict.fromkeys(asked))
    phrases = dict.fromkeys(phrase for word in telling[:MOST_WORDS] for phrase in _called(word))
    as_heading = [f'heading : "{" ".join(asked)}"'] if len(asked) > 1 else []
    return " OR ".join([*(f'"{phrase}"' for phrase in phrases), *as_heading])


def _called(word: str) -> Iterator[str]:
    yield word
    if "_" in word:  # the name as a phrase above, its parts too
        yield from filter(None, word.split("_"))
    if word in ALSO:
        yield ALSO[word]
