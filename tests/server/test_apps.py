"""The trade-off in chats that can show a page; all others see what they saw before."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from edgeopt.server.app import build
from edgeopt.tools.reporting import CARD
from mcp import Client
from mcp.client.extension import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.types import CallToolResult

from ..reports.test_page import Page
from ..tools import planted
from ..tools.agents import ERAS, settings

pytestmark = pytest.mark.anyio
Era = Literal["auto", "legacy"]
OF = {"session_id": planted.SESSION}


async def rendered(folder: Path, mode: Era, *mime_types: str) -> CallToolResult:
    """The answer of render_report to a client that shows pages of these types."""
    able = [advertise(EXTENSION_ID, {"mimeTypes": list(mime_types)})] if mime_types else None
    async with Client(build(settings(folder)), mode=mode, extensions=able) as client:
        return await client.call_tool("render_report", OF)


@pytest.mark.parametrize("mode", ERAS)
async def test_the_tool_names_its_page_and_the_page_is_there(tmp_path: Path, mode: Era):
    async with Client(build(settings(tmp_path)), mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        bound = {name: (tool.meta or {}).get("ui") for name, tool in tools.items()}
        uri = (bound["render_report"] or {})["resourceUri"]
        assert [name for name, ui in bound.items() if ui] == ["render_report"]
        (listed,) = [r for r in (await client.list_resources()).resources if r.uri == uri]
        (content,) = (await client.read_resource(uri)).contents
    assert listed.mime_type == content.mime_type == APP_MIME_TYPE
    html = getattr(content, "text", "")
    seen = Page(html)
    assert len(seen.of("script")) == 1 and seen.of("script")[0] == {}
    assert "ui/initialize" in html and "ui/notifications/tool-result" in html
    assert "http" not in html and "url(" not in html


@pytest.mark.parametrize("mode", ERAS)
async def test_the_picture_comes_with_the_answer_and_not_in_it(tmp_path: Path, mode: Era):
    planted.failing(tmp_path)
    able = await rendered(tmp_path, mode, APP_MIME_TYPE)
    card = Page((able.meta or {})[CARD])
    assert card.elements[0][0] == "main" and len(card.of("svg")) == 1
    assert "Host Estimate (not target hardware)" in card.text and "v1 int8_static (FAIL)" in card.text
    other = await rendered(tmp_path, mode)
    assert other.structured_content == able.structured_content
    assert other.content == able.content
    assert "<svg" not in str(other.structured_content) + str(other.content)


@pytest.mark.parametrize("types", [(), ("text/html",)])
async def test_who_cannot_show_it_is_not_sent_it(tmp_path: Path, types: tuple[str, ...]):
    planted.failing(tmp_path)
    assert CARD not in ((await rendered(tmp_path, "auto", *types)).meta or {})
