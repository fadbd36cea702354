"""What a subscription takes; what it refuses, and that nothing ends it."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import xkeymsg
from tests.client.inside import raw_of
from tests.running import DEADLINE, until
from tests.transport.raw import hpub, publisher
from xkeymsg import (
    ANYONE,
    Admission,
    AtRest,
    ConfigurationError,
    DeliveryError,
    MalformedError,
    Peers,
    Policy,
    Sealer,
    Subscription,
    UserKey,
    XKey,
    XKeyPair,
    ambient,
    nkey,
    xkv1,
)
from xkeymsg.client import scope as opening
from xkeymsg.client.stats import Where
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block

from .conftest import ALICE, BOB, CAROL, EVE, PEERS, Told, Town

TO_BOB = [BOB.public]


def sealed(subject: str = "a", data: bytes = b"x", by: XKeyPair = ALICE) -> bytes:
    return Sealer(by).seal(data, to=TO_BOB, subject=subject)


async def test_messages_come_in_order_large_ones_too(town: Town) -> None:
    sizes = [1, opening.LARGE, 2, 3, opening.LARGE * 2, opening.LARGE, 4]
    async with town.connect() as alice, town.connect(BOB) as bob:
        async with bob.subscribe("a.*") as messages:
            await bob.flush()
            for number, size in enumerate(sizes):
                await alice.publish(f"a.{number}", bytes(size), to="bob")
            got = [await anext(messages) for _ in sizes]
        assert [(each.subject, len(each.data)) for each in got] == [
            (f"a.{number}", size) for number, size in enumerate(sizes)
        ]
        first = got[0]
        assert (first.sender, first.admitted, first.wire_subject) == (ALICE.public, True, "a.0")
        assert bob.stats.opened == len(sizes)


async def test_nothing_that_is_published_ends_the_loop(town: Town, told: Told) -> None:
    """Poison: whatever bytes, headers and subjects there are, the next honest one comes."""
    truncated = sealed()[:-1]
    flood: list[tuple[bytes, bytes]] = [
        (b"", b""),
        (b"xkm1", b""),
        (b"xkm1\x96" + b"\xff" * 40, b""),
        (truncated, b""),
        (sealed() + b"x", b""),
        (b"xkv1" + bytes(60), encode_block({"sender": str(ALICE.public)})),
        (b"\0" * 4096, b"NATS/1.0 503\r\n\r\n"),
        (sealed(by=EVE), encode_block({"sender": str(ALICE.public)})),
        (Sealer(ALICE).seal(b"", to=[CAROL.public], subject="a"), b""),
        (sealed("b"), b""),
        (sealed("_XKM.REPLY.x"), b""),
    ]
    async with town.connect() as alice, town.connect(BOB, on_error=told) as bob, town.link() as eve:
        async with bob.subscribe("a") as messages:
            await bob.flush()
            for data, headers in flood:
                await eve.publish("a", data, headers=headers)
            await eve.confirm()
            await alice.publish("a", b"honest", to="bob")
            assert (await anext(messages)).data == b"honest"
        expected = Counter(
            ["malformed"] * 6
            + ["sender_not_admitted"] * 2
            + ["unsupported_version"]  # xkv1, which is well known, and not taken here
            + ["not_a_recipient", "subject_mismatch"]
        )
        assert bob.stats.refused == Counter(told.codes) == expected
        assert {where for _, where in told} == {Where("message", "a")}


async def test_a_flood_of_strangers_costs_no_place(town: Town) -> None:
    stranger = Sealer(EVE)
    async with town.connect() as alice, town.connect(BOB) as bob, town.link() as eve:
        async with bob.subscribe("a") as messages:
            await bob.flush()
            for _ in range(2000):
                await eve.publish("a", stranger.seal(b"", to=TO_BOB, subject="a"))
            await eve.confirm()
            await alice.publish("a", b"honest", to="bob")
            assert (await anext(messages)).data == b"honest"
        assert bob.stats.refused == {"sender_not_admitted": 2000}
        assert bob.stats.opened == 1


async def test_a_header_names_nobody(town: Town) -> None:
    header = encode_block({"sender": str(ALICE.public)})
    async with (
        town.connect(BOB, ANYONE) as bob,
        town.link() as eve,
        bob.subscribe("a") as messages,
    ):
        await bob.flush()
        await eve.publish("a", sealed(by=EVE), headers=header)
        message = await anext(messages)
    assert (message.sender, message.admitted) == (EVE.public, False)


async def test_dispatch_is_by_the_sealed_subject(town: Town, told: Told) -> None:
    """A broker delivers `orders.new` as `orders.cancel`."""
    async with town.connect(BOB, on_error=told) as bob, town.link() as broker:
        async with (
            bob.subscribe("orders.*") as loose,
            bob.subscribe("orders.*", match_wire=True) as strict,
            bob.subscribe("orders.cancel") as exact,
            bob.subscribe("mapped", subjects=["orders.*"]) as mapped,
        ):
            await bob.flush()
            envelope = sealed("orders.new")
            await broker.publish("orders.cancel", envelope)
            await broker.publish("mapped", envelope)
            message = await anext(loose)
            assert (message.subject, message.wire_subject) == ("orders.new", "orders.cancel")
            assert (await anext(mapped)).subject == "orders.new"
            await broker.publish("orders.cancel", sealed("orders.cancel", b"next"))
            for refusing in (strict, exact):
                assert (await anext(refusing)).data == b"next"
        assert told.codes == ["subject_mismatch"] * 2


@pytest.mark.parametrize("pattern", [">", "*.>", "*.REPLY.*", "_XKM.>"])
async def test_no_pattern_takes_what_is_sealed_as_an_answer(pattern: str, town: Town) -> None:
    async with town.connect(BOB, {ALICE.public}) as bob, town.link() as broker:
        if pattern.startswith("_XKM"):
            with pytest.raises(ConfigurationError):
                bob.subscribe(pattern)
            return
        async with bob.subscribe(pattern) as messages:
            await bob.flush()
            await broker.publish("x.REPLY.y", sealed("_XKM.REPLY.y"))
            await broker.publish("_XKM.REPLY.y", sealed("_XKM.REPLY.y"))
            await broker.publish("x.REPLY.y", sealed("x.REPLY.y"))
            assert (await anext(messages)).subject == "x.REPLY.y"
        assert bob.stats.refused == {"subject_mismatch": 2}


@pytest.mark.parametrize("subjects", ["_XKM.REPLY.abc", ["a", "_XKM"], []])
async def test_what_answers_are_sealed_for_cannot_be_subscribed_to(
    subjects: Any, town: Town
) -> None:
    async with town.connect(BOB) as bob:
        with pytest.raises(ConfigurationError):
            bob.subscribe("a", subjects=subjects)


async def test_a_copy_is_refused_and_each_subscription_gets_its_own(town: Town) -> None:
    async with town.connect(BOB) as bob, town.link() as broker:
        async with bob.subscribe("a.>") as one, bob.subscribe("a.b") as other:
            await bob.flush()
            envelope = sealed("a.b")
            for _ in range(3):
                await broker.publish("a.b", envelope)
            await broker.publish("a.b", sealed("a.b", b"end"))
            for messages in (one, other):
                assert [(await anext(messages)).data for _ in range(2)] == [b"x", b"end"]
        assert bob.stats.refused == {"replay": 4}


async def test_what_was_sealed_before_it_began_is_refused(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart: the memory of what was opened is gone, so what could be a copy is refused."""
    envelope = sealed()
    async with town.connect(BOB) as bob, town.link() as broker:
        later = ambient.now_ns() + 31 * 10**9
        monkeypatch.setattr("xkeymsg.opener.now_ns", lambda: later)
        async with bob.subscribe("a") as live, bob.subscribe("a", replay=AtRest()) as file:
            await bob.flush()
            await broker.publish("a", envelope)
            assert (await anext(file)).data == b"x"
            taker = asyncio.create_task(anext(live))
            await until(lambda: bob.stats.refused)
            assert not taker.done()
            taker.cancel()
        assert bob.stats.refused == {"stale": 1}


