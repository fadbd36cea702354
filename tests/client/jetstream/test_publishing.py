"""Publishing into streams: acknowledged, in flight together, sent again as it was, never fooled."""

from __future__ import annotations

import asyncio
import base64
import signal
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest

from tests.client.jetstream.conftest import ALICE, BOB, EVE, Stage, on_stage, options
from tests.client.jetstream.inside import publisher_of
from tests.running import DEADLINE
from xkeymsg.client.core import Core
from xkeymsg.client.jetstream.api import API, PubAck
from xkeymsg.client.jetstream.context import JetStream
from xkeymsg.client.jetstream.publisher import StreamPublisher
from xkeymsg.envelope.inspect import inspect
from xkeymsg.errors import (
    ConfigurationError,
    ConflictError,
    ConnectionFailedError,
    DeliveryError,
    MalformedError,
    PayloadTooLargeError,
    XKeyMsgError,
)
from xkeymsg.fields.policy import Policy
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.link import Link, open_link

TO = [BOB.public]


def of_alice(link: Link, **more: Any) -> JetStream:
    return JetStream(link, Core(ALICE, {BOB.public}, {}), **more)


def of_bob(link: Link) -> JetStream:
    return JetStream(link, Core(BOB, {ALICE.public}, {}))


@pytest.fixture
async def js(stage: Stage) -> AsyncIterator[JetStream]:
    """Alice's, who publishes for Bob."""
    context = of_alice(stage.link)
    yield context
    await context.close()


async def test_an_acknowledged_message_is_in_the_stream(stage: Stage, js: JetStream) -> None:
    ack = await js.publish("h.a", b"hello", to=TO, clear_headers={"Nats-Expected-Stream": "S"})

    assert ack == PubAck("S", 1, False)
    stored = await stage.api.message("S", 1)
    name = base64.urlsafe_b64encode(bytes.fromhex(inspect(stored.data).message_id))[:22].decode()
    assert stored.headers == [
        ("sender", str(ALICE.public)),
        ("Nats-Expected-Stream", "S"),
        ("Nats-Msg-Id", name),
    ]


async def test_what_is_published_is_consumed(stage: Stage, js: JetStream) -> None:
    await js.publish("h.a", b"hello", to=TO, headers={"Trace": "1"})
    consumer = of_bob(stage.link).consume(
        "S", "d", stage.handle, create=stage.durable(), subjects="h.>"
    )
    async with consumer:
        await stage.until(lambda: stage.handled == [b"hello"])


async def test_documents_go_the_same_way(stage: Stage, js: JetStream) -> None:
    seen = []

    async def handle(view: Any) -> None:
        seen.append((view.document, view.withheld))

    policy = Policy([("/name", ["clinic"]), ("/**", ["billing"])])
    readers = {"clinic": [BOB.public], "billing": [EVE.public]}
    document = {"name": "Ann", "sum": 3}
    await js.publish_document("h.a", document, policy=policy, readers=readers)
    consumer = of_bob(stage.link).consume("S", "d", handle, create=stage.durable(), documents=True)
    async with consumer:
        await stage.until(lambda: seen)

    assert seen == [({"name": "Ann"}, 1)]


async def test_many_are_in_flight_and_no_more_than_may_be(stage: Stage) -> None:
    js = of_alice(stage.link, in_flight=50)
    most, futures = 0, []
    for number in range(1000):
        futures.append(await js.publish_async("h.a", b"%d" % number, to=TO))
        most = max(most, publisher_of(js).in_flight)
    await js.flush()

    assert [future.result().sequence for future in futures] == list(range(1, 1001))
    assert most == 50
    assert publisher_of(js).retries == 0
    await js.close()


async def test_no_stream_is_an_error_soon(js: JetStream) -> None:
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(DeliveryError, match="no stream takes elsewhere"):
            await js.publish("elsewhere", b"", to=TO)


async def test_what_the_stream_refuses_is_an_error_with_its_number(js: JetStream) -> None:
    await js.publish("h.a", b"one", to=TO)
    with pytest.raises(DeliveryError) as caught:
        await js.publish("h.a", b"two", to=TO, clear_headers={"Nats-Expected-Last-Sequence": "7"})

    assert caught.value.err_code == 10071
    assert caught.value.code == "delivery"


@pytest.mark.parametrize("name", ["Nats-Msg-Id", "nats-msg-id", "Sender", "STATUS", "Xkm-Stream"])
async def test_headers_that_are_ours_are_refused(js: JetStream, name: str) -> None:
    with pytest.raises(MalformedError):
        await js.publish("h.a", b"", to=TO, clear_headers={name: "x"})


