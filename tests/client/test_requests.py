"""Requests and answers, and what others make of them.

Mallory, in these stories, sees everything that is on the wire and publishes what it likes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.client.inside import questions, reply_key
from tests.running import DEADLINE, until
from xkeymsg import (
    ANYONE,
    ConfigurationError,
    ConnectionFailedError,
    DeliveryError,
    KeyFormatError,
    MalformedError,
    Message,
    PayloadTooLargeError,
    Peers,
    Recipient,
    Reply,
    Sealer,
    SenderNotAdmittedError,
    ServiceError,
    SubjectMismatchError,
    UserKey,
    XKey,
    XKeyPair,
    nkey,
)
from xkeymsg.client.requests import reply_subject
from xkeymsg.client.scope import LARGE
from xkeymsg.envelope.content import TransportHeaders
from xkeymsg.envelope.inspect import inspect, message_id

from .conftest import ALICE, BOB, CAROL, ESCROW, EVE, Told, Town


async def echo(message: Message) -> bytes:
    return message.data


async def test_an_answer_comes_back_sealed(town: Town) -> None:
    async def handle(message: Message) -> Reply:
        assert message.headers.pairs == (("Trace", "1"),)  # ours are not among them
        return Reply(message.data.upper(), {"Trace": "2"}, "text/plain")

    async with town.connect() as alice, town.connect(BOB) as bob, town.link() as mallory:
        wire = await mallory.subscribe(">")
        await mallory.confirm()
        async with bob.serve("svc", handle):
            await bob.flush()
            reply = await alice.request(
                "svc", b"secret", to="bob", timeout=DEADLINE, headers={"Trace": "1"}
            )
        assert (reply.data, reply.content_type) == (b"SECRET", "text/plain")
        assert reply.headers.pairs == (("Trace", "2"),)
        assert (reply.sender, reply.admitted) == (BOB.public, True)
        request, answer = [await wire.next(DEADLINE) for _ in range(2)]
    assert reply.subject == reply_subject(message_id(request.data))
    assert request.reply == answer.subject
    assert b"secret" not in request.data + request.headers
    assert b"SECRET" not in answer.data + answer.headers


async def test_large_ones_and_many_at_once(town: Town) -> None:
    async with (
        town.connect() as alice,
        town.connect(BOB) as bob,
        bob.serve("svc", echo, concurrency=7),
    ):
        await bob.flush()
        sizes = [LARGE * 2 if number % 10 == 0 else number for number in range(50)]
        replies = await asyncio.gather(
            *(alice.request("svc", bytes(size), to="bob", timeout=DEADLINE) for size in sizes)
        )
        assert [len(reply.data) for reply in replies] == sizes
        assert (questions(alice), alice.stats.opened) == ({}, 50)


async def test_respond_answers_by_hand_and_once(town: Town) -> None:
    async with (
        town.connect() as alice,
        town.connect(BOB) as bob,
        bob.subscribe("svc") as messages,
    ):
        await bob.flush()
        asked = asyncio.create_task(alice.request("svc", b"?", to="bob", timeout=DEADLINE))
        request = await anext(messages)
        with pytest.raises(PayloadTooLargeError):
            await bob.respond(request, bytes(2 << 20))
        await bob.respond(request, b"!")
        with pytest.raises(ConfigurationError):
            await bob.respond(request, b"!!")
        assert (await asked).data == b"!"


async def test_what_is_no_request_has_no_answer(town: Town) -> None:
    async with (
        town.connect() as alice,
        town.connect(BOB) as bob,
        bob.subscribe("svc") as messages,
    ):
        await bob.flush()
        await alice.publish("svc", b"", to="bob")
        with pytest.raises(MalformedError):
            await bob.respond(await anext(messages), b"!")
        with pytest.raises(TypeError):
            await bob.respond(b"svc", b"!")  # type: ignore[arg-type]


async def test_nobody_listens(town: Town) -> None:
    async with town.connect() as alice:
        with pytest.raises(DeliveryError, match="nobody listens"):
            await alice.request("svc", b"", to="bob", timeout=DEADLINE)
        with pytest.raises(DeliveryError, match="nobody listens"):
            await alice.request_many("svc", b"", to="bob", timeout=DEADLINE)


async def test_who_says_that_nobody_listens_behind_an_answer_takes_none_away(town: Town) -> None:
    async with town.connect() as alice, town.connect(BOB) as bob, town.link() as mallory:
        wire = await mallory.subscribe("svc")
        await mallory.confirm()
        async with bob.serve("svc", echo):
            await bob.flush()
            to = ["bob", "carol"]
            asking = asyncio.create_task(alice.request_many("svc", b"x", to=to, timeout=DEADLINE))
            request = await wire.next(DEADLINE)
            await until(lambda: alice.stats.opened)
            block = b"NATS/1.0 503\r\n\r\n"
            await mallory.publish(request.reply_text, b"", headers=block)
            subject = reply_subject(message_id(request.data))
            last = Sealer(CAROL).seal(b"y", to=[reply_key(alice)], subject=subject)
            await mallory.publish(request.reply_text, last)
            answers = await asking
    assert [each.data for each in answers if isinstance(each, Message)] == [b"x", b"y"]


async def test_nobody_answers(town: Town) -> None:
    async with town.connect() as alice, town.link() as link:
        await link.subscribe("svc")
        await link.confirm()
        with pytest.raises(DeliveryError, match="no answer within"):
            await alice.request("svc", b"", to="bob", timeout=0.05)
        assert await alice.request_many("svc", b"", to="bob", timeout=0.05) == []
        assert questions(alice) == {}


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e20])
async def test_a_time_that_is_none(timeout: float, town: Town) -> None:
    async with town.connect() as alice:
        with pytest.raises(ConfigurationError):
            await alice.request("svc", b"", to="bob", timeout=timeout)


async def test_a_request_that_is_cancelled_waits_no_more(town: Town) -> None:
    async with town.connect() as alice, town.link() as link:
        await link.subscribe("svc")
        await link.confirm()
        for delay in (0, 0.001, 0.02):
            task = asyncio.create_task(alice.request("svc", b"", to="bob", timeout=DEADLINE))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert questions(alice) == {}


async def test_a_client_that_closes_ends_its_requests(town: Town) -> None:
    async with town.link() as link:
        await link.subscribe("svc")
        await link.confirm()
        async with town.connect() as alice:
            task = asyncio.create_task(alice.request("svc", b"", to="bob", timeout=DEADLINE))
            await until(lambda: questions(alice))
        with pytest.raises(ConnectionFailedError):
            await task
        with pytest.raises(ConnectionFailedError):
            await alice.request("svc", b"", to="bob")


async def test_a_request_expires_when_nobody_waits_any_more(town: Town) -> None:
    async with town.connect() as alice, town.link() as link:
        raw = await link.subscribe("svc")
        await link.confirm()
        await alice.request_many("svc", b"", to="bob", timeout=0.01)
        seen = inspect((await raw.next(DEADLINE)).data)
    assert seen.expires is not None
    assert 30 <= (seen.expires - seen.created).total_seconds() <= 30.1  # and the clocks' difference


async def test_answers_of_several(town: Town) -> None:
    async def refuse(_message: Message) -> bytes:
        raise ServiceError("busy")

    async with (
        town.connect() as alice,
        town.connect(BOB) as bob,
        town.connect(CAROL) as carol,
        bob.serve("svc", echo),
        carol.serve("svc", refuse),
    ):
        await bob.flush()
        await carol.flush()
        answers = await alice.request_many("svc", b"x", to=["bob", "carol"], timeout=DEADLINE)
        assert {
            answer.data if isinstance(answer, Message) else answer.reason for answer in answers
        } == {b"x", "busy"}
        assert len(await alice.request_many("svc", b"x", to=["bob", "carol"], replies=1)) == 1


# --- forged answers -------------------------------------------------------------------------------


class Wiretap:
    """A service's place, taken by somebody who has the requests and answers as he likes."""

    def __init__(self, link: Any, raw: Any) -> None:
        self._link = link
        self._raw = raw
        self.request: Any = None

    async def next(self) -> None:
        self.request = await self._raw.next(DEADLINE)

    async def send(
        self, by: XKeyPair, to: XKey, subject: str, data: bytes = b"forged", **headers: str
    ) -> bytes:
        pairs = TransportHeaders((name.replace("_", "-"), text) for name, text in headers.items())
        envelope = Sealer(by).seal(data, to=[to], subject=subject, headers=pairs)
        await self.raw(envelope)
        return envelope

    async def raw(self, data: bytes, headers: bytes = b"") -> None:
        await self._link.publish(self.request.reply.decode(), data, headers=headers)


