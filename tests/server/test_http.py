"""The server over Streamable HTTP: on this machine alone, behind a token where one is set, one owner apart from another."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from ..tools import planted
from ..tools.agents import ERAS, Agent, Person
from ..tools.finished import opened

pytestmark = pytest.mark.anyio
TOKENS = ("alice-0123456789abcdef", "bob-fedcba9876543210")


def serve(folder: Path, port: int, *more: str) -> list[str]:
    command = [sys.executable, "-P", "-m", "edgeopt", "serve", "--transport", "http", "--port", str(port)]
    return [*command, "--workspace", str(folder / "workspace"), "--allow-root", str(folder), *more]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(folder: Path, token: str = "") -> Iterator[str]:
    """A server on a free port; its address."""
    port, more = free_port(), []
    if token:
        file = folder / f"{token}.token"
        file.write_text(f"{token}\n")
        more = ["--token-file", str(file)]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(serve(folder, port, *more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            deadline = time.monotonic() + 180
            while not is_up(address):
                assert process.poll() is None, process.stdout and process.stdout.read().decode()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield address
        finally:
            process.terminate()


def is_up(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/healthz").json()["status"] == "ok"
    except httpx2.TransportError:
        return False


@asynccontextmanager
async def agent_at(
    address: str, token: str = "", person: Person | None = None, mode: Literal["auto", "legacy"] = "auto"
) -> AsyncIterator[Agent]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(
            streamable_http_client(f"{address}/mcp", http_client=http), mode=mode, elicitation_callback=person
        ) as client,
    ):
        yield Agent(client, {tool.name: tool for tool in (await client.list_tools()).tools})


async def test_it_serves_this_machine_alone(tmp_path: Path):
    planted.failing(tmp_path)
    with server(tmp_path) as address:
        for header, status in (({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)):
            assert httpx2.post(f"{address}/mcp", headers=header, json={}).status_code == status
        port = int(address.rpartition(":")[2])
        others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)} - {"127.0.0.1"}
        for host in others:
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((str(host), port), timeout=5)
        for mode in ERAS:
            async with agent_at(address, mode=mode) as agent:
                assert len(agent.tools) == 15
                (await agent.call("get_state", session_id=planted.SESSION)).ok()
                (await agent.call("get_state", session_id=planted.SESSION, more=1)).refused("INVALID_ARGUMENT")


@pytest.mark.parametrize("mode", ERAS)
async def test_a_person_is_asked_over_http_too(tmp_path: Path, mode: Literal["auto", "legacy"]):
    planted.failing(tmp_path)
    person = Person(["cancel", "keep"])
    call = {"session_id": planted.SESSION, "variant_id": "v1", "outcome": "keep", "reason": ""}
    with server(tmp_path) as address:
        async with agent_at(address, person=person, mode=mode) as agent:
            (await agent.call("decide_variant", **call)).refused("DECISION_REQUIRED")
            (await agent.call("decide_variant", **call)).ok()
        async with agent_at(address, mode=mode) as agent:
            (await agent.call("decide_variant", **call)).refused("DECISION_ALREADY_MADE")
    assert len(person.asked) == 2


async def test_sessions_belong_to_the_holder_of_the_token(tmp_path: Path):
    alice, bob = TOKENS
    local = planted.failing(tmp_path)
    with server(tmp_path, alice) as first, server(tmp_path, bob) as second:
        for wrong in ("", bob, alice + "x", alice[:-1], "é"):
            headers = [(b"Authorization", f"Bearer {wrong}".encode())] if wrong else []
            assert httpx2.post(f"{first}/mcp", headers=headers, json={}).status_code == 401
        async with agent_at(first, alice) as hers, agent_at(second, bob) as his:
            session_id = await opened(hers, tmp_path)
            (await hers.call("get_state", session_id=session_id)).ok()
            for stranger, session in ((his, session_id), (his, local), (hers, local)):
                (await stranger.call("get_state", session_id=session)).refused("NOT_YOUR_SESSION")
                (await stranger.call("profile_model", session_id=session)).refused("NOT_YOUR_SESSION")
            assert [s["session_id"] for s in (await hers.call("list_sessions")).ok()["sessions"]] == [session_id]
            assert (await his.call("list_sessions")).ok()["sessions"] == []


@pytest.mark.parametrize(
    "content", [None, b"", b"short", b"sixteen letters\xff\xfe and more", b"two lines of\ntokens in a file"]
)
def test_a_token_file_that_holds_no_token_is_refused(tmp_path: Path, content: bytes | None):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    command = serve(tmp_path, free_port(), "--token-file", str(file))
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("edgeopt: --token-file")
