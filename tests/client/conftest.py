"""Alice, Bob, and others who publish whatever they like, over a server or in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import xkeymsg
from tests.running import DEADLINE, until
from tests.spans import Spans, recording
from xkeymsg import Keyring, Peers, XKeyPair
from xkeymsg.client.client import Client
from xkeymsg.client.stats import Where
from xkeymsg.testing import MemoryNATS, NATSServer
from xkeymsg.testing.memory import MemoryLink
from xkeymsg.testing.pytest_plugin import peers_of
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.options import ConnectOptions

ALICE, BOB, CAROL, EVE, ESCROW = (XKeyPair.generate() for _ in range(5))
PEERS = peers_of({"alice": ALICE, "bob": BOB, "carol": CAROL})
"""Eve is nobody's peer."""


class Town:
    """Where the clients of a test meet."""

    def __init__(self, server: NATSServer | None) -> None:
        self.server = server
        self.memory = MemoryNATS()

    def connect(
        self, key: XKeyPair | Keyring = ALICE, trust: Any = PEERS, **options: Any
    ) -> AbstractAsyncContextManager[Client]:
        if self.server is None:
            return self.memory.connect(key=key, trust=trust, **options)
        options = {"timeout": DEADLINE, **options}
        return xkeymsg.connect(self.server.url, key=key, trust=trust, **options)

    @contextlib.asynccontextmanager
    async def link(self) -> AsyncIterator[Link | MemoryLink]:
        """A connection of somebody who sends bytes as he likes."""
        if self.server is None:
            yield MemoryLink(self.memory)
        else:
            async with open_link(ConnectOptions(servers=(self.server.url,))) as link:
                yield link


@pytest.fixture(params=["memory", "server"])
def town(request: pytest.FixtureRequest) -> Iterator[Town]:
    if request.param == "memory":
        yield Town(None)
    else:
        with NATSServer() as server:
            yield Town(server)


class Told(list[tuple[str, Where]]):
    """What `on_error` was told: codes, and where."""

    def __call__(self, error: Exception, where: Where) -> None:
        self.append((getattr(error, "code", type(error).__name__), where))

    @property
    def codes(self) -> list[str]:
        return [code for code, _ in self]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """The spans of clients that connect in a test."""
    return recording(monkeypatch, Spans())


@pytest.fixture(autouse=True)
async def nothing_is_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task, or that asyncio had something to complain of."""
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    before = asyncio.all_tasks()
    yield
    # A thread that opens something may be on its way back.
    await until(lambda: asyncio.all_tasks() - before <= {asyncio.current_task()})
    gc.collect(1)
    expected = getattr(loop, "complaints_expected", 0)
    assert len(complaints) == expected, complaints


__all__ = ("ALICE", "BOB", "CAROL", "ESCROW", "EVE", "PEERS", "Peers", "Told", "Town")