async def ask(
    town: Town,
    story: Callable[[Wiretap, XKey, str], Awaitable[None]],
    told: Told,
    to: Any = "bob",
    trust: Any = None,
) -> Message:
    """Have Alice ask, and the story go on with her request; return what she takes for an answer."""
    more = {} if trust is None else {"trust": trust}
    async with town.connect(on_error=told, **more) as alice, town.link() as link:
        raw = await link.subscribe("svc")
        await link.confirm()
        tap = Wiretap(link, raw)
        asked = asyncio.create_task(alice.request("svc", b"?", to=to, timeout=DEADLINE))
        await tap.next()
        await story(tap, reply_key(alice), reply_subject(message_id(tap.request.data)))
        return await asked


async def ask_in_vain(
    town: Town,
    story: Callable[[Wiretap, XKey, str], Awaitable[None]],
    told: Told,
    **more: Any,
) -> None:
    """See that Alice takes nothing of the story for an answer, but Bob's, which comes last."""

    async def with_bob(tap: Wiretap, key: XKey, subject: str) -> None:
        await story(tap, key, subject)
        await tap.send(BOB, key, subject, b"honest")

    answer = await ask(town, with_bob, told, **more)
    assert answer.data == b"honest"


async def test_the_honest_answer_comes_through_all_of_this(town: Town, told: Told) -> None:
    async def story(tap: Wiretap, key: XKey, subject: str) -> None:
        for data in (b"", b"garbage", tap.request.data, bytes(LARGE)):
            await tap.raw(data)
        await tap.send(EVE, key, subject)
        await tap.send(BOB, key, subject, b"honest")

    answer = await ask(town, story, told)
    assert answer.data == b"honest"
    assert told.codes == ["malformed", "malformed", "sender_not_admitted", "malformed",
                          "sender_not_admitted"]  # fmt: skip


