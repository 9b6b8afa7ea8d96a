"""search_knowledge: a later version's; says so."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult
from pydantic import Field

from .answers import KnowledgeReply, refuse
from .road import Ctx


async def search_knowledge(
    query: Annotated[str, Field(min_length=1, max_length=500)],
    ctx: Ctx,
    collection: Annotated[str, Field(max_length=64)] | None = None,
    limit: Annotated[int, Field(ge=1, le=20)] = 5,
) -> Annotated[CallToolResult, KnowledgeReply]:
    """Search the knowledge base on edge optimization. Not built in this version: answers UNAVAILABLE."""
    raise refuse(
        "UNAVAILABLE",
        "The knowledge base is not built in this version. recommend_next gives the next step with its rule; a failed "
        "answer carries its playbook.",
    )
