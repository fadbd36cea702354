"""The internals of links, and of nats-py's client below them, for tests that need them.

No other module of these tests uses private names. They break connections, end tasks and play
faults of nats-py, and check that nothing is left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from nats.aio.client import Client

from xkeymsg.transport.lean_client import LeanClient
from xkeymsg.transport.link import Link
from xkeymsg.transport.raw import RawSubscription


def client_of(link: Link) -> Any:
    """Return the client for a link's current connection."""
    return link._keeper.client


def socket_of(client: Client) -> Any:
    transport: Any = client._transport
    return transport._io_writer.get_extra_info("socket")


def abort(client: Client) -> None:
    """Break the TCP connection of a client, if it has one."""
    transport: Any = client._transport
    if transport is not None and transport._io_writer is not None:
        transport._io_writer.transport.abort()


def fill_send_buffer(client: Any) -> Callable[[], None]:
    """Let a client's send buffer seem full; return a function that ends this."""
    limit, client._limit = client._limit, -1
    return lambda: setattr(client, "_limit", limit)


def buffered(client: Any) -> int:
    """Return how many bytes wait to be sent."""
    size: int = client._pending_data_size
    return size


TASKS = ("_reading_task", "_flusher_task", "_ping_interval_task")


def task_of(client: Client, name: str = "_reading_task") -> asyncio.Task[Any]:
    """Return one of the `TASKS` of a client."""
    task: asyncio.Task[Any] | None = getattr(client, name)
    assert task is not None
    return task


def reconnecting(client: Client) -> asyncio.Task[Any]:
    task = client._reconnection_task
    assert task is not None
    return task


def on_reconnected(client: Client, call: Callable[[], Awaitable[None]]) -> None:
    client._reconnected_cb = call


def is_encrypted(client: Any) -> bool:
    return bool(client._is_encrypted())


def replace_handshake(
    monkeypatch: pytest.MonkeyPatch, handshake: Callable[[], Awaitable[None]]
) -> None:
    """Let every client be connected after this instead of after its own handshake."""

    async def greet(client: Client) -> None:
        await handshake()
        client._status = Client.CONNECTED

    monkeypatch.setattr(Client, "_process_connect_init", greet)


def replace_pong(
    monkeypatch: pytest.MonkeyPatch, instead: Callable[[Client], Awaitable[None]]
) -> None:
    monkeypatch.setattr(Client, "_process_ping", instead)


def stock_headers(block: bytes) -> Any:
    """Return what nats-py reads from a header block."""
    return Client._parse_header_lines(block.partition(b"\r\n")[2])


def pool_of(client: LeanClient, given: list[str]) -> list[int | None]:
    """Return the ports of the servers that a client tries, in order."""
    client._setup_server_pool(given)
    return [each.uri.port for each in client._server_pool]


def subscriptions_of(link: Link) -> list[bytes]:
    """Return the ids of a link's subscriptions."""
    return list(link._subscriptions.values())


def replies_awaited(link: Link) -> int:
    return len(link._replies)


def takers_of(subscription: RawSubscription) -> int:
    """Return how many callers wait for a message."""
    return len(subscription._takers)