async def test_another_recipient_of_the_request_cannot_answer_for_bob(
    town: Town, told: Told
) -> None:
    """Carol reads the request, and so knows all that an answer needs, but for Bob's key."""

    async def story(tap: Wiretap, key: XKey, subject: str) -> None:
        await tap.send(EVE, key, subject)

    await ask_in_vain(town, story, told, to=["bob", "carol"])
    assert told.codes == ["sender_not_admitted"]


async def test_escrow_reads_the_request_and_cannot_answer(town: Town, told: Told) -> None:
    trust = Peers.parse(
        f'always_to = ["escrow"]\n[peers.bob]\nxkey = "{BOB.public}"\n'
        f'[peers.escrow]\nxkey = "{ESCROW.public}"\nsubjects = [">"]'
    )

    async def story(tap: Wiretap, key: XKey, subject: str) -> None:
        await tap.send(ESCROW, key, subject)

    await ask_in_vain(town, story, told, trust=trust)
    assert told.codes == ["sender_not_admitted"]


async def test_an_admitted_peer_that_was_not_asked_cannot_answer(town: Town, told: Told) -> None:
    async def story(tap: Wiretap, key: XKey, subject: str) -> None:
        await tap.send(CAROL, key, subject)

    await ask_in_vain(town, story, told)
    assert told.codes == ["sender_not_admitted"]


async def test_an_answer_to_another_request_is_none(town: Town, told: Told) -> None:
    async def story(tap: Wiretap, key: XKey, subject: str) -> None:
        await tap.send(BOB, key, reply_subject(bytes(16)))
        await tap.send(BOB, key, "svc")
        await tap.send(BOB, key, subject[:-1])
        await tap.send(BOB, key, f"{subject}.x")

    await ask_in_vain(town, story, told)
    assert told.codes == ["subject_mismatch"] * 4


