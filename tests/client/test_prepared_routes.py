"""A prepared route seals as `publish` does, and follows keys, trust and limits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.client.inside import connection_of
from tests.envelope.cast import ALICE_USER
from xkeymsg import (
    ExpiredError,
    LimitExceededError,
    Limits,
    MalformedError,
    PayloadTooLargeError,
    PeersFile,
    UnknownKeyError,
    XKeyPair,
)
from xkeymsg.testing import MemoryNATS

from .conftest import ALICE, BOB, CAROL, EVE, PEERS, Told, Town

NEW = XKeyPair.generate()
ALL: dict[str, Any] = {
    "headers": [("A", "1"), ("A", "2")],
    "content_type": "text/plain",
    "expires": 3600,
}


async def test_its_messages_are_those_of_publish(town: Town) -> None:
    async with (
        town.connect() as alice,
        town.connect(BOB) as bob,
        town.connect(CAROL) as carol,
        bob.subscribe("a.b") as messages,
        carol.subscribe("a.b") as others,
    ):
        await bob.flush()
        await carol.flush()
        route = alice.route("a.b", ["bob", CAROL.public], clear_headers={"Public": "x"}, **ALL)
        for data in (b"one", bytearray(b"two"), memoryview(b"three")):
            await route.publish(data)
            ours, theirs = await anext(messages), await anext(others)
            assert ours.data == theirs.data == bytes(data)
            assert ours.headers.pairs == (("A", "1"), ("A", "2"))
            assert (ours.content_type, ours.subject, ours.sender) == (
                "text/plain",
                "a.b",
                ALICE.public,
            )
            assert ours.expires is not None
            assert round((ours.expires - ours.created).total_seconds()) == 3600
        assert alice.stats.published == 3


@pytest.mark.parametrize("padding", [False, True])
@pytest.mark.parametrize("more", [{}, ALL, {"headers": {"A": "ä" * 100}}])
async def test_its_envelopes_have_the_same_length(padding: bool, more: dict[str, Any]) -> None:
    memory = MemoryNATS()
    async with memory.connect(key=ALICE, trust=PEERS, padding=padding) as alice:
        seen = await connection_of(alice).subscribe("a")
        for size in (0, 1, 100, 200_000):
            await alice.publish("a", bytes(size), to="bob", **more)
            await alice.route("a", "bob", **more).publish(bytes(size))
            one, other = await anext(seen), await anext(seen)
            assert len(one.data) == len(other.data)
            assert one.headers == other.headers


async def test_it_follows_a_new_key(town: Town, told: Told) -> None:
    trust = {ALICE.public, NEW.public}
    async with (
        town.connect(ALICE) as alice,
        town.connect(BOB, trust, on_error=told) as bob,
        town.link() as wire,
        bob.subscribe("a") as messages,
    ):
        await bob.flush()
        seen = await wire.subscribe("a")
        await wire.confirm()
        route = alice.route("a", "bob", clear_headers={"Public": "x"})
        await route.publish(b"before")
        alice.rekey(NEW)
        await route.publish(b"after")
        assert [(await anext(messages)).sender for _ in range(2)] == [ALICE.public, NEW.public]
        for key in (ALICE, NEW):
            headers = (await anext(seen)).headers
            assert str(key.public).encode() in headers
            assert b"Public: x" in headers
    assert told == []


async def test_it_follows_trust(tmp_path: Any) -> None:
    memory, path = MemoryNATS(), tmp_path / "peers.toml"

    def write(names: str, key: XKeyPair, always: str = "") -> None:
        path.write_text(
            f'always_to = [{always}]\n[peers.eve]\nxkey = "{EVE.public}"\n'
            f'[peers.{names}]\nxkey = "{key.public}"\n'
        )

    write("bob", BOB)
    trust = PeersFile(path)
    async with (
        memory.connect(key=ALICE, trust=trust) as alice,
        memory.connect(key=BOB, trust={ALICE.public}) as bob,
        memory.connect(key=CAROL, trust={ALICE.public}) as carol,
        memory.connect(key=EVE, trust={ALICE.public}) as eve,
        bob.subscribe("a") as bobs,
        carol.subscribe("a") as carols,
        eve.subscribe("a") as eves,
    ):
        route = alice.route("a", "bob")
        await route.publish(b"1")
        assert (await anext(bobs)).data == b"1"

        write("bob", CAROL, '"eve"')  # Bob has another key, and Eve gets every message
        await asyncio.to_thread(trust.reload)
        await route.publish(b"2")
        assert (await anext(carols)).data == (await anext(eves)).data == b"2"

        write("nobody", CAROL)
        await asyncio.to_thread(trust.reload)
        with pytest.raises(UnknownKeyError):
            await route.publish(b"3")
    assert alice.stats.published == 2


async def test_the_limit_of_the_server_applies(town: Town) -> None:
    async with town.connect() as alice:
        route, limit = alice.route("a", "bob"), connection_of(alice).max_payload
        with pytest.raises(PayloadTooLargeError):
            await route.publish(bytes(limit))
        await route.publish(bytes(limit - 1000))
        assert alice.stats.published == 1


async def test_limits_apply() -> None:
    memory = MemoryNATS()
    limits = Limits(headers=1, envelope=2000)
    async with memory.connect(key=ALICE, trust=PEERS, limits=limits) as alice:
        with pytest.raises(LimitExceededError):
            alice.route("a", "bob", headers=[("A", "1"), ("B", "2")])
        with pytest.raises(LimitExceededError):
            await alice.route("a", "bob").publish(bytes(2000))


async def test_it_signs(town: Town) -> None:
    async with (
        town.connect(signer=ALICE_USER) as alice,
        town.connect(BOB, {ALICE.public: ALICE_USER.public}) as bob,
        bob.subscribe("a", require_signature=True) as messages,
    ):
        await bob.flush()
        await alice.route("a", "bob").publish(b"x")
        assert (await anext(messages)).signer == ALICE_USER.public


async def test_what_it_refuses_when_it_is_made(town: Town) -> None:
    wrong: list[tuple[type[Exception], tuple[Any, ...], dict[str, Any]]] = [
        (UnknownKeyError, ("a", "nobody"), {}),
        (UnknownKeyError, ("a", ["bob", "perm:none"]), {}),
        (MalformedError, ("a b", "bob"), {}),
        (MalformedError, ("a.*", "bob"), {}),
        (MalformedError, ("_XKM.REPLY.x", "bob"), {}),
        (MalformedError, ("a", []), {}),
        (MalformedError, ("a", "bob"), {"headers": {"xkm-x": "1"}}),
        (MalformedError, ("a", "bob"), {"clear_headers": {"sender": "1"}}),
        (MalformedError, ("a", "bob"), {"content_type": "\ud800"}),
        (ExpiredError, ("a", "bob"), {"expires": 0}),
        (TypeError, ("a", 7), {}),
        (TypeError, (7, "bob"), {}),
        (TypeError, ("a", "bob"), {"expires": "1h"}),
        (TypeError, ("a", "bob"), {"headers": {"A": 1}}),
        (TypeError, ("a", "bob"), {"clear_headers": {"A": 1}}),
        (TypeError, ("a", "bob"), {"clear_headers": [("A", "1")]}),
    ]
    async with town.connect() as alice:
        for error, arguments, more in wrong:
            with pytest.raises(error):
                alice.route(*arguments, **more)
        route = alice.route("a", "bob")
        with pytest.raises(TypeError, match="data must be bytes"):
            await route.publish("text")  # type: ignore[arg-type]
        assert alice.stats.published == 0
        assert repr(route) == "<PreparedRoute to 'a'>"
