"""Clients with buckets, over a server or in memory, and the broker's hands in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.client.conftest import (
    ALICE,
    BOB,
    CAROL,
    EVE,
    PEERS,
    Town,
    nothing_is_left_behind,
)
from xkeymsg import KVBucket, KVEntry
from xkeymsg.client.client import Client
from xkeymsg.kv.entry import StoredEntry
from xkeymsg.kv.jetstream import JetStreamStore
from xkeymsg.testing import NATSServer

BUCKET = "config"
Pair = tuple[Client, Client]


class Broker(Town):
    """The broker of a bucket: reads and writes whatever it likes."""

    async def stored(self, client: Client, name: str, bucket: str = BUCKET) -> StoredEntry:
        """What is stored under a key on the wire."""
        if self.server is None:
            found = await self.memory.bucket(bucket).last(name)
        else:
            found = await JetStreamStore(client.js.api, bucket).last(name)
        assert found is not None
        return found

    async def store(
        self,
        client: Client,
        name: str,
        data: bytes,
        headers: Mapping[str, str] = {},
        bucket: str = BUCKET,
    ) -> int:
        """Store bytes under a key."""
        if self.server is None:
            return await self.memory.bucket(bucket).store(name, data, headers)
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        raw = await client.js.api.link.request(
            f"$KV.{bucket}.{name}",
            data,
            headers=f"NATS/1.0\r\n{lines}\r\n".encode() if lines else b"",
            timeout=30,
        )
        return int(raw.data.split(b'"seq":')[1].split(b"}")[0].split(b",")[0])


@pytest.fixture(params=["memory", "server"])
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    if request.param == "memory":
        yield Broker(None)
    else:
        with NATSServer(jetstream=True) as server:
            yield Broker(server)


@pytest.fixture
async def pair(broker: Broker) -> AsyncIterator[tuple[Client, Client]]:
    """Alice, who writes, and Bob, who reads; the bucket exists."""
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(broker.connect(ALICE))
        bob = await stack.enter_async_context(broker.connect(BOB))
        await alice.kv(BUCKET).init(history=8)
        yield alice, bob


async def taken(watch: Any, count: int) -> list[KVEntry | None]:
    """The next items of a watch."""
    async with asyncio.timeout(60):
        return [await anext(watch) for _ in range(count)]


def writer(client: Client, **options: Any) -> KVBucket:
    return client.kv(BUCKET, to=["alice", "bob"], **options)


__all__ = (
    "ALICE",
    "BOB",
    "BUCKET",
    "CAROL",
    "EVE",
    "PEERS",
    "Broker",
    "Pair",
    "nothing_is_left_behind",
    "taken",
    "writer",
)  # fmt: skip