async def test_a_queue_group_shares(town: Town) -> None:
    async with (
        town.connect() as alice,
        town.connect(BOB) as bob,
        bob.subscribe("a", queue="q") as one,
        bob.subscribe("a", queue="q") as other,
        bob.subscribe("a") as everything,
    ):
        await bob.flush()
        for _ in range(50):
            await alice.publish("a", b"", to="bob")
        await alice.flush()
        for _ in range(50):
            await anext(everything)
        assert raw_of(one).pending + raw_of(other).pending == 50
        assert raw_of(one).pending > 0 < raw_of(other).pending


@pytest.mark.parametrize("fault", [ValueError, asyncio.CancelledError, GeneratorExit])
async def test_what_on_error_raises_ends_nothing(fault: type[BaseException], town: Town) -> None:
    calls = 0

    def on_error(_error: Exception, _where: Where) -> None:
        nonlocal calls
        calls += 1
        raise fault("of the program")

    asyncio.get_running_loop().complaints_expected = 2  # type: ignore[attr-defined]
    async with (
        town.connect() as alice,
        town.connect(BOB, on_error=on_error) as bob,
        bob.subscribe("a") as messages,
        town.link() as eve,
    ):
        await bob.flush()
        await eve.publish("a", b"poison")
        await eve.publish("a", bytes(opening.LARGE))
        await eve.confirm()
        await alice.publish("a", b"honest", to="bob")
        assert (await anext(messages)).data == b"honest"
    assert calls == 2


