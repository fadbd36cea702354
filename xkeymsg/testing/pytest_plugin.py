"""Fixtures for tests of programs that use this package.

    pytest_plugins = ["xkeymsg.testing.pytest_plugin"]      # in the topmost conftest.py

`server` and `jetstream_server` are real servers, one per test; `clients` makes in-memory clients
that know each other by name:

    async def test_orders(clients):
        async with clients("shop", "bob") as (shop, bob): ...
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from xkeymsg.client.client import Client
from xkeymsg.keys import XKeyPair
from xkeymsg.testing.memory import MemoryNATS
from xkeymsg.testing.server import NATSServer
from xkeymsg.trust.peers import Peers

__all__ = ("Clients", "clients", "jetstream_server", "peers_of", "server")

Clients = Callable[..., AbstractAsyncContextManager[list[Client]]]


@pytest.fixture
def server() -> Iterator[NATSServer]:
    """A nats-server for one test."""
    with NATSServer() as running:
        yield running


@pytest.fixture
def jetstream_server() -> Iterator[NATSServer]:
    """A nats-server with JetStream for one test."""
    with NATSServer(jetstream=True) as running:
        yield running


@pytest.fixture
def clients() -> Clients:
    """A factory of in-memory clients by name; each may send to the others."""
    nats = MemoryNATS()

    @asynccontextmanager
    async def connected(*names: str, **options: Any) -> AsyncIterator[list[Client]]:
        pairs = {name: XKeyPair.generate() for name in names}
        peers = peers_of(pairs)
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(nats.connect(key=pair, trust=peers, **options))
                for pair in pairs.values()
            ]

    return connected


def peers_of(pairs: dict[str, XKeyPair]) -> Peers:
    """Return peers with these names and keys, which may send on every subject."""
    return Peers.parse(
        "".join(
            f'[peers."{name}"]\nxkey = "{pair.public}"\nsubjects = [">"]\n'
            for name, pair in pairs.items()
        )
    )
