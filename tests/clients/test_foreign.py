"""Real clients that are not ours: the TypeScript SDK, both of its lines, and the Inspector's command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edgeopt.server.app import INSTRUCTIONS, TOOLS

from ..server.test_http import server
from ..tools import planted
from .node import installed, run, script

pytestmark = [installed, pytest.mark.slow]
HERE = Path(__file__).parent
INSPECTOR = ("@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
# The first line is what most clients are built on; the second speaks 2026-07-28 where it is told to negotiate.
SDKS = (("v1", "legacy"), ("v2", "legacy"), ("v2", "auto"))
OF = {"session_id": planted.SESSION}
KEEP = OF | {"variant_id": "v1", "outcome": "keep", "reason": "a person may want it"}
ERROR, STRICT = 5, 6


@dataclass(frozen=True)
class Place:
    """Where a client finds the server: a command to start, or an address."""

    command: tuple[str, ...] = ()
    url: str = ""

    @property
    def target(self) -> tuple[str, ...]:
        return (self.url,) if self.url else self.command


@contextmanager
def place(folder: Path, transport: str) -> Iterator[Place]:
    """The product as users start it, on a workspace where v1 waits for a person."""
    planted.failing(folder)
    if transport == "http":
        with server(folder) as address:
            yield Place(url=f"{address}/mcp")
        return
    workspace = ("--workspace", str(folder / "workspace"), "--allow-root", str(folder))
    yield Place(command=(sys.executable, "-P", "-m", "edgeopt", "serve", *workspace))


def call(tool: str, **arguments: Any) -> list[Any]:
    return ["tools/call", {"name": tool, "arguments": arguments}]


def session(
    folder: Path, at: Place, sdk: str, negotiation: str, requests: list[Any], answer: Any = None
) -> dict[str, Any]:
    """What the TypeScript SDK got for these requests."""
    where = {"url": at.url} if at.url else {"command": at.command}
    plan = {"sdk": sdk, "negotiation": negotiation, "requests": requests, "answer": answer, **where}
    outcome = run(folder, str(HERE / "session.mjs"), json.dumps(plan))
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    return json.loads(outcome.stdout)


def structured(came: dict[str, Any], *, error: bool) -> dict[str, Any]:
    """The structured content of a tool's answer: the client let it through, and it is an error or not."""
    assert "result" in came, came
    assert bool(came["result"].get("isError")) == error, came
    return came["result"]["structuredContent"]


@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize(("sdk", "negotiation"), SDKS)
def test_the_typescript_sdk(tmp_path: Path, sdk: str, negotiation: str, transport: str):
    uri = f"edgeopt://sessions/{planted.SESSION}/state"
    argument = {"name": "target_device", "value": "jet"}
    requests = [
        ["tools/list", {}],
        call("get_state", **OF),
        call("optimize_model", **OF, step={"technique": "float16"}),
        call("get_state", **OF, more=1),
        call("decide_variant", **KEEP),
        ["prompts/get", {"name": "resume-session", "arguments": OF}],
        ["resources/read", {"uri": uri}],
        ["completion/complete", {"ref": {"type": "ref/prompt", "name": "optimize-model"}, "argument": argument}],
    ]
    person = {"action": "accept", "content": {"outcome": "keep", "reason": "fast enough for us"}}
    with place(tmp_path, transport) as at:
        back = session(tmp_path, at, sdk, negotiation, requests, person)
    tools, state, refused, wrong, decided, prompt, resource, completed = back["came"]
    assert [tool["name"] for tool in tools["result"]["tools"]] == [tool.__name__ for tool, _ in TOOLS]
    assert back["tokens"] <= 5_000
    assert back["instructions"] == INSTRUCTIONS
    assert structured(state, error=False)["state"]["phase"] == "VALIDATE"
    assert structured(refused, error=True)["refusal"]["code"] == "DECISION_REQUIRED"
    assert structured(wrong, error=True)["refusal"]["code"] == "INVALID_ARGUMENT"
    assert structured(decided, error=False)["decision"]["decided_by"].startswith("person, accepted through typescript")
    assert len(back["asked"]) == 1 and "v1" in back["asked"][0]
    assert planted.SESSION in prompt["result"]["messages"][0]["content"]["text"]
    assert resource["result"]["contents"][0]["text"].startswith("<model-opt-state>")
    assert completed["result"]["completion"]["values"] == ["jetson-orin-nano"]


@pytest.mark.parametrize(("sdk", "negotiation"), SDKS)
def test_a_typescript_client_without_a_person_is_told_so(tmp_path: Path, sdk: str, negotiation: str):
    with place(tmp_path, "stdio") as at:
        (decided,) = session(tmp_path, at, sdk, negotiation, [call("decide_variant", **KEEP)])["came"]
    assert structured(decided, error=True)["refusal"]["code"] == "HUMAN_UNAVAILABLE"


@pytest.mark.parametrize("transport", ["stdio", "http"])
@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector(tmp_path: Path, era: str, transport: str):
    with place(tmp_path, transport) as at:

        def inspect(method: str, *arguments: str, leaves: int = 0) -> dict[str, Any]:
            command = ("--cli", *at.target, "--protocol-era", era, "--method", method, *arguments)
            outcome = run(tmp_path, script(*INSPECTOR), *command)
            assert outcome.returncode == leaves, (
                f"{method}: {outcome.returncode}\n{outcome.stdout[-2000:]}{outcome.stderr}"
            )
            return json.loads(outcome.stdout or "{}")

        def tool(name: str, arguments: dict[str, str], leaves: int = 0) -> dict[str, Any]:
            pairs = [f"{key}={value}" for key, value in arguments.items()]
            return inspect("tools/call", "--tool-name", name, "--tool-arg", *pairs, leaves=leaves)["structuredContent"]

        listed = inspect("tools/list", "--strict")["tools"]
        assert [tool["name"] for tool in listed] == [tool.__name__ for tool, _ in TOOLS]
        assert tool("get_state", OF)["state"]["blockers"] != "none"
        assert tool("decide_variant", KEEP, ERROR)["refusal"]["code"] == "HUMAN_UNAVAILABLE"
        assert tool("get_state", {"session_id": "s_nowhere"}, ERROR)["refusal"]["code"] == "UNKNOWN_SESSION"
        assert len(inspect("prompts/list")["prompts"]) == 4
        assert len(inspect("resources/templates/list")["resourceTemplates"]) >= 4
        read = inspect("resources/read", "--uri", f"edgeopt://sessions/{planted.SESSION}/report")
        assert "| Baseline |" in read["contents"][0]["text"]