async def test_a_subscription_has_its_own_on_error(town: Town, told: Told) -> None:
    own = Told()
    async with (
        town.connect(BOB, on_error=told) as bob,
        town.link() as eve,
        bob.subscribe("a", on_error=own) as messages,
    ):
        await bob.flush()
        await eve.publish("a", b"poison")
        await eve.publish("a", sealed())
        await anext(messages)
    assert (own.codes, told.codes) == (["malformed"], [])


class Faulty:
    """Trust that fails over everything."""

    revision = None

    def admit(self, *_: Any) -> Any:
        raise RecursionError("a secret")

    admits_xkv1 = resolve = admit

    def always_to(self) -> tuple[()]:
        return ()


async def test_trust_that_fails_refuses(town: Town, told: Told) -> None:
    trust = Faulty()
    async with (
        town.connect(BOB, trust, on_error=told) as bob,
        town.link() as eve,
        bob.subscribe("a", formats=("xkm1", "xkv1")) as messages,
    ):
        await bob.flush()
        await eve.publish("a", sealed())
        header = encode_block({"sender": str(ALICE.public)})
        await eve.publish("a", xkv1.seal(b"x", key=ALICE, to=BOB.public), headers=header)
        taker = asyncio.create_task(_all(messages))
        await until(lambda: len(told) == 2)
        await messages.drain()
        assert await taker == []
    assert told.codes == ["RecursionError"] * 2


@pytest.mark.parametrize("kind", [dict, set])
async def test_trust_that_is_a_collection_besides_decides_all_the_same(
    kind: type[Any], town: Town, told: Told
) -> None:
    class Restrictive(kind):  # type: ignore[misc]
        def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
            return Admission() if sender in self and subject == "a.mine" else None

    trust = Restrictive({ALICE.public: None} if kind is dict else {ALICE.public})
    async with (
        town.connect(BOB, trust, on_error=told) as bob,
        town.link() as link,
        bob.subscribe("a.*") as messages,
    ):
        await bob.flush()
        for subject in ("a.other", "a.mine"):
            await link.publish(subject, sealed(subject))
        assert (await anext(messages)).subject == "a.mine"
        with pytest.raises(DeliveryError):
            await bob.request("nobody", b"", to=ALICE.public)
    assert told.codes == ["sender_not_admitted"]


