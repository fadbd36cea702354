"""A flush that has returned means that the server has seen everything before it."""

from __future__ import annotations

import pytest
from nats.aio.client import Client

from tests.transport.raw import Session, broker
from xkeymsg.testing import NATSServer
from xkeymsg.transport.client import HardenedClient


async def order_on_the_wire(client: Client) -> list[bytes]:
    """Subscribe, publish and flush; return what the server received, operation by operation."""

    async def script(session: Session) -> None:
        await session.welcome()
        del session.received[:]
        await session.serve()

    async with broker(script) as scripted:
        await client.connect(scripted.url)
        await client.subscribe("a")
        await client.publish("b", b"x")
        await client.flush()
        await client.close()
        session = await scripted.session()
    return [
        line.split()[0] for line in bytes(session.received).splitlines() if line.strip() != b"x"
    ]


async def test_the_ping_of_a_flush_comes_behind_what_it_confirms() -> None:
    assert await order_on_the_wire(HardenedClient()) == [b"SUB", b"PUB", b"PING"]


async def test_the_stock_clients_ping_overtakes_it() -> None:
    assert await order_on_the_wire(Client()) == [b"PING", b"SUB", b"PUB"]


@pytest.mark.parametrize("attempt", range(5))
async def test_what_the_server_refused_is_known_after_the_flush(attempt: int) -> None:
    seen = list[Exception]()

    async def note(error: Exception) -> None:
        seen.append(error)

    config = """authorization { users = [
      {user: u, password: x,
       permissions: {subscribe: {deny: closed}, publish: {deny: closed}}}] }"""
    client = HardenedClient()
    with NATSServer(config) as server:
        await client.connect(server.url, user="u", password="x", error_cb=note)
        try:
            await client.subscribe("closed")
            await client.publish("closed", b"x")
            await client.flush()
        finally:
            await client.close()
    assert len(seen) == 2
