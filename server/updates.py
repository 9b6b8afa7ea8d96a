"""Telling clients that a resource has changed, in both eras: `subscriptions/listen` since 2026-07-28, `resources/subscribe`
before. Sessions also change without a call here (jobs end, people decide in a terminal, another server records), so what
somebody listens to is read again and compared; while nobody listens nothing is read."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import anyio
from mcp.server import NotificationOptions, ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult
from mcp.server.mcpserver import MCPServer
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourcesListChanged, ResourceUpdated
from mcp.types import (
    EmptyResult,
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    ResourceUpdatedNotificationParams,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

log = logging.getLogger(__name__)
# What changes when a resource does, for an owner; None where it is not (or not theirs) to read.
Read = Callable[[str, str], Awaitable[str | None]]
PAUSE_S = 1.0
PATIENCE_S = 2.0
AT_MOST = 256
# A resource, and for whom it is read: who may not read it neither hears of it nor keeps its owner from hearing.
Heard = tuple[str, str]


@dataclass
class Updates:
    """Who listens to what. `owner`: who is calling now. `bus`: the SDK's fan-out to the streams of 2026-07-28."""

    owner: Callable[[], str]
    bus: InMemorySubscriptionBus = field(default_factory=InMemorySubscriptionBus)
    _read: Read | None = None
    _streams: Counter[Heard] = field(default_factory=Counter)
    _subscribed: dict[Connection, set[Heard]] = field(default_factory=dict)
    _known: dict[Heard, bytes | None] = field(default_factory=dict)
    _somebody: anyio.Event = field(default_factory=anyio.Event)

    async def middleware(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Remembers the clients of the earlier protocol, and what a stream of the later one listens to while it is open."""
        if ctx.method == "notifications/initialized":
            self._wanted_by(_connection(ctx))
        if ctx.method != "subscriptions/listen":
            return await call_next(ctx)
        owner = self.owner()
        heard = [(uri, owner) for uri in _listened(ctx.params)]
        self._streams.update(heard)
        try:
            for one in heard:
                await self._remember(one)
            return await call_next(ctx)
        finally:
            self._streams.subtract(heard)
            self._streams = +self._streams  # without those that nobody listens to any more

    async def subscribe(self, ctx: ServerRequestContext[Any, Any], params: SubscribeRequestParams) -> EmptyResult:
        heard = (str(params.uri), self.owner())
        wanted = self._wanted_by(_connection(ctx))
        if len(wanted) < AT_MOST:
            wanted.add(heard)
            await self._remember(heard)
        return EmptyResult()

    async def unsubscribe(self, ctx: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams) -> EmptyResult:
        self._subscribed.get(_connection(ctx), set()).discard((str(params.uri), self.owner()))
        return EmptyResult()

    async def list_changed(self) -> None:
        """Tells everybody that there are other resources now."""
        await self.bus.publish(ResourcesListChanged())
        for connection in list(self._subscribed):
            await _send(connection, ResourceListChangedNotification())

    @asynccontextmanager
    async def watching(self, read: Read) -> AsyncIterator[None]:
        """Watches what is listened to for as long as the server runs."""
        self._read = read
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    def _wanted_by(self, connection: Connection) -> set[Heard]:
        """What a client of the earlier protocol listens to, for as long as it is there."""
        if connection not in self._subscribed:
            self._subscribed[connection] = set()
            connection.exit_stack.callback(self._subscribed.pop, connection, None)
        return self._subscribed[connection]

    async def _remember(self, heard: Heard) -> None:
        """What it says before the first change; known when the subscription is confirmed, so that no change is missed."""
        if heard not in self._known and self._read is not None:
            said = _mark(await self._read(*heard))
            self._known.setdefault(heard, said)
        self._somebody.set()

    async def _watch(self) -> None:
        while True:
            wanted = set(self._streams).union(*self._subscribed.values())
            self._known = {heard: said for heard, said in self._known.items() if heard in wanted}
            if not wanted:
                self._somebody = anyio.Event()
                await self._somebody.wait()
            for heard in wanted & self._known.keys():
                try:
                    await self._compare(heard)
                except Exception:
                    log.exception("could not compare %s", heard[0])  # whoever listens misses it; the server goes on
            await anyio.sleep(PAUSE_S)

    async def _compare(self, heard: Heard) -> None:
        assert self._read is not None
        uri, before = heard[0], self._known[heard]
        now = _mark(await self._read(*heard))
        if now == before or now is None:
            return
        self._known[heard] = now
        await self.bus.publish(ResourceUpdated(uri=uri))
        note = ResourceUpdatedNotification(params=ResourceUpdatedNotificationParams(uri=uri))
        for connection in [c for c, wanted in self._subscribed.items() if heard in wanted]:
            await _send(connection, note)


def _mark(said: str | None) -> bytes | None:
    """What tells two texts apart: histories are long, and many may be listened to."""
    return None if said is None else hashlib.sha256(said.encode()).digest()


def _listened(params: Any) -> list[str]:
    """The resources that a `subscriptions/listen` request names, as they came: the SDK validates them afterwards."""
    wanted = params.get("notifications") if isinstance(params, dict) else None
    uris = wanted.get("resourceSubscriptions") if isinstance(wanted, dict) else None
    return [uri for uri in uris if isinstance(uri, str)][:AT_MOST] if isinstance(uris, list) else []


def _connection(ctx: ServerRequestContext[Any, Any]) -> Connection:
    # The session is a new object in every request; what lives as long as the client is behind it.
    return ctx.session._connection


async def _send(connection: Connection, note: ResourceUpdatedNotification | ResourceListChangedNotification) -> None:
    """Tells one client. One that does not read, or has just gone, keeps nobody waiting."""
    said = note.model_dump(by_alias=True, mode="json", exclude_none=True)
    try:
        with anyio.move_on_after(PATIENCE_S):
            await connection.notify(said["method"], said.get("params"))
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        log.debug("a client left before it could be told")


def register(server: MCPServer[Any], updates: Updates) -> None:
    """The earlier protocol's part, which the SDK serves on its lower level alone."""
    low = server._lowlevel_server
    low.add_request_handler("resources/subscribe", SubscribeRequestParams, updates.subscribe)
    low.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, updates.unsubscribe)
    offered = partial(low.create_initialization_options, NotificationOptions(resources_changed=True))
    low.create_initialization_options = offered  # pyright: ignore[reportAttributeAccessIssue]