async def test_a_slow_consumer_loses_messages_and_is_told(town: Town, told: Told) -> None:
    async with (
        town.connect() as alice,
        town.connect(BOB, on_error=told) as bob,
        bob.subscribe("a", max_messages=10) as messages,
    ):
        await bob.flush()
        for number in range(100):
            await alice.publish("a", b"%d" % number, to="bob")
        await alice.flush()
        await until(lambda: bob.stats.dropped == 90)
        got = [int((await anext(messages)).data) for _ in range(10)]
        assert got == list(range(10))
        assert messages.dropped == 90
        await alice.publish("a", b"again", to="bob")
        assert (await anext(messages)).data == b"again"
    assert ("delivery", Where("connection", "a")) in told


async def test_documents_are_views(town: Town, told: Told) -> None:
    policy = Policy([("/name", ["clinic"]), ("/**", ["billing"])])
    readers = {"clinic": BOB.public, "billing": CAROL.public}
    big = {"name": "Ann", "sum": "x" * opening.LARGE_DOCUMENT}
    async with (
        town.connect() as alice,
        town.connect(BOB, on_error=told) as bob,
        bob.subscribe("a", documents=True) as views,
    ):
        await bob.flush()
        await alice.publish("a", b"a payload", to="bob")
        await alice.publish_document("a", big, policy=policy, readers=readers)
        view = await anext(views)
        assert (view.document, view.withheld) == ({"name": "Ann"}, 1)
        assert view.wire_subject == "a"
    assert told.codes == ["content_type"]


async def test_a_set_and_a_mapping_of_keys_are_trust(town: Town) -> None:
    user = UserKey(_user_seed())
    for trust, identity in (
        ({ALICE.public}, None),
        ({ALICE.public: user.public}, user.public),
        (iter([ALICE.public]), None),
    ):
        async with (
            town.connect(trust=ANYONE, identity=identity) as alice,
            town.connect(BOB, trust) as bob,
            bob.subscribe("a") as messages,
        ):
            await bob.flush()
            await alice.publish("a", b"x", to=BOB.public)
            assert (await anext(messages)).admitted


def _user_seed() -> str:
    return nkey.encode_seed(nkey.Prefix.USER, bytes(range(32)))


async def test_signatures_can_be_demanded(town: Town, told: Told) -> None:
    user = UserKey(_user_seed())
    trust = {ALICE.public: user.public}
    async with (
        town.connect(trust=ANYONE, identity=user.public) as unsigned,
        town.connect(trust=ANYONE, signer=user) as signed,
        town.connect(BOB, trust, on_error=told) as bob,
        bob.subscribe("a", require_signature=True) as messages,
    ):
        await bob.flush()
        await unsigned.publish("a", b"x", to=BOB.public)
        await unsigned.flush()
        await signed.publish("a", b"y", to=BOB.public)
        assert (await anext(messages)).signer == user.public
    assert told.codes == ["signature_missing"]


# --- xkv1 -----------------------------------------------------------------------------------------

HINT = encode_block({"sender": str(ALICE.public)})


async def test_xkv1_is_taken_only_where_it_is_named(town: Town) -> None:
    box = xkv1.seal(b"box", key=ALICE, to=BOB.public)
    async with town.connect(BOB) as bob, town.link() as link:
        async with (
            bob.subscribe("a") as modern,
            bob.subscribe("a", formats=["xkm1", "xkv1"]) as both,
            bob.subscribe("a", formats=["xkv1"]) as old,
        ):
            await bob.flush()
            await link.publish("a", box, headers=HINT)
            await link.publish("a", sealed())
            await link.publish("a", xkv1.seal(b"next", key=ALICE, to=BOB.public), headers=HINT)
            first, second = await anext(both), await anext(both)
            assert (first.data, second.data) == (b"box", b"x")
            assert (first.sender, first.admitted, first.signer) == (ALICE.public, True, None)
            assert (first.subject, first.wire_subject, first.expires) == ("a", "a", None)
            assert len(first.message_id) == 16
            assert (await anext(modern)).data == b"x"
            assert (await anext(old)).data == b"box"
            assert (await anext(old)).data == b"next"
        assert bob.stats.refused == {"unsupported_version": 2}


