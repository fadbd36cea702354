"""A client that changes its key while it runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import xkeymsg
from tests.running import DEADLINE, until
from xkeymsg import Keyring, Message, Peers, Sealer, UserKey, XKeyPair, nkey
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block

from .conftest import ALICE, BOB, Told, Town

NEW = XKeyPair.generate()
BOTH = Peers.parse(
    f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = [">"]\n'
    f'[peers.bob]\nxkeys = ["{NEW.public}", "{BOB.public}"]\nsubjects = [">"]'
)


async def echo(message: Message) -> bytes:
    return message.data


async def test_everything_goes_on_with_another_key(town: Town, told: Told) -> None:
    sealer = Sealer(ALICE)
    replayed = sealer.seal(b"once", to=[BOB.public], subject="a")
    async with (
        town.connect(trust=BOTH) as alice,
        town.connect(BOB, on_error=told) as bob,
        town.link() as wire,
        bob.subscribe("a") as messages,
        alice.subscribe("b") as back,
        bob.serve("svc", echo),
    ):
        seen = await wire.subscribe("b")
        await wire.confirm()
        await bob.flush()
        await alice.flush()
        await wire.publish("a", replayed)
        assert (await anext(messages)).data == b"once"

        bob.rekey(Keyring(NEW, retired=[BOB]))
        assert bob.public == NEW.public

        await wire.publish("a", replayed)
        for key in (BOB, NEW):  # what was under way, and what comes
            await wire.publish("a", sealer.seal(b"x", to=[key.public], subject="a"))
            assert (await anext(messages)).data == b"x"
        assert told.codes == ["replay"]

        await bob.publish("b", b"y", to="alice")
        assert (await anext(back)).sender == NEW.public
        assert (await seen.next(DEADLINE)).headers == encode_block({"sender": str(NEW.public)})

        reply = await alice.request("svc", b"z", to="bob", timeout=DEADLINE)
        assert (reply.data, reply.sender) == (b"z", NEW.public)

        bob.rekey(NEW)
        await wire.publish("a", sealer.seal(b"", to=[BOB.public], subject="a"))
        await wire.publish("a", sealer.seal(b"last", to=[NEW.public], subject="a"))
        assert (await anext(messages)).data == b"last"
        assert told.codes == ["replay", "not_a_recipient"]


async def test_a_request_under_way_gets_its_answer(town: Town) -> None:
    go = asyncio.Event()

    async def slow(message: Message) -> bytes:
        await go.wait()
        return message.data

    async with (
        town.connect(trust=BOTH) as alice,
        town.connect(BOB) as bob,
        bob.serve("svc", slow) as service,
    ):
        await bob.flush()
        asked = asyncio.create_task(alice.request("svc", b"x", to="bob", timeout=DEADLINE))
        await until(lambda: service.running)
        bob.rekey(Keyring(NEW, retired=[BOB]))
        alice.rekey(ALICE)
        go.set()
        assert (await asked).sender == NEW.public


async def test_streams_go_on_with_another_key(jetstream_server: NATSServer) -> None:
    handled: list[tuple[bytes, Any]] = []

    async def handle(message: Message) -> None:
        handled.append((message.data, message.sender))

    url = jetstream_server.url
    async with (
        xkeymsg.connect(url, key=ALICE, trust=BOTH) as alice,
        xkeymsg.connect(url, key=BOB, trust=BOTH) as bob,
    ):
        await alice.js.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["s"]})
        async with bob.js.consume("S", "d", handle, create=DurableOptions()):
            await alice.js.publish("s", b"1", to=BOB.public)
            await until(lambda: len(handled) == 1)
            bob.rekey(Keyring(NEW, retired=[BOB]))
            await alice.js.publish("s", b"2", to=BOB.public)
            await alice.js.publish("s", b"3", to=NEW.public)
            await bob.js.publish("s", b"4", to=NEW.public)
            await until(lambda: len(handled) == 4)
    assert [data for data, _ in handled] == [b"1", b"2", b"3", b"4"]
    assert [sender for _, sender in handled] == [ALICE.public] * 3 + [NEW.public]


async def test_a_keyring_brings_its_user_along(town: Town) -> None:
    users = [UserKey(nkey.encode_seed(nkey.Prefix.USER, bytes([n]) * 32)).public for n in (1, 2)]
    trust = Peers.parse(
        f'[peers.new]\nxkey = "{NEW.public}"\nuser = "{users[1]}"\nsubjects = ["a"]'
    )
    async with (
        town.connect(trust=trust) as alice,
        town.connect(Keyring(BOB, user=users[0])) as bob,
        alice.subscribe("a") as messages,
    ):
        await alice.flush()
        bob.rekey(Keyring(NEW, user=users[1]))
        await bob.publish("a", b"x", to=ALICE.public)
        assert (await anext(messages)).sender == NEW.public


@pytest.mark.parametrize("wrong", [None, "SX…", BOB.public])
async def test_what_is_no_key_changes_nothing(wrong: Any, town: Town) -> None:
    async with town.connect() as alice, town.connect(BOB) as bob, alice.subscribe("a") as messages:
        await alice.flush()
        with pytest.raises(TypeError):
            bob.rekey(wrong)
        await bob.publish("a", b"x", to="alice")
        assert (await anext(messages)).sender == bob.public == BOB.public