async def test_an_answer_sealed_to_alices_own_key_is_none(town: Town, told: Told) -> None:
    """Who stole Alice's key cannot answer her, as anybody could by its means."""

    async def story(tap: Wiretap, _key: XKey, subject: str) -> None:
        await tap.send(BOB, ALICE.public, subject)

    await ask_in_vain(town, story, told)
    assert told.codes == ["not_a_recipient"]


async def test_an_answer_replayed_and_a_second_one(town: Town, told: Told) -> None:
    async with town.connect(on_error=told) as alice, town.link() as link:
        raw = await link.subscribe("svc")
        await link.confirm()
        tap = Wiretap(link, raw)
        question = alice.request_many("svc", b"?", to=["bob", "carol"], timeout=DEADLINE)
        asked = asyncio.create_task(question)
        await tap.next()
        key, subject = reply_key(alice), reply_subject(message_id(tap.request.data))
        envelope = await tap.send(BOB, key, subject, b"1")
        await tap.raw(envelope)
        await tap.send(BOB, key, subject, b"2")
        await tap.send(CAROL, key, subject, b"3")
        answers = await asked
        assert [each.data for each in answers if isinstance(each, Message)] == [b"1", b"3"]
        assert told.codes == ["replay"] * 2
        # And for the next request, to which the same key and the same inbox belong.
        asked = asyncio.create_task(alice.request_many("svc", b"?", to="bob", timeout=DEADLINE))
        await tap.next()
        await tap.raw(envelope)
        await tap.send(BOB, key, reply_subject(message_id(tap.request.data)), b"4")
        assert [each.data for each in await asked if isinstance(each, Message)] == [b"4"]
        assert told.codes == ["replay", "replay", "subject_mismatch"]


async def test_the_user_that_a_name_stands_for_has_to_answer(town: Town, told: Told) -> None:
    user, other = (UserKey(nkey.encode_seed(nkey.Prefix.USER, bytes([n]) * 32)) for n in (1, 2))
    to = Recipient(BOB.public, user.public)

    async def story(tap: Wiretap, key: XKey, subject: str) -> None:
        await tap.send(BOB, key, subject)
        for identity in (other.public, user.public):
            sealer = Sealer(BOB, identity=identity)
            await tap.raw(sealer.seal(identity.encode(), to=[key], subject=subject))

    answer = await ask(town, story, told, to=to)
    assert answer.data.decode() == user.public
    assert told.codes == ["sender_not_admitted"] * 2


@pytest.mark.parametrize("kind", ["mapping", "peers"])
async def test_the_user_that_trust_knows_for_a_key_has_to_answer(
    kind: str, town: Town, told: Told
) -> None:
    """Also where the key alone was named: another user may have had it certified as its own."""
    user, other = (UserKey(nkey.encode_seed(nkey.Prefix.USER, bytes([n]) * 32)) for n in (1, 2))
    trust: Any = {BOB.public: user.public}
    if kind == "peers":
        trust = Peers.parse(f'[peers.bob]\nxkey = "{BOB.public}"\nuser = "{user.public}"')

    async def story(tap: Wiretap, key: XKey, subject: str) -> None:
        await tap.send(BOB, key, subject)
        for identity in (other.public, user.public):
            sealer = Sealer(BOB, identity=identity)
            await tap.raw(sealer.seal(identity.encode(), to=[key], subject=subject))

    answer = await ask(town, story, told, to=BOB.public, trust=trust)
    assert answer.data.decode() == user.public
    assert told.codes == ["sender_not_admitted"] * 2


async def test_who_always_signs_signs_answers_too(town: Town, told: Told) -> None:
    """Who stole Bob's curve key cannot answer for him without his user's key."""
    user = UserKey(nkey.encode_seed(nkey.Prefix.USER, bytes([1]) * 32))
    trust = Peers.parse(
        f'[peers.bob]\nxkey = "{BOB.public}"\nuser = "{user.public}"\nalways_signs = true'
    )

    async def story(tap: Wiretap, key: XKey, subject: str) -> None:
        for sealer in (Sealer(BOB, identity=user.public), Sealer(BOB, signer=user)):
            await tap.raw(sealer.seal(b"", to=[key], subject=subject))

    for to in ("bob", BOB.public):
        answer = await ask(town, story, told, to=to, trust=trust)
        assert answer.signer == user.public
    assert told.codes == ["signature_missing"] * 2