@pytest.mark.parametrize("headers", [[("a", "b")], {"a": 1}, {1: "a"}])
async def test_clear_headers_that_are_no_texts_are_refused(js: JetStream, headers: Any) -> None:
    with pytest.raises(TypeError, match="clear_headers"):
        await js.publish("h.a", b"", to=TO, clear_headers=headers)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e9])
async def test_a_time_that_is_none(js: JetStream, timeout: float) -> None:
    """A deadline of nan never comes, and whoever waited would wait for ever."""
    with pytest.raises(ConfigurationError):
        await js.publish("h.a", b"", to=TO, timeout=timeout)
    assert publisher_of(js).in_flight == 0


async def test_a_message_that_is_too_large_is_an_error_and_takes_no_place(js: JetStream) -> None:
    with pytest.raises(PayloadTooLargeError):
        await js.publish("h.a", bytes(2 << 20), to=TO)
    assert publisher_of(js).in_flight == 0


async def test_a_killed_server_costs_no_message_and_doubles_none(
    stage: Stage, js: JetStream, jetstream_server: NATSServer
) -> None:
    async def publish() -> list[PubAck]:
        futures = []
        for number in range(600):
            futures.append(await js.publish_async("h.a", b"%d" % number, to=TO, timeout=DEADLINE))
            await asyncio.sleep(0.001)
        return await asyncio.gather(*futures)

    task = asyncio.create_task(publish())
    await asyncio.sleep(0.2)
    assert jetstream_server.process is not None
    jetstream_server.process.send_signal(signal.SIGSTOP)  # so that some are under way
    await stage.until(lambda: publisher_of(js).in_flight >= 10)
    jetstream_server.kill()
    await asyncio.to_thread(jetstream_server.start)
    acks = await asyncio.wait_for(task, DEADLINE)

    assert publisher_of(js).retries > 0
    # Each once, whatever was sent twice; and what was acknowledged is there.
    assert len({ack.sequence for ack in acks}) == 600
    assert await stage.messages() == 600


class _Deaf(StreamPublisher):
    """Does not hear the first answer to each message."""

    def __init__(self, api: API) -> None:
        super().__init__(api)
        self.unheard: set[bytes] = set()

    def _take(self, raw: Any) -> None:
        if raw.subject not in self.unheard:
            self.unheard.add(raw.subject)
            token = raw.subject[self._tokens_at :]
            self._flying[token].due = 0.0
            return
        super()._take(raw)


async def test_a_retry_sends_the_same_bytes_and_is_known_for_one(stage: Stage) -> None:
    # E-87; that the id is that of the message shows below, in what is in the stream.
    publisher = _Deaf(stage.api)
    headers = encode_block({"Nats-Msg-Id": "one"})
    ack = await (await publisher.submit("h.a", b"bytes", headers, timeout=DEADLINE))

    assert ack.duplicate
    assert publisher.duplicates == publisher.retries == 1
    assert await stage.messages() == 1
    await publisher.close()


@pytest.mark.parametrize("direct", [False, True])
async def test_another_message_under_our_id_is_an_alarm(
    jetstream_server: NATSServer, direct: bool
) -> None:
    async with on_stage(jetstream_server, allow_direct=direct) as stage:
        publisher = StreamPublisher(stage.api)
        headers = {"Nats-Msg-Id": "one"}
        await stage.send(b"put there by somebody who saw the id", "h.other", headers)

        future = await publisher.submit("h.a", b"honest", encode_block(headers), timeout=DEADLINE)
        with pytest.raises(ConflictError) as caught:
            await future
        assert caught.value.code == "conflict"
        await publisher.close()


FORBIDDEN = """
jetstream { store_dir: "{dir}/js" }
no_auth_user: admin
authorization { users [
    { user: admin, password: x }
    { user: sender, password: x, permissions: {
        publish: { deny: ["$JS.API.STREAM.MSG.>", "$JS.API.DIRECT.>"] } } }
] }
"""


async def test_who_may_not_read_the_stream_is_warned_of_an_id_that_was_there_before() -> None:
    with NATSServer(FORBIDDEN) as server:
        async with (
            on_stage(server, quarantine=False) as stage,
            open_link(options(server, user="sender", password="x")) as link,
        ):
            publisher = StreamPublisher(API(link, timeout=0.3))
            headers = {"Nats-Msg-Id": "one"}
            await stage.send(b"another's", "h.other", headers)
            block = encode_block(headers)
            with pytest.raises(ConflictError):
                await (await publisher.submit("h.a", b"honest", block, timeout=DEADLINE))

            # One that was sent twice can be our own: what it is cannot be told.
            deaf = _Deaf(API(link, timeout=0.3))
            block = encode_block({"Nats-Msg-Id": "two"})
            ack = await (await deaf.submit("h.a", b"honest", block, timeout=DEADLINE))
            assert ack.duplicate
            await publisher.close()
            await deaf.close()


