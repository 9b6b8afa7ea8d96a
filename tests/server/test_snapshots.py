"""One committed snapshot a tool: what a client sees of it changes on purpose alone.

After a change that is meant: `make snapshots`, and read the difference before it is committed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ..tools.agents import at, settings

pytestmark = pytest.mark.anyio
SNAPSHOTS = Path(__file__).parent / "snapshots"
RENEW = bool(os.environ.get("EDGEOPT_RENEW_SNAPSHOTS"))


async def shown(folder: Path) -> dict[str, str]:
    """Each tool as the client gets it, as the text of its snapshot."""
    async with at(settings(folder)) as agent:
        return {
            name: json.dumps(tool.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1) + "\n"
            for name, tool in agent.tools.items()
        }


async def test_every_tool_is_as_its_snapshot_says(tmp_path: Path):
    tools = await shown(tmp_path)
    if RENEW:
        for old in SNAPSHOTS.glob("*.json"):
            old.unlink()
        for name, text in tools.items():
            (SNAPSHOTS / f"{name}.json").write_text(text, encoding="utf-8")
    assert {path.stem for path in SNAPSHOTS.glob("*.json")} == set(tools), "tools came or went: `make snapshots`"
    changed = [n for n, text in tools.items() if (SNAPSHOTS / f"{n}.json").read_text(encoding="utf-8") != text]
    assert not changed, (
        f"{', '.join(changed)}: no longer as committed. Meant? `make snapshots`, then read the difference."
    )
