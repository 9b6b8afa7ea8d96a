"""docs/reference.md says what the tools say. After a change that is meant: `make reference`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..tools.agents import at, settings
from .reference import reference

pytestmark = pytest.mark.anyio
PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


async def test_the_reference_is_not_stale(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        made = await reference(agent.client)
    if os.environ.get("EDGEOPT_RENEW_SNAPSHOTS"):
        PAGE.write_text(made, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == made, "stale: `make reference`"