async def test_a_message_without_permission_fails_at_once_and_the_others_are_stored() -> None:
    with NATSServer(FORBIDDEN.replace("$JS.API.STREAM.MSG.>", "h.no.*")) as server:
        async with (
            on_stage(server, quarantine=False),
            open_link(options(server, user="sender", password="x")) as link,
        ):
            publisher = StreamPublisher(API(link, timeout=DEADLINE))
            subjects = ["h.no.A", "h.a", "h.no.b", "h.b"]
            futures = [await publisher.submit(s, b"x", b"", timeout=86_400) for s in subjects]
            async with asyncio.timeout(DEADLINE):
                first, _, third, _ = await asyncio.gather(*futures, return_exceptions=True)
            assert str(first) == "the server does not permit publishing on h.no.A"
            assert str(third) == "the server does not permit publishing on h.no.b"
            assert [(await futures[at]).stream for at in (1, 3)] == ["S", "S"]
            assert link.on_refusal
            await publisher.close()
            assert not link.on_refusal


async def play(stage: Stage, *answers: bytes) -> list[bytes]:
    """Play a stream on `played`: give the answers in turn, `b""` for none; return what arrived."""
    subscription = await stage.link.subscribe("played")
    seen: list[bytes] = []

    async def answer() -> None:
        async for raw in subscription:
            seen.append(raw.data)
            if said := answers[min(len(seen), len(answers)) - 1]:
                await stage.link.publish(raw.reply_text, said)

    stage.playing = asyncio.create_task(answer())  # type: ignore[attr-defined]
    return seen


def error(number: int, text: str = "text") -> bytes:
    return b'{"error":{"code":400,"err_code":%d,"description":"%b"}}' % (number, text.encode())


STORED = b'{"stream":"NONE","seq":1}'
DUPLICATE = b'{"stream":"NONE","seq":1,"duplicate":true}'


@pytest.mark.parametrize("number", [10008, 10158, 10167])
@pytest.mark.parametrize("end", [STORED, DUPLICATE])
async def test_not_now_is_asked_again_with_the_same_bytes(
    stage: Stage, number: int, end: bytes
) -> None:
    seen = await play(stage, error(number), error(number), end)
    publisher = StreamPublisher(API(stage.link, timeout=0.3), no_stream=0)
    ack = await (await publisher.submit("played", b"bytes", b"", timeout=DEADLINE))
    assert ack == PubAck("NONE", 1, end == DUPLICATE)
    assert seen == [b"bytes"] * 3
    await publisher.close()


async def test_not_now_until_the_end_is_an_error_with_its_number(stage: Stage) -> None:
    await play(stage, b"", error(10158, "in process"))
    publisher = StreamPublisher(stage.api)
    with pytest.raises(DeliveryError, match=r"may or may not be stored; .*in process") as caught:
        await (await publisher.submit("played", b"bytes", b"", timeout=3))
    assert caught.value.err_code == 10158
    await publisher.close()


@pytest.mark.parametrize("again", [False, True])
async def test_bytes_that_were_submitted_before_are_no_conflict_with_themselves(
    stage: Stage, again: bool
) -> None:
    """The stream cannot be read; without `again` the id was there before the message was sent."""
    await play(stage, DUPLICATE)
    publisher = StreamPublisher(API(stage.link, timeout=0.3))
    future = await publisher.submit("played", b"bytes", b"", timeout=DEADLINE, again=again)
    if again:
        assert (await future).duplicate
    else:
        with pytest.raises(ConflictError):
            await future
    await publisher.close()


async def test_bytes_that_were_submitted_before_are_compared_where_they_can_be_read(
    stage: Stage,
) -> None:
    publisher = StreamPublisher(stage.api)
    headers = {"Nats-Msg-Id": "one"}
    await stage.send(b"put there by somebody who saw the id", "h.other", headers)
    block = encode_block(headers)
    with pytest.raises(ConflictError):
        await (await publisher.submit("h.a", b"honest", block, timeout=DEADLINE, again=True))
    await publisher.close()


async def test_a_message_that_the_stream_never_takes_says_so_and_harms_no_other(
    jetstream_server: NATSServer,
) -> None:
    async with on_stage(jetstream_server, max_msg_size=1000) as stage:
        publisher = StreamPublisher(stage.api)
        large = await publisher.submit("h.a", bytes(2000), b"", timeout=DEADLINE)
        small = await publisher.submit("h.a", bytes(10), b"", timeout=DEADLINE)
        with pytest.raises(PayloadTooLargeError, match=r"2000 bytes.*max_msg_size") as caught:
            await large
        assert (caught.value.size, caught.value.limit) == (2000, None)
        assert (await small).sequence == 1
        await publisher.close()


