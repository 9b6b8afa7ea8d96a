"""The MCP App: chats that can show a page beside an answer show the trade-off there; all others have the text."""

from __future__ import annotations

from typing import Any

from mcp.server.apps import APP_MIME_TYPE, Apps
from mcp.server.mcpserver.resources import FunctionResource

TRADEOFF = "ui://edgeopt/tradeoff.html"
# Of the tool whose answers the page shows.
SHOWN_BY: dict[str, Any] = {"ui": {"resourceUri": TRADEOFF}}


def _frame() -> str:
    from ..reports.chat import frame  # not when the server starts

    return frame()


def tradeoff_app() -> Apps:
    """The extension with its one page, which is made when it is asked for."""
    apps = Apps()
    page = FunctionResource(
        uri=TRADEOFF,
        name="tradeoff",
        title="edgeopt: trade-off",
        description="Shows what render_report answered",
        mime_type=APP_MIME_TYPE,
        meta={"ui": {"prefersBorder": True}},
        fn=_frame,
    )
    apps.add_resource(page)
    return apps
