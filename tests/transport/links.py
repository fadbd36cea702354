"""What the tests of `Link` share: a link whose events can be waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from nats.aio.client import Client

from tests.running import DEADLINE
from tests.transport.inside import abort
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Event, Link, open_link
from xkeymsg.transport.options import ConnectOptions
from xkeymsg.transport.raw import Raw, RawSubscription

__all__ = ("Events", "Stock", "fill", "linked", "stock", "take", "to")


class Events:
    """Keeps what a link tells, and lets a test wait for it."""

    def __init__(self) -> None:
        self.all: list[Event] = []
        self._more = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.all.append(event)
        self._more.set()

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.all if event.kind == kind]

    async def wait(self, kind: str, number: int = 1) -> Event:
        """Wait until there are so many events of a kind, and return the last of them."""
        async with asyncio.timeout(DEADLINE):
            while len(self.of(kind)) < number:
                self._more.clear()
                await self._more.wait()
        return self.of(kind)[number - 1]


def to(url: str, **settings: object) -> ConnectOptions:
    return replace(ConnectOptions(servers=(url,)), **settings)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def linked(
    server: NATSServer | str, **settings: object
) -> AsyncIterator[tuple[Link, Events]]:
    """Open a link to a server; its events are the second."""
    events = Events()
    url = server if isinstance(server, str) else server.url
    async with open_link(to(url, **settings), events) as link:
        yield link, events


async def take(subscription: RawSubscription, number: int) -> list[Raw]:
    """Take so many messages, in time."""
    return [await subscription.next(DEADLINE) for _ in range(number)]


async def fill(link: Link, subject: str, number: int, size: int = 1) -> None:
    """Publish so many messages; each begins with its number."""
    for each in range(number):
        await link.publish(subject, b"%06d" % each + bytes(size))
    await link.confirm()


@dataclass
class Stock:
    """A stock client, and what has happened to it."""

    client: Client = field(default_factory=Client)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    back: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Closed for good."""
    told: list[Exception] = field(default_factory=list)

    async def on_lost(self) -> None:
        self.lost.set()

    async def on_back(self) -> None:
        self.back.set()

    async def on_closed(self) -> None:
        self.closed.set()

    async def on_error(self, error: Exception) -> None:
        self.told.append(error)


@contextlib.asynccontextmanager
async def stock(url: str, **options: Any) -> AsyncIterator[Stock]:
    """Connect a stock client; whatever becomes of it, nothing of it is left."""
    one = Stock()
    await one.client.connect(
        url,
        closed_cb=one.on_closed,
        disconnected_cb=one.on_lost,
        reconnected_cb=one.on_back,
        error_cb=one.on_error,
        reconnect_time_wait=0.05,  # type: ignore[arg-type]  # it takes fractions
        **options,
    )
    try:
        yield one
    finally:
        with contextlib.suppress(Exception):  # which is what some tests are about
            async with asyncio.timeout(0.5):
                await one.client.close()
        abort(one.client)
        ending = {
            task
            for task in asyncio.all_tasks()
            if "/nats/" in getattr(getattr(task.get_coro(), "cr_code", None), "co_filename", "")
        }
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending, timeout=DEADLINE)
