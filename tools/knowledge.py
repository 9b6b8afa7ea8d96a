"""search_knowledge: what the knowledge base says, with the page and the heading that say it."""

from __future__ import annotations

import sqlite3
from typing import Annotated

from mcp.types import CallToolResult
from pydantic import Field

from ..contract.refusals import NextCall
from ..contract.text import untrusted
from .answers import KnowledgeReply, Passage, refuse, result
from .library import Found, Index, collections, index
from .road import Ctx, in_thread, shop_of

# Characters of all passages of an answer together: below 2,000 tokens even where they are code.
BUDGET = 5_600
LEAST = 160
CUT = " … (cut)"


async def search_knowledge(
    query: Annotated[str, Field(min_length=1, max_length=500)],
    ctx: Ctx,
    collection: Annotated[str, Field(max_length=64, description="edge_ai, python or code_examples; all if absent")]
    | None = None,
    limit: Annotated[int, Field(ge=1, le=20)] = 5,
) -> Annotated[CallToolResult, KnowledgeReply]:
    """Search the knowledge base on edge optimization: methods, conversions, devices, measuring, recovering from errors,
    code. Answers with passages; cite their source and heading."""
    if collection is not None and collection not in collections():
        raise _no_such_collection(query, collection)
    found = (await in_thread(shop_of(ctx), _index)).search(query, collection, limit)
    passages = fitted(found)
    reply = KnowledgeReply(passages=passages, message=_message(found, collection))
    log = [f"### {p.heading} ({p.source})\n\n{p.text}" for p in passages]
    return result(reply, "\n\n".join([*log, reply.message or ""]).strip())


def fitted(found: list[Found]) -> list[Passage]:
    """The passages with their texts cut so that the whole answer stays within its budget; those that do not fit are left out."""
    passages: list[Passage] = []
    left = BUDGET
    for n, section in enumerate(found):
        around = len(section.page.path) + len(section.heading) + 60  # source, heading and the field names
        room = max(LEAST, left // (len(found) - n) - around)
        if left < around + LEAST:
            break
        text = shortened(section.text, room)
        left -= len(text) + around
        passages.append(Passage(text=text, source=section.page.path, heading=section.heading, score=section.score))
    return passages


def shortened(text: str, room: int) -> str:
    """`text`, or its beginning up to the end of a line or a word, at most `room` characters with the mark."""
    if len(text) <= room:
        return text
    head = text[: room - len(CUT)]
    ends = max(head.rfind("\n"), head.rfind(". ") + 1)
    return head[: ends if ends > room // 2 else max(head.rfind(" "), room // 2)].rstrip() + CUT


def _message(found: list[Found], collection: str | None) -> str:
    if not found:
        where = f"the collection {collection}" if collection else "the knowledge base"
        elsewhere = " Leave collection out to search all of it." if collection else ""
        return (
            f"Nothing in {where} has any of these words. Try the name of the technique, the device or the error, in"
            f" English.{elsewhere} The resource edgeopt://knowledge lists all pages."
        )
    return "Whole pages: the resource edgeopt://knowledge/{source without .md}."


def _no_such_collection(query: str, collection: str) -> Exception:
    names = ", ".join(collections())
    call = NextCall(tool="search_knowledge", arguments={"query": query}, why="searches all collections")
    return refuse(
        "INVALID_ARGUMENT",
        f"There is no collection {untrusted(collection, 64)!r}. There are: {names}; leave it out to search all.",
        next_calls=[call],
    )


def _index() -> Index:
    try:
        return index()
    except sqlite3.OperationalError as error:
        raise refuse(
            "UNAVAILABLE",
            f"This Python's SQLite has no full-text search ({untrusted(str(error), 80)}): use a Python whose sqlite3 has FTS5."
            " The pages are readable as resources: edgeopt://knowledge lists them.",
        ) from error