async def test_what_a_box_is_refused_for(town: Town, told: Told) -> None:
    box, stranger = (
        xkv1.seal(b"box", key=ALICE, to=BOB.public),
        xkv1.seal(b"box", key=EVE, to=BOB.public),
    )
    async with (
        town.connect(BOB, on_error=told) as bob,
        town.link() as eve,
        bob.subscribe("a", subjects="a", formats=["xkv1"]) as messages,
    ):
        await bob.flush()
        await eve.publish("a", box)
        await eve.publish("a", box, headers=encode_block({"sender": "X"}))
        await eve.publish("a", stranger, headers=HINT)  # in Alice's name
        await eve.publish("a", stranger, headers=encode_block({"sender": str(EVE.public)}))
        await eve.publish("a", box[:40], headers=HINT)
        await eve.publish("a", box, headers=HINT)
        assert (await anext(messages)).data == b"box"
    assert told.codes == [
        "malformed",
        "key_format",
        "authentication",
        "sender_not_admitted",
        "malformed",
    ]


async def test_a_key_of_a_user_sends_no_xkv1(town: Town, told: Told) -> None:
    trust = {ALICE.public: UserKey(_user_seed()).public}
    async with (
        town.connect(BOB, trust, on_error=told) as bob,
        town.link() as link,
        bob.subscribe("a", formats=["xkv1", "xkm1"]) as messages,
    ):
        await bob.flush()
        await link.publish("a", xkv1.seal(b"box", key=ALICE, to=BOB.public), headers=HINT)
        envelope = Sealer(ALICE, identity=trust[ALICE.public]).seal(b"x", to=TO_BOB, subject="a")
        await link.publish("a", envelope)
        assert (await anext(messages)).data == b"x"
    assert told.codes == ["sender_not_admitted"]


async def test_a_box_is_taken_only_on_the_subjects_of_its_peer(town: Town, told: Told) -> None:
    trust = Peers.parse(f'[peers.alice]\nxkey = "{ALICE.public}"\nsubjects = ["a.mine"]')
    async with (
        town.connect(BOB, trust, on_error=told) as bob,
        town.link() as link,
        bob.subscribe("a.>", formats=["xkv1"]) as messages,
    ):
        await bob.flush()
        box = xkv1.seal(b"box", key=ALICE, to=BOB.public)
        for subject in ("a.other", "a.mine.too", "a.mine"):
            await link.publish(subject, box, headers=HINT)
        assert (await anext(messages)).subject == "a.mine"
    assert told.codes == ["sender_not_admitted"] * 2


async def test_a_box_on_a_subject_that_is_no_text_is_refused(
    server: NATSServer, told: Told
) -> None:
    """A program that prints, or encodes, `message.subject` would fail over it."""
    async with (
        xkeymsg.connect(server.url, key=BOB, trust=PEERS, on_error=told) as bob,
        bob.subscribe("a.*", formats=["xkv1"]) as messages,
        publisher(server.url) as hostile,
    ):
        await bob.flush()
        box = xkv1.seal(b"box", key=ALICE, to=BOB.public)
        for subject in (b"a.\xff", b"a." + b"x" * 300, b"a.b"):
            await hostile.send(hpub(subject, HINT, box))
        assert (await anext(messages)).subject == "a.b"
    assert told.codes == ["malformed", "limit_exceeded"]


# --- arguments and life ---------------------------------------------------------------------------


async def test_values_that_make_no_sense(town: Town) -> None:
    wrong: list[dict[str, Any]] = [
        {"formats": []},
        {"formats": ["xkm2"]},
        {"formats": ["xkv1"], "documents": True},
        {"formats": ["xkv1"], "match_wire": True},
        {"subjects": "a b"},
        {"max_messages": 0},
        {"max_bytes": -1},
    ]
    async with town.connect(BOB) as bob:
        for arguments in wrong:
            with pytest.raises(ConfigurationError):
                bob.subscribe("a", **arguments)
        with pytest.raises(TypeError):
            bob.subscribe("a", subjects=[b"a"])  # type: ignore[list-item]
        subscription = bob.subscribe("a")
        with pytest.raises(ConfigurationError):
            await anext(subscription)
        async with subscription:
            pass
        with pytest.raises(ConfigurationError):
            await subscription.__aenter__()
        with pytest.raises(MalformedError):
            await bob.subscribe("a", queue="b c").__aenter__()


