"""A client and a server: what the connection does, and what of it is told."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

import xkeymsg
from tests.running import DEADLINE, until
from xkeymsg import (
    ConfigurationError,
    ConnectionFailedError,
    DeliveryError,
    MalformedError,
    Message,
    PayloadTooLargeError,
    XKeyMsgError,
)
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.envelope.session import Session
from xkeymsg.testing import MemoryNATS, NATSServer
from xkeymsg.transport.link import Event
from xkeymsg.transport.options import ConnectOptions

from .conftest import ALICE, BOB, PEERS, Told


async def test_a_server_that_comes_back_finds_the_subscription_and_its_memory(
    server: NATSServer, told: Told
) -> None:
    events: list[Event] = []
    async with (
        xkeymsg.connect(server.url, key=ALICE, trust=PEERS) as alice,
        xkeymsg.connect(
            server.url, key=BOB, trust=PEERS, on_error=told, on_event=events.append
        ) as bob,
        bob.subscribe("a") as messages,
        bob.serve("svc", _echo),
    ):
        await bob.flush()
        server.kill()
        await until(lambda: bob.state == alice.state == "reconnecting")
        server.restart()
        await until(lambda: bob.state == alice.state == "connected")
        await bob.flush()
        await alice.publish("a", b"1", to="bob")
        assert (await anext(messages)).data == b"1"
        assert (await alice.request("svc", b"x", to="bob")).data == b"x"
    assert events[0].kind == "disconnected"
    assert events[-1].kind == "connected"
    assert {where.what for _, where in told} == {"connection"}


async def _echo(message: Message) -> bytes:
    return message.data


async def test_what_the_server_refuses_is_told(told: Told) -> None:
    config = """authorization { users = [
        {user: bob, password: x, permissions: {publish: "_INBOX.>", subscribe: ["a", "_INBOX.>"]}}
    ]}"""
    with NATSServer(config) as server:
        async with xkeymsg.connect(
            server.url, key=BOB, trust=PEERS, user="bob", password="x", on_error=told
        ) as bob:
            await bob.publish("b", b"", to="alice")
            with pytest.raises(DeliveryError):
                await bob.flush()
            async with bob.subscribe("b"):
                with pytest.raises(DeliveryError):
                    await bob.flush()
    assert [where.what for _, where in told] == ["connection"] * 2


async def test_max_payload_is_that_of_the_server() -> None:
    with NATSServer("max_payload: 2048") as server:
        async with xkeymsg.connect(server.url, key=ALICE, trust=PEERS) as alice:
            with pytest.raises(PayloadTooLargeError) as caught:
                await alice.publish("a", bytes(2000), to="bob")
            assert caught.value.limit == 2048
            await alice.publish("a", bytes(1700), to="bob")
            await alice.flush()


@pytest.mark.parametrize(
    "arguments",
    [
        {"servers": []},
        {"servers": "http://x"},
        {"creds": "/nonexistent", "user": "x"},
        {"timeout": 0},
        {"inbox_prefix": "a.*"},
        {"identity": "UX"},
    ],
)
async def test_settings_that_cannot_be_used(arguments: dict[str, Any]) -> None:
    servers = arguments.pop("servers", "nats://127.0.0.1:1")
    with pytest.raises(XKeyMsgError) as caught:
        async with xkeymsg.connect(servers, key=ALICE, trust=PEERS, **arguments):
            pass
    assert caught.value.code in ("configuration", "key_format", "connection")


async def test_options_as_a_value_and_paths_as_text(server: NATSServer, tmp_path: Path) -> None:
    options = ConnectOptions(servers=(server.url,))
    async with xkeymsg.connect(options, key=ALICE, trust=PEERS, name="x") as alice:
        await alice.flush()
    with pytest.raises(XKeyMsgError):
        async with xkeymsg.connect(
            [server.url], key=ALICE, trust=PEERS, creds=str(tmp_path / "no.creds")
        ):
            pass
    with pytest.raises(TypeError):
        xkeymsg.connect(server.url, key=ALICE, trust=PEERS, colour="red")  # type: ignore[call-arg]


async def test_nobody_is_there() -> None:
    with pytest.raises(ConnectionFailedError):
        async with xkeymsg.connect("nats://127.0.0.1:1", key=ALICE, trust=PEERS, timeout=0.1):
            pass


async def test_an_error_in_the_block_comes_out_as_it_is(server: NATSServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with xkeymsg.connect(server.url, key=ALICE, trust=PEERS):
            raise ZeroDivisionError


async def test_a_client_that_is_cancelled_anywhere_leaves_nothing(server: NATSServer) -> None:
    async def live() -> None:
        async with (
            xkeymsg.connect(server.url, key=ALICE, trust=PEERS) as alice,
            alice.subscribe("a") as messages,
            alice.serve("svc", _echo),
        ):
            await alice.publish("a", b"", to="bob")
            await alice.flush()
            async for _ in messages:
                pass

    for wait in (0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05):
        task = asyncio.create_task(live())
        await asyncio.sleep(wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_is_cancelled_while_there_is_no_server_was_not_sent(server: NATSServer) -> None:
    async with (
        xkeymsg.connect(server.url, key=ALICE, trust=PEERS) as alice,
        xkeymsg.connect(server.url, key=BOB, trust=PEERS) as bob,
        bob.subscribe("a") as messages,
    ):
        await bob.flush()
        asked = asyncio.create_task(alice.request("a", b"?", to="bob", timeout=DEADLINE))
        request = await anext(messages)
        await alice.flush()
        server.kill()
        await until(lambda: bob.state == alice.state == "reconnecting")
        for call in (
            alice.publish("a", b"never", to="bob"),
            alice.request("a", b"never", to="bob"),
            bob.respond(request, b"never"),
        ):
            task = asyncio.create_task(call)
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        server.restart()
        await until(lambda: bob.state == alice.state == "connected")
        await bob.flush()
        await alice.flush()
        await bob.respond(request, b"!")  # the one that was cancelled does not count
        assert (await asked).data == b"!"
        await alice.publish("a", b"next", to="bob")
        assert (await anext(messages)).data == b"next"


async def test_draining_lets_what_came_be_taken(server: NATSServer) -> None:
    async with (
        xkeymsg.connect(server.url, key=ALICE, trust=PEERS) as alice,
        xkeymsg.connect(server.url, key=BOB, trust=PEERS) as bob,
        bob.subscribe("a") as messages,
    ):
        await bob.flush()
        for number in range(20):
            await alice.publish("a", b"%d" % number, to="bob")
        await alice.flush()
        await bob.flush()

        async def take() -> list[bytes]:
            return [message.data async for message in messages]

        taker = asyncio.create_task(take())
        await bob.drain()
        assert (len(await taker), bob.state) == (20, "closed")
        with pytest.raises(ConnectionFailedError):
            await bob.publish("a", b"", to="alice")


async def test_streams_are_sealed_and_opened_by_the_same_trust(
    jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = asyncio.Event()
    got: list[Message] = []

    async def handle(message: Message) -> None:
        got.append(message)
        done.set()

    async with (
        xkeymsg.connect(jetstream_server.url, key=ALICE, trust=PEERS) as alice,
        xkeymsg.connect(jetstream_server.url, key=BOB, trust=PEERS) as bob,
    ):
        await alice.js.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["s.>"]})
        with pytest.raises(PayloadTooLargeError):
            await alice.js.publish("s.a", bytes(1 << 20), to="bob")
        with pytest.raises(XKeyMsgError):
            await alice.js.publish("_XKM.a", b"", to="bob")
        sealed: list[object] = []
        with monkeypatch.context() as patch:
            patch.setattr(Session, "plan", lambda *_, **__: sealed.append(1))
            with pytest.raises(PayloadTooLargeError):  # before it is sealed
                await alice.js.publish("s.a", b"x", to="bob", clear_headers={"a": "x" * (1 << 20)})
            with pytest.raises(MalformedError):
                await alice.js.publish("s.a", b"x", to="bob", clear_headers={"a": "x\ny"})
        assert not sealed
        assert (await alice.js.publish("s.a", b"x", to="bob", headers={"a": "b"})).sequence == 1
        async with bob.js.consume("S", "d", handle, subjects="s.*", create=DurableOptions()):
            async with asyncio.timeout(DEADLINE):
                await done.wait()
        assert (got[0].data, got[0].wire_subject, got[0].sender) == (b"x", "s.a", ALICE.public)
        assert alice.js is alice.js


async def test_who_publishes_into_a_stream_for_each_message_is_not_held_up_by_a_flood(
    jetstream_server: NATSServer,
) -> None:
    """Its acknowledgements come over the connection that waits for it to take the next message."""
    async with (
        xkeymsg.connect(jetstream_server.url, key=ALICE, trust=PEERS) as alice,
        xkeymsg.connect(jetstream_server.url, key=BOB, trust=PEERS) as bob,
        bob.subscribe("a", max_messages=4) as messages,
    ):
        await bob.js.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})

        async def flood() -> None:
            while True:
                for _ in range(20):
                    await alice.publish("a", b"x", to="bob")
                await asyncio.sleep(0.002)

        flooding = asyncio.create_task(flood())
        async with asyncio.timeout(DEADLINE):
            for _ in range(10):
                message = await anext(messages)
                await bob.js.publish("s", message.data, to="alice")
        flooding.cancel()
        await asyncio.wait([flooding])
        assert bob.stats.dropped


@pytest.mark.usefixtures("only_young_garbage")
async def test_an_answered_request_is_not_kept(server: NATSServer) -> None:
    def kept() -> int:
        gc.collect()
        return sum(isinstance(each, Message) for each in gc.get_objects())

    before = kept()
    async with (
        xkeymsg.connect(server.url, key=ALICE, trust=PEERS) as alice,
        xkeymsg.connect(server.url, key=BOB, trust=PEERS) as bob,
        bob.serve("svc", _echo),
    ):
        await bob.flush()
        for _ in range(20):
            await alice.request("svc", b"x", to="bob")
        assert kept() - before <= 1  # the last one, until the next comes


async def test_in_memory_there_are_no_streams() -> None:
    async with MemoryNATS().connect(key=ALICE, trust=PEERS) as alice:
        with pytest.raises(ConfigurationError):
            _ = alice.js
