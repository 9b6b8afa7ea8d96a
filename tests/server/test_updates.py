"""Clients hear that a resource has changed: by a stream since 2026-07-28, by subscription before, on stdio and over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from edgeopt.server.app import build
from edgeopt.server.updates import PAUSE_S, Updates
from mcp import Client
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.types import ResourceListChangedNotification, ResourceUpdatedNotification

from ..tools import planted
from ..tools.agents import Agent, at, settings
from ..tools.finished import opened

pytestmark = pytest.mark.anyio
ROOT = f"edgeopt://sessions/{planted.SESSION}"
REVERT = {"session_id": planted.SESSION, "variant_id": "v1", "outcome": "revert", "reason": "too much is lost"}


@asynccontextmanager
async def earlier(folder: Path) -> AsyncIterator[tuple[Agent, list[Any]]]:
    """A client of the earlier protocol, and what it is told."""
    told: list[Any] = []

    async def hear(message: Any) -> None:
        told.append(message)

    async with Client(build(settings(folder)), mode="legacy", message_handler=hear) as client:
        yield Agent(client, {tool.name: tool for tool in (await client.list_tools()).tools}), told


async def until(told: list[Any], kind: type, count: int = 1) -> list[Any]:
    with anyio.fail_after(60):
        while len(found := [note for note in told if isinstance(note, kind)]) < count:
            await anyio.sleep(0.02)
    return found


async def test_a_stream_tells_what_changed_and_only_that(tmp_path: Path):
    planted.failing(tmp_path)
    uris = [f"{ROOT}/state", f"{ROOT}/variants/v1", f"{ROOT}/variants/v9", "edgeopt://sessions/nonsense/state"]
    async with at(settings(tmp_path)) as agent, agent.client.listen(resource_subscriptions=uris) as stream:
        (await agent.call("decide_variant", **REVERT)).ok()
        with anyio.fail_after(60):
            heard = {await anext(stream), await anext(stream)}
        assert heard == {ResourceUpdated(uri=f"{ROOT}/state"), ResourceUpdated(uri=f"{ROOT}/variants/v1")}
        with anyio.move_on_after(2.5 * PAUSE_S):
            pytest.fail(f"nothing more has changed, but {await anext(stream)} was said")


async def test_the_page_of_the_report_changes_with_the_session(tmp_path: Path):
    planted.failing(tmp_path)
    uris = [f"{ROOT}/report.html", f"{ROOT}/events"]
    async with at(settings(tmp_path)) as agent, agent.client.listen(resource_subscriptions=uris) as stream:
        (await agent.call("decide_variant", **REVERT)).ok()
        with anyio.fail_after(60):
            heard = {await anext(stream), await anext(stream)}
        assert heard == {ResourceUpdated(uri=uri) for uri in uris}


async def test_a_change_by_another_server_is_heard(tmp_path: Path):
    planted.failing(tmp_path)
    async with (
        at(settings(tmp_path)) as agent,
        agent.client.listen(resource_subscriptions=[f"{ROOT}/events"]) as stream,
    ):
        planted.append(tmp_path, planted.worlds.decided(planted.recorded(tmp_path), "v1", "revert", by_person=False))
        with anyio.fail_after(60):
            assert await anext(stream) == ResourceUpdated(uri=f"{ROOT}/events")


async def test_the_session_of_somebody_else_is_not_watched(tmp_path: Path):
    planted.failing(tmp_path, owner="token:somebody")
    async with at(settings(tmp_path)) as agent, agent.client.listen(resource_subscriptions=[f"{ROOT}/state"]) as stream:
        planted.append(tmp_path, planted.worlds.decided(planted.recorded(tmp_path), "v1", "revert", by_person=False))
        with anyio.move_on_after(2.5 * PAUSE_S):
            pytest.fail(f"{await anext(stream)} was told to who may not read it")


@pytest.mark.filterwarnings("ignore:resources/")
async def test_subscribers_of_the_earlier_protocol_hear_the_same(tmp_path: Path):
    planted.failing(tmp_path)
    async with earlier(tmp_path) as (agent, told):
        capabilities = agent.client.server_capabilities.resources
        assert capabilities is not None
        assert capabilities.subscribe and capabilities.list_changed
        for uri in ("state", "report"):
            await agent.client.subscribe_resource(f"{ROOT}/{uri}")  # pyright: ignore[reportDeprecated]
        await agent.client.unsubscribe_resource(f"{ROOT}/report")  # pyright: ignore[reportDeprecated]
        (await agent.call("decide_variant", **REVERT)).ok()
        (note,) = await until(told, ResourceUpdatedNotification)
        assert str(note.params.uri) == f"{ROOT}/state"
        await anyio.sleep(2.5 * PAUSE_S)
        assert len(await until(told, ResourceUpdatedNotification)) == 1


async def _of_sessions(agent: Agent) -> set[str]:
    listed = {str(resource.uri) for resource in (await agent.client.list_resources()).resources}
    return {uri for uri in listed if uri.startswith("edgeopt://sessions/")}


async def test_a_new_session_changes_the_list(tmp_path: Path):
    async with at(settings(tmp_path)) as agent, agent.client.listen(resources_list_changed=True) as stream:
        assert await _of_sessions(agent) == set()
        session_id = await opened(agent, tmp_path)
        with anyio.fail_after(60):
            assert await anext(stream) == ResourcesListChanged()
        listed = await _of_sessions(agent)
        assert listed == {f"edgeopt://sessions/{session_id}/{part}" for part in ("state", "report")}
        for uri in listed:
            assert (await agent.client.read_resource(uri)).contents


async def test_a_new_session_changes_the_list_of_the_earlier_protocol(tmp_path: Path):
    async with earlier(tmp_path) as (agent, told):
        await opened(agent, tmp_path)
        await until(told, ResourceListChangedNotification)


async def test_nobody_keeps_the_owner_from_hearing():
    """Somebody else who listens to a resource first hears nothing of it; its owner does. Who has gone leaves nothing."""
    caller, content = "token:other", "before"
    updates = Updates(lambda: caller)
    told: list[Any] = []

    async def read(uri: str, owner: str) -> str | None:
        return content if owner == "token:owner" else None

    def listens(uri: str) -> Any:
        params = {"notifications": {"resourceSubscriptions": [uri]}}
        return SimpleNamespace(method="subscriptions/listen", params=params)

    async def stays(_: Any) -> None:
        await leave.wait()

    async def publish(event: Any) -> None:
        told.append(event)

    updates.bus.publish = publish
    leave = anyio.Event()
    async with updates.watching(read), anyio.create_task_group() as tasks:
        for caller in ("token:other", "token:owner"):  # noqa: B007 (the lambda reads it)
            tasks.start_soon(updates.middleware, listens("r"), stays)
            await anyio.wait_all_tasks_blocked()
        content = "after"
        with anyio.fail_after(5 * PAUSE_S):
            while not told:
                await anyio.sleep(0.05)
        leave.set()
        await anyio.sleep(2.5 * PAUSE_S)
        assert told == [ResourceUpdated(uri="r")]
        assert not updates._streams and not updates._known