async def test_a_status_of_anybody_is_the_word_of_the_server(town: Town, told: Told) -> None:
    """Whoever can write it could as well have kept the request from arriving."""

    async def story(tap: Wiretap, _key: XKey, _subject: str) -> None:
        await tap.raw(b"not empty", b"NATS/1.0 503\r\n\r\n")
        await tap.raw(b"", b"NATS/1.0 100 Idle\r\n\r\n")
        await tap.raw(b"", b"NATS/1.0 503\r\n\r\n")

    with pytest.raises(DeliveryError, match="nobody listens"):
        await ask(town, story, told)


async def test_an_error_is_the_answer_only_of_who_was_asked(town: Town, told: Told) -> None:
    async def story(tap: Wiretap, key: XKey, subject: str) -> None:
        await tap.send(EVE, key, subject, b"no", xkm_error="denied")
        await tap.send(BOB, key, subject, b"\xff" * 5000, xkm_error="denied\n" + "x" * 5000)

    with pytest.raises(ServiceError) as caught:
        await ask(town, story, told)
    assert caught.value.reason.startswith("denied\n")
    assert len(str(caught.value)) < 20_000
    assert "\n" not in str(caught.value)
    assert told.codes == ["sender_not_admitted"]


# --- what a request makes a service do ------------------------------------------------------------


async def send_request(
    link: Any,
    by: XKeyPair = ALICE,
    subject: str = "svc",
    wire_reply: str = "",
    **headers: str,
) -> None:
    pairs = TransportHeaders((name.replace("_", "-"), text) for name, text in headers.items())
    envelope = Sealer(by).seal(b"?", to=[BOB.public], subject=subject, headers=pairs)
    await link.publish(subject, envelope, reply=wire_reply)


@pytest.mark.parametrize(
    ("reply_to", "error"),
    [
        ("orders.new", SubjectMismatchError),
        ("_INBOX", SubjectMismatchError),
        ("_INBOXES.x", SubjectMismatchError),
        ("$JS.API.STREAM.DELETE.ORDERS", SubjectMismatchError),
        ("_INBOX.x y", MalformedError),
        ("_INBOX.>", MalformedError),
        ("_INBOX.", MalformedError),
        ("_INBOX.x\r\nPUB orders.new", MalformedError),
        ("", MalformedError),
        ("_INBOX." + "x" * 3000, MalformedError),
    ],
)
async def test_a_service_publishes_to_no_subject_but_an_inbox(
    reply_to: str, error: type[Exception], town: Town
) -> None:
    """The confused deputy: the service's content, sealed by its key, on somebody's work subject."""
    async with (
        town.connect(BOB) as bob,
        town.link() as mallory,
        bob.subscribe("svc") as messages,
    ):
        wire = await mallory.subscribe(">")
        await bob.flush()
        await mallory.confirm()
        await send_request(mallory, xkm_reply_key=str(ALICE.public), xkm_reply_to=reply_to)
        with pytest.raises(error):
            await bob.respond(await anext(messages), b"content")
        await wire.next(DEADLINE)
        await bob.flush()
        await mallory.confirm()
        assert wire.pending == 0


async def test_a_request_with_a_foreign_subject_on_the_wire_is_refused(
    town: Town, told: Told
) -> None:
    async with (
        town.connect(BOB, on_error=told) as bob,
        town.link() as mallory,
        bob.serve("svc", echo),
    ):
        wire = await mallory.subscribe("*.*")
        await bob.flush()
        await mallory.confirm()
        sealed: dict[str, Any] = {
            "xkm_reply_key": str(XKeyPair.generate().public),
            "xkm_reply_to": "_INBOX.x",
        }
        await send_request(mallory, wire_reply="orders.new", **sealed)
        await until(lambda: told)
        assert told.codes == ["subject_mismatch"]
        await send_request(mallory, wire_reply="_INBOX.x", **sealed)
        assert (await wire.next(DEADLINE)).subject == b"_INBOX.x"