async def test_no_answer_in_time_is_an_error(stage: Stage) -> None:
    publisher = StreamPublisher(stage.api)
    await stage.link.subscribe("silence")  # somebody listens, and says nothing
    with pytest.raises(DeliveryError, match="it may or may not be stored"):
        await (await publisher.submit("silence", b"", b"", timeout=0.2))
    assert publisher.in_flight == 0
    await publisher.close()


async def test_a_publisher_that_is_cancelled_gives_its_place_back(stage: Stage) -> None:
    publisher = StreamPublisher(stage.api, in_flight=1)
    await stage.link.subscribe("silence")
    future = await publisher.submit("silence", b"", b"", timeout=DEADLINE)
    waiting = asyncio.create_task(publisher.submit("silence", b"", b"", timeout=DEADLINE))
    given_up = asyncio.create_task(publisher.submit("silence", b"", b"", timeout=DEADLINE))
    await asyncio.sleep(0)
    given_up.cancel()
    future.cancel()
    await asyncio.wait_for(waiting, DEADLINE)
    await publisher.close()
    with pytest.raises(ConnectionFailedError):
        await waiting.result()


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b"1" * 5000, b"[" * 100_000,
        b'{"stream":"S"}',
        b'{"stream":"S","seq":-1}',
        b'{"stream":1,"seq":1}',
        b'{"stream":"S","seq":1.5}',
        b'{"stream":"S","seq":true}',
        b'{"stream":"S","seq":1' + b"0" * 5000 + b"}",
        b'{"error":1}',
        b'{"error":{"err_code":"x","description":3}}',
    ],
)  # fmt: skip
async def test_a_hostile_answer_is_an_error(stage: Stage, answer: bytes) -> None:
    listener = await stage.link.subscribe("service")
    publisher = StreamPublisher(stage.api)
    future = await publisher.submit("service", b"", b"", timeout=DEADLINE)
    raw = await listener.next(DEADLINE)
    await stage.link.publish(raw.reply_text, answer)
    with pytest.raises(XKeyMsgError):
        await future
    await publisher.close()


@pytest.mark.usefixtures("nothing_is_left_behind")
async def test_closing_fails_what_is_in_flight_and_leaves_nothing(
    jetstream_server: NATSServer,
) -> None:
    async with on_stage(jetstream_server) as stage:
        publisher = StreamPublisher(stage.api)
        await stage.link.subscribe("silence")
        future = await publisher.submit("silence", b"", b"", timeout=DEADLINE)
        await publisher.close()
        with pytest.raises(ConnectionFailedError):
            await future
        with pytest.raises(ConnectionFailedError):
            await publisher.submit("silence", b"", b"", timeout=DEADLINE)


async def test_closing_fails_what_waits_for_room_too(stage: Stage) -> None:
    publisher = StreamPublisher(stage.api, in_flight=1)
    await stage.link.subscribe("silence")
    flying = await publisher.submit("silence", b"", b"", timeout=DEADLINE)
    waiting = asyncio.create_task(publisher.submit("silence", b"", b"", timeout=DEADLINE))
    await asyncio.sleep(0)
    await publisher.close()
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(ConnectionFailedError):
            await waiting
    assert isinstance(flying.exception(), ConnectionFailedError)
    assert publisher.in_flight == 0


async def test_the_stock_clients_acknowledgements_do_not_come_when_the_server_was_killed(
    stage: Stage, jetstream_server: NATSServer
) -> None:
    # The twin of the test of a killed server: there, each message is acknowledged in the end.
    returned = asyncio.Event()

    async def on_return() -> None:
        returned.set()

    client = await nats.connect(
        jetstream_server.url, reconnect_time_wait=0.1, reconnected_cb=on_return
    )
    try:
        context = client.jetstream()
        await context.publish("h.a", b"its inbox stands")
        futures = [await context.publish_async("h.a", b"%d" % number) for number in range(20)]
        jetstream_server.kill()  # before the event loop has had a turn to read an answer
        await asyncio.to_thread(jetstream_server.start)
        await asyncio.wait_for(returned.wait(), DEADLINE)
        await context.publish("h.a", b"it is back")
        done, _ = await asyncio.wait(futures, timeout=1)
        assert len(done) < 20
        for each in futures:
            each.cancel()
    finally:
        await client.close()
