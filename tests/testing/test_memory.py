"""What stands for a server in tests of programs behaves like one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.running import DEADLINE
from xkeymsg import ConnectionFailedError, MalformedError, PayloadTooLargeError
from xkeymsg.testing import MemoryNATS
from xkeymsg.testing.memory import MemoryLink
from xkeymsg.testing.pytest_plugin import Clients
from xkeymsg.transport.headers import parse_status


async def test_a_link_in_memory_refuses_what_a_link_refuses() -> None:
    link = MemoryLink(MemoryNATS(max_payload=10))
    for subject, reply in (("a b", ""), ("", ""), ("a", "*")):
        with pytest.raises(MalformedError):
            await link.publish(subject, b"", reply=reply)
    with pytest.raises(MalformedError):
        await link.subscribe("a..b")
    with pytest.raises(PayloadTooLargeError):
        await link.publish("a", bytes(5), headers=bytes(6))
    await link.drain(1)
    for call in (link.publish("a", b""), link.subscribe("a"), link.confirm()):
        with pytest.raises(ConnectionFailedError):
            await call


async def test_nobody_listens_and_a_group_takes_turns() -> None:
    link = MemoryLink(MemoryNATS())
    inbox = await link.subscribe("_INBOX.*")
    await link.publish("a", b"", reply="_INBOX.x")
    raw = await inbox.next(DEADLINE)
    status = parse_status(raw.headers)
    assert status is not None
    assert (status.code, raw.data) == (503, b"")
    one, other = await link.subscribe("a", queue="q"), await link.subscribe("a", queue="q")
    for _ in range(10):
        await link.publish("a", b"", reply="_INBOX.x")
    assert (one.pending, other.pending, inbox.pending) == (5, 5, 0)


async def test_drain_lets_what_came_be_taken() -> None:
    link = MemoryLink(MemoryNATS())
    subscription = await link.subscribe("a")
    for _ in range(3):
        await link.publish("a", b"")
    taker = asyncio.create_task(_count(subscription))
    await link.drain(1)
    assert await taker == 3
    assert link.state == "closed"


async def _count(subscription: Any) -> int:
    return len([raw async for raw in subscription])


async def test_the_fixture_makes_clients_that_know_each_other(clients: Clients) -> None:
    async with (
        clients("shop", "bob", padding=True) as (shop, bob),
        bob.subscribe("orders.>") as messages,
    ):
        await shop.publish("orders.new", b"7", to="bob")
        message = await anext(messages)
    assert (message.data, message.sender) == (b"7", shop.public)