async def test_a_task_that_is_cancelled_has_taken_nothing(town: Town) -> None:
    sizes = (1, opening.LARGE * 4)
    async with (
        town.connect() as alice,
        town.connect(BOB) as bob,
        bob.subscribe("a") as messages,
    ):
        await bob.flush()
        for number in range(20):
            size = sizes[number % 2]
            taker = asyncio.create_task(anext(messages))
            await asyncio.sleep(0)
            if number % 3:
                await alice.publish("a", bytes([number]) * size, to="bob")
                await alice.flush()
            taker.cancel()
            try:
                got = await taker
            except asyncio.CancelledError:
                if not number % 3:
                    await alice.publish("a", bytes([number]) * size, to="bob")
                got = await anext(messages)
            assert got.data == bytes([number]) * size


async def test_several_tasks_share_the_messages(town: Town) -> None:
    taken: list[int] = []

    async def work(messages: Subscription[Any]) -> None:
        async for message in messages:
            taken.append(message.data[0])
            await asyncio.sleep(0)

    async with (
        town.connect() as alice,
        town.connect(BOB) as bob,
        bob.subscribe("a") as messages,
        asyncio.TaskGroup() as group,
    ):
        await bob.flush()
        for _ in range(5):
            group.create_task(work(messages))
        for number in range(60):
            size = opening.LARGE if number % 4 == 0 else 1
            await alice.publish("a", bytes([number]) * size, to="bob")
        await until(lambda: len(taken) == 60)
        await bob.drain()
    assert sorted(taken) == list(range(60))


async def test_the_iteration_ends_with_drain_and_with_the_client(town: Town) -> None:
    async with town.connect() as alice:
        async with town.connect(BOB) as bob:
            drained = bob.subscribe("a")
            left = bob.subscribe("a")
            await drained.__aenter__()
            await left.__aenter__()
            await bob.flush()
            for number in range(5):
                await alice.publish("a", b"%d" % number, to="bob")
            await alice.flush()
            await until(lambda: raw_of(drained).pending == 5)
            await drained.drain()
            assert [message.data async for message in drained] == [b"0", b"1", b"2", b"3", b"4"]
            rest = asyncio.create_task(_all(left))
        assert len(await rest) <= 5


async def _all(messages: Subscription[Any]) -> list[bytes]:
    return [message.data async for message in messages]


async def test_leaving_the_block_in_the_middle_leaves_nothing(town: Town) -> None:
    async with town.connect() as alice, town.connect(BOB) as bob:
        async with bob.subscribe("a") as messages:
            await bob.flush()
            await alice.publish("a", bytes(opening.LARGE * 4), to="bob")
            await alice.flush()
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_all(messages), 0.001)
        with pytest.raises(ZeroDivisionError):
            async with bob.subscribe("a") as messages:
                raise ZeroDivisionError


async def test_trust_that_raises_what_no_future_takes_refuses_one_message(
    town: Town, told: Told
) -> None:
    class Careless:
        def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
            return next(Admission() for known in [ALICE.public] if known == sender)

    async with town.link() as link, town.connect(BOB, Careless(), on_error=told) as bob:
        async with bob.subscribe("a") as messages:
            await bob.flush()
            for key in (EVE, ALICE):
                sealed = Sealer(key).seal(bytes(opening.LARGE), to=TO_BOB, subject="a")
                await link.publish("a", sealed)
            async with asyncio.timeout(DEADLINE):
                assert (await anext(messages)).sender == ALICE.public
    assert told.codes == ["RuntimeError"]
