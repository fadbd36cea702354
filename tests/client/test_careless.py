"""Programs whose own functions raise what nobody expects, and that use things in the wrong order.

A CancelledError that nobody asked for, a StopIteration of a careless `next`, a SystemExit deep in a
library: each would end a task, or pass for its end, and what depends on the task would stand still
without a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import xkeymsg
from tests.client.inside import connection_of
from tests.running import DEADLINE, until
from xkeymsg import ConfigurationError, Message, XKey
from xkeymsg.client import client as module
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.events import ConsumerEvent
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.client.scope import LARGE
from xkeymsg.client.stats import Where
from xkeymsg.envelope.admission import Admission
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Event

from .conftest import ALICE, BOB, PEERS, Told, Town


class OfAProgram(BaseException):
    """Not an Exception."""


FAULTS: list[type[BaseException]] = [
    asyncio.CancelledError,
    StopIteration,
    StopAsyncIteration,
    GeneratorExit,
    SystemExit,
    OfAProgram,
]


class Careless:
    """Trust that raises until it is mended."""

    def __init__(self, fault: type[BaseException]) -> None:
        self.fault: type[BaseException] | None = fault
        self.calls = 0

    def admit(self, _sender: XKey, _subject: str, _at: int) -> Admission:
        self._fail()
        return Admission()

    def reload(self) -> bool:
        self._fail()
        return True

    def _fail(self) -> None:
        self.calls += 1
        if self.fault is not None:
            raise self.fault("a secret")


async def echo(message: Message) -> bytes:
    return message.data


@pytest.mark.parametrize("size", [1, LARGE])
@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_trust_raises_refuses_one_message_and_is_told(
    fault: type[BaseException], size: int, town: Town, told: Told
) -> None:
    trust = Careless(fault)
    async with (
        town.connect(BOB, trust, on_error=told) as bob,
        town.connect() as alice,
        bob.subscribe("a") as messages,
    ):
        await bob.flush()
        await alice.publish("a", bytes(size), to="bob")
        taker = asyncio.create_task(anext(messages))
        await until(lambda: told)
        trust.fault = None
        await alice.publish("a", b"next", to="bob")
        assert (await taker).data == b"next"
        assert bob.stats.refused == {"internal": 1}
    assert [where for _, where in told] == [Where("message", "a")]


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_trust_raises_ends_no_consumer(
    fault: type[BaseException], jetstream_server: NATSServer
) -> None:
    trust = Careless(fault)
    handled = asyncio.Event()

    async def handle(_message: Message) -> None:
        handled.set()

    async with (
        xkeymsg.connect(jetstream_server.url, key=BOB, trust=trust) as bob,
        xkeymsg.connect(jetstream_server.url, key=ALICE, trust=PEERS) as alice,
    ):
        await bob.js.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["a"]})
        await create_quarantine(bob.js.api)
        await alice.js.publish("a", bytes(LARGE), to="bob")
        await alice.js.publish("a", b"", to="bob")
        async with bob.js.consume(
            "S", "d", handle, create=DurableOptions(), policy=FailurePolicy(backoff=0.05)
        ) as consumer:
            await until(lambda: consumer.counts["refused.error"] >= 3)
            trust.fault = None
            await until(lambda: consumer.counts["handled"] == 2)


@pytest.mark.parametrize("fault", FAULTS)
async def test_trust_that_cannot_be_read_is_looked_at_again_whatever_it_raises(
    fault: type[BaseException], town: Town, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or who was taken out of it would stay admitted for ever."""
    monkeypatch.setattr(module, "RELOAD", 0.01)
    trust = Careless(fault)
    async with town.connect(BOB, trust, on_error=told):
        await until(lambda: len(told) > 2)
    assert {where.what for _, where in told} == {"trust"}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_prefix_that_raises_refuses_one_request(
    fault: type[BaseException], town: Town, told: Told
) -> None:
    careless = Careless(fault)

    def prefix(_request: Message) -> str:
        careless.admit(ALICE.public, "", 0)
        return "_INBOX"

    async with (
        town.connect(BOB, reply_prefix=prefix, on_error=told) as bob,
        town.connect() as alice,
        bob.serve("svc", echo),
    ):
        await bob.flush()
        asking = asyncio.create_task(alice.request("svc", b"", to="bob", timeout=DEADLINE))
        await until(lambda: told)
        assert [where for _, where in told] == [Where("message", "svc")]
        careless.fault = None
        assert (await alice.request("svc", b"x", to="bob", timeout=DEADLINE)).data == b"x"
        assert not asking.done()
        asking.cancel()
        await asyncio.wait([asking])


BESIDES = [fault for fault in FAULTS if fault is not SystemExit]  # which these let through


@pytest.mark.parametrize("fault", BESIDES)
async def test_what_on_event_raises_ends_no_connection(fault: type[BaseException]) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    events = []

    def note(event: Event) -> None:
        events.append(event.kind)
        raise fault

    with NATSServer() as server:
        async with (
            xkeymsg.connect(server.url, key=BOB, trust=PEERS, on_event=note) as bob,
            bob.subscribe("a") as messages,
        ):
            server.restart()
            await until(lambda: "connected" in events)
            await bob.publish("a", b"again", to="bob")
            assert (await anext(messages)).data == b"again"


@pytest.mark.parametrize("fault", BESIDES)
async def test_what_on_event_raises_ends_no_consumer(
    fault: type[BaseException], jetstream_server: NATSServer
) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    def note(_event: ConsumerEvent) -> None:
        raise fault

    async with xkeymsg.connect(jetstream_server.url, key=BOB, trust=PEERS) as bob:
        await bob.js.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["a"]})
        await create_quarantine(bob.js.api)
        async with (
            xkeymsg.connect(jetstream_server.url, key=ALICE, trust=PEERS) as alice,
            bob.js.consume("S", "d", echo, create=DurableOptions(), on_event=note) as consumer,
        ):
            await connection_of(bob).publish("a", b"garbage")
            await until(lambda: consumer.counts["quarantined"])
            await alice.js.publish("a", b"", to="bob")
            await until(lambda: consumer.counts["handled"] == 1)


# --- in the wrong order ---------------------------------------------------------------------------


async def test_what_is_begun_twice_or_not_at_all_says_so(town: Town) -> None:
    async with town.connect(BOB) as bob:
        begin: list[Callable[[], Any]] = [
            lambda: bob.subscribe("a"),
            lambda: bob.serve("a", echo),
        ]
        for make in begin:
            thing = make()
            async with thing:
                with pytest.raises(ConfigurationError):
                    await thing.__aenter__()
            with pytest.raises(ConfigurationError):
                await thing.__aenter__()
        messages = bob.subscribe("a")
        with pytest.raises(ConfigurationError):
            await anext(messages)
        async with messages:
            pass
        async with asyncio.timeout(DEADLINE):
            assert [message async for message in messages] == []


async def test_a_consumer_that_is_begun_twice_or_not_at_all_says_so(
    jetstream_server: NATSServer,
) -> None:
    async with xkeymsg.connect(jetstream_server.url, key=BOB, trust=PEERS) as bob:
        await bob.js.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["a"]})
        with pytest.raises(TypeError):  # or every message would end in quarantine
            bob.js.consume("S", "d", None)  # type: ignore[arg-type]
        consumer = bob.js.consume("S", "d", echo, create=DurableOptions())
        with pytest.raises(ConfigurationError):
            await consumer.wait()
        async with consumer:
            with pytest.raises(ConfigurationError):
                await consumer.__aenter__()
        with pytest.raises(ConfigurationError):
            await consumer.__aenter__()