async def test_each_sender_has_its_own_inboxes(town: Town, told: Told) -> None:
    inboxes = {ALICE.public: "_INBOX_alice", CAROL.public: "_INBOX_carol"}

    def prefix(message: Message) -> str:
        return inboxes[message.sender]

    async with (
        town.connect(BOB, reply_prefix=prefix, on_error=told) as bob,
        town.connect(inbox_prefix="_INBOX_alice") as alice,
        town.connect(CAROL, inbox_prefix="_INBOX_alice") as carol,
        bob.serve("svc", echo),
    ):
        await bob.flush()
        assert (await alice.request("svc", b"x", to="bob")).data == b"x"
        # Carol would have Alice's inboxes filled.
        asking = asyncio.create_task(carol.request("svc", b"x", to="bob", timeout=DEADLINE))
        await until(lambda: told)
        assert (await alice.request("svc", b"x", to="bob")).data == b"x"
        assert not asking.done()
        asking.cancel()
        await asyncio.wait([asking])
    assert told.codes == ["subject_mismatch"]


async def test_a_request_that_names_anothers_key_gets_nothing_by_it(town: Town, told: Told) -> None:
    """Alice has Bob seal an answer to Carol: Carol waits for no such one, and Alice cannot read it.

    Neither can she have Carol take it for something else: what is sealed is a subject below `_XKM`.
    """
    async with (
        town.connect(BOB) as bob,
        town.connect(CAROL, {BOB.public}, on_error=told) as carol,
        town.link() as mallory,
        bob.serve("svc", echo),
        carol.subscribe("_INBOX.>", subjects=">") as everything,
    ):
        await bob.flush()
        await carol.flush()
        await send_request(mallory, xkm_reply_key=str(CAROL.public), xkm_reply_to="_INBOX.carol")
        taker = asyncio.create_task(anext(everything))
        await until(lambda: told)
        taker.cancel()
    assert told.codes == ["subject_mismatch"]


async def test_strangers_are_not_answered_unless_that_is_said(town: Town, told: Told) -> None:
    async with (
        town.connect(EVE, {BOB.public}) as eve,
        town.connect(BOB, ANYONE, on_error=told) as bob,
        bob.serve("svc", echo),
        bob.serve("open", echo, answer_anyone=True),
        bob.subscribe("hand") as messages,
    ):
        await bob.flush()
        asking = asyncio.create_task(eve.request("svc", b"x", to=BOB.public, timeout=DEADLINE))
        await until(lambda: told)
        assert told.codes == ["sender_not_admitted"]
        assert (await eve.request("open", b"x", to=BOB.public)).data == b"x"
        assert not asking.done()
        asking.cancel()
        await asyncio.wait([asking])
        asked = asyncio.create_task(eve.request("hand", b"x", to=BOB.public))
        request = await anext(messages)
        with pytest.raises(SenderNotAdmittedError):
            await bob.respond(request, b"!")
        await bob.respond(request, b"!", answer_anyone=True)
        assert (await asked).data == b"!"


async def test_a_key_that_is_none(town: Town) -> None:
    async with town.connect(BOB) as bob, town.link() as link, bob.subscribe("svc") as messages:
        await bob.flush()
        for key in ("", "X", str(ALICE.public)[:-1], ALICE.seed(), "\ud7ff"):
            await send_request(link, xkm_reply_key=key, xkm_reply_to="_INBOX.x")
            with pytest.raises(KeyFormatError):
                await bob.respond(await anext(messages), b"!")
        await send_request(link, xkm_reply_to="_INBOX.x")
        with pytest.raises(MalformedError):
            await bob.respond(await anext(messages), b"!")


async def test_our_headers_are_not_among_those_of_the_application(town: Town) -> None:
    """What came can be published on as it came, without asking for answers to somebody else."""
    async with (
        town.connect() as alice,
        town.connect(BOB) as bob,
        bob.subscribe("svc") as messages,
    ):
        await bob.flush()
        headers = [("a", "1"), ("A", "2"), ("a", "1")]
        task = asyncio.create_task(
            alice.request_many("svc", b"", to="bob", headers=headers, timeout=0.1)
        )
        request = await anext(messages)
        assert request.headers.pairs == tuple(headers)
        await bob.publish("other", request.data, to="carol", headers=request.headers)
        await task
