"""What anybody who may publish can do to a client: to ours nothing.

Each hostile message is written by hand to a real nats-server. Where the stock client suffers from
it, a twin of the test shows how, so that no test passes because a message was harmless.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from tests.running import DEADLINE
from tests.transport.raw import frozen, hpub, pub, publisher
from xkeymsg.testing import NATSServer
from xkeymsg.transport.client import HardenedClient

HONEST = b"honest"
PLAIN = b"NATS/1.0\r\n\r\n"

Mode = Literal["core", "stream"]
Harm = Literal["deaf", "misled", "blind"]
"""What the stock client suffers: the honest message behind the hostile one does not arrive; the
hostile one goes to a subscription on another subject; it never reaches the program,
which therefore cannot acknowledge it."""


@dataclass(frozen=True)
class Case:
    """A hostile message on `h.>`, and what it does to the stock client."""

    name: str
    subject: bytes
    headers: bytes | None = None
    reply: bytes = b""
    payload: bytes = b"hostile"
    core: Harm | None = None
    stream: Harm | None = None

    @property
    def frame(self) -> bytes:
        if self.headers is None:
            return pub(self.subject, self.payload, self.reply)
        return hpub(self.subject, self.headers, self.payload, self.reply)

    def harm(self, mode: Mode) -> Harm | None:
        return self.core if mode == "core" else self.stream


CASES = [
    Case("subject that is not UTF-8", b"h.\xff", core="deaf", stream="deaf"),
    Case("subject with a lone surrogate", b"h.\xed\xa0\x80", core="deaf", stream="deaf"),
    Case("subject with a 0x85", b"h.\x85", core="deaf", stream="deaf"),
    Case("subject with a U+0085", b"h.\xc2\x85"),
    Case("subject with a NUL", b"h.a\x00b"),
    Case("subject with wildcards", b"h.*.>"),
    Case("subject with a vertical tab and a word", b"h.\x0bz", core="deaf", stream="deaf"),
    Case("subject with a vertical tab and a number", b"h.\x0b2", core="misled", stream="deaf"),
    Case("subject with a form feed and a number", b"h.\x0c2", core="misled", stream="deaf"),
    Case("subject with a tab, a number and a word", b"h.\x0b2\x0bz", core="deaf", stream="deaf"),
    Case("subject with a tab, and headers", b"h.\x0b2", PLAIN, core="misled", stream="deaf"),
    Case("reply that is not UTF-8", b"h.a", reply=b"r.\xff", core="deaf"),
    Case("reply with a vertical tab", b"h.a", reply=b"r.\x0b5", core="deaf"),
    Case("reply of a wildcard", b"h.a", reply=b">"),
    Case("headers of eight bytes", b"h.a", b"NATS/1.0", core="deaf", stream="deaf"),
    Case("headers that do not end", b"h.a", b"NATS/1.0\r\na: b"),
    Case("headers of another protocol", b"h.a", b"HTTP/9.9\r\n\r\n"),
    Case("status line not UTF-8", b"h.a", b"NATS/1.0 \xff\xfe\xfd\r\n\r\n", core="deaf"),
    Case("status line of superscripts", b"h.a", "NATS/1.0 ²\r\n\r\n".encode()),
    Case("status line without a number", b"h.a", b"NATS/1.0 xyz\r\n\r\n"),
    Case("status line without anything", b"h.a", b"NATS/1.0 \r\n\r\n"),
    Case("status line of 503", b"h.a", b"NATS/1.0 503\r\n\r\n"),
    Case("description not UTF-8", b"h.a", b"NATS/1.0 503 \xff\r\n\r\n", core="deaf"),
    Case(
        "description not UTF-8, and a header",
        b"h.a",
        b"NATS/1.0 1 \xff\r\na: b\r\n\r\n",
        core="deaf",
    ),
    Case("status header of 503", b"h.a", b"NATS/1.0\r\nStatus: 503\r\n\r\n", stream="blind"),
    Case("status header of 404", b"h.a", b"NATS/1.0\r\nStatus: 404\r\n\r\n", stream="deaf"),
    Case("status header of 100", b"h.a", b"NATS/1.0\r\nStatus: 100\r\n\r\n", stream="deaf"),
    Case("headers of 60 KiB", b"h.a", b"NATS/1.0\r\n" + b"a: b\r\n" * 10_000 + b"\r\n"),
    Case("header value of 60 KiB", b"h.a", b"NATS/1.0\r\na: " + b"b" * 60_000 + b"\r\n\r\n"),
    Case("header without a colon", b"h.a", b"NATS/1.0\r\nnothing\r\n\r\n"),
    Case("header name with spaces", b"h.a", b"NATS/1.0\r\n a b : c\r\n\r\n"),
    Case("header name not ASCII", b"h.a", b"NATS/1.0\r\n\xff: c\r\n\r\n"),
    Case("header value not UTF-8", b"h.a", b"NATS/1.0\r\na: \xff\r\n\r\n"),
    Case("header value with an encoded word", b"h.a", b"NATS/1.0\r\na: =?utf-8?q?=ff?=\r\n\r\n"),
    Case("header repeated", b"h.a", b"NATS/1.0\r\na: 1\r\nA: 2\r\na: 3\r\n\r\n"),
]
MODES: tuple[Mode, ...] = ("core", "stream")


@dataclass
class Outcome:
    """What a client made of a hostile message and the honest ones behind it."""

    arrived: list[Msg] = field(default_factory=list)
    """What came before the first honest message."""
    elsewhere: list[Msg] = field(default_factory=list)
    """What the subscription on another subject was given."""
    honest: bool = False
    """Whether the honest message came."""
    later: bool = False
    """Whether the honest messages after it came too."""
    lost: int = 0
    """How often the connection was lost."""
    unacknowledged: int = 0
    """What the stream keeps for a redelivery when all is done."""


Receive = Callable[[], Awaitable[Msg]]


async def _receiver(client: Client, mode: Mode) -> tuple[Receive, JetStreamContext | None]:
    """Subscribe to `h.>` and return how to take one message, for ever if none comes."""
    if mode == "core":
        subscription = await client.subscribe("h.>")
        return lambda: subscription.next_msg(None), None
    context = client.jetstream()
    await context.add_stream(name="S", subjects=["h.>"])
    pull = await context.pull_subscribe("h.>", durable="d", stream="S")

    async def fetch() -> Msg:
        while True:
            # A publisher's message may raise here, whatever its class: a program goes on.
            with contextlib.suppress(nats.errors.Error):
                [message] = await pull.fetch(1, timeout=1)
                await message.ack_sync()
                return message

    return fetch, context


async def play(kind: type[Client], mode: Mode, case: Case, server: NATSServer) -> Outcome:
    """Send a hostile message to a client of that class, and honest ones behind it."""
    outcome = Outcome()
    # What is to arrive has time; for what never does, a second is enough.
    seconds = 1.0 if kind is Client and case.harm(mode) == "deaf" else DEADLINE

    async def lost() -> None:
        outcome.lost += 1

    async def ignore(_: Exception) -> None:
        pass

    async with contextlib.AsyncExitStack() as stack:
        client = kind()
        await client.connect(server.url, disconnected_cb=lost, error_cb=ignore)
        stack.push_async_callback(client.close)
        receive, context = await _receiver(client, mode)
        # The case with a number in its subject aims at this one, the second.
        other = await client.subscribe("private")
        await client.flush()
        hostile = await stack.enter_async_context(publisher(server.url))

        await hostile.send(case.frame, pub(b"h.honest", HONEST))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (message := await receive()).data != HONEST:
                    outcome.arrived.append(message)
                outcome.honest = True
        if outcome.honest:
            await hostile.send(*(pub(b"h.later", b"%d" % number) for number in range(3)))
            async with asyncio.timeout(DEADLINE):
                outcome.later = [(await receive()).data for _ in range(3)] == [b"0", b"1", b"2"]
        if context is not None and outcome.later:
            outcome.unacknowledged = (await context.consumer_info("S", "d")).num_ack_pending or 0
        while other.pending_msgs:
            outcome.elsewhere.append(await other.next_msg())
        lost_before_the_end = outcome.lost
    outcome.lost = lost_before_the_end
    return outcome


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_an_honest_message_arrives_after(case: Case, mode: Mode) -> None:
    with NATSServer(jetstream=mode == "stream") as server:
        outcome = await play(HardenedClient, mode, case, server)

    assert outcome.honest
    assert outcome.later
    assert not outcome.lost
    assert not outcome.elsewhere
    assert not outcome.unacknowledged
    # The program gets what the publisher sent, to the byte, and can count or quarantine it.
    [message] = outcome.arrived
    assert message.subject.encode("utf-8", "surrogateescape") == case.subject
    assert message.data == case.payload
    if mode == "core":
        assert message.reply.encode("utf-8", "surrogateescape") == case.reply


@pytest.fixture(scope="module")
def stock() -> dict[tuple[str, Mode], Outcome]:
    """What the stock client makes of every case, at once: each may take its whole second."""
    jobs = [(case, mode) for case in CASES for mode in MODES if case.harm(mode)]
    control = Case("control", b"h.a")
    jobs += [(control, mode) for mode in MODES]

    async def everything(servers: list[NATSServer]) -> list[Outcome]:
        plays = (play(Client, mode, case, s) for (case, mode), s in zip(jobs, servers, strict=True))
        return await asyncio.gather(*plays)

    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(NATSServer(jetstream=m == "stream")) for _, m in jobs]
        outcomes = asyncio.run(everything(servers))
    return {(case.name, mode): out for (case, mode), out in zip(jobs, outcomes, strict=True)}


@pytest.mark.parametrize("mode", MODES)
def test_the_stock_client_receives_where_nobody_is_hostile(
    mode: Mode, stock: dict[tuple[str, Mode], Outcome]
) -> None:
    outcome = stock["control", mode]

    assert outcome.honest
    assert outcome.later
    assert len(outcome.arrived) == 1
    assert not outcome.lost


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        pytest.param(case, mode, id=f"{case.name}-{mode}")
        for case in CASES
        for mode in MODES
        if case.harm(mode)
    ],
)
def test_the_stock_client_is_harmed_by(
    case: Case, mode: Mode, stock: dict[tuple[str, Mode], Outcome]
) -> None:
    outcome = stock[case.name, mode]

    match case.harm(mode):
        case "deaf":
            assert not outcome.honest
        case "misled":
            assert [message.data for message in outcome.elsewhere] == [case.payload]
            assert not outcome.arrived
        case "blind":
            assert not outcome.arrived
            assert outcome.unacknowledged == 1


def _control(description: bytes, more: bytes = b"") -> bytes:
    """Return headers like those of the server's own control messages."""
    return b"NATS/1.0\r\nStatus: 100\r\nDescription: " + description + b"\r\n" + more + b"\r\n"


CONTROL = {
    "flow control": _control(b"FlowControl Request"),
    "heartbeat": _control(b"Idle Heartbeat"),
    "stalled consumer": _control(b"Idle Heartbeat", b"Nats-Consumer-Stalled: victim\r\n"),
}
BOTH = pytest.mark.parametrize("kind", [HardenedClient, Client])


@contextlib.asynccontextmanager
async def connected(kind: type[Client], server: NATSServer) -> AsyncIterator[Client]:
    """Connect a client that keeps its errors to itself; ours must not lose its connection."""
    lost = 0

    async def count() -> None:
        nonlocal lost
        lost += 1

    async def ignore(_: Exception) -> None:
        pass

    client = kind()
    await client.connect(server.url, disconnected_cb=count, error_cb=ignore)
    try:
        yield client
        if kind is HardenedClient:
            assert client.is_connected
            assert not lost
    finally:
        await client.close()


def patience(kind: type[Client]) -> float:
    """How long to wait for a message that only ours is to receive: the stock client never does."""
    return DEADLINE if kind is HardenedClient else 0.3


async def arrives(queue: asyncio.Queue[bytes], wanted: bytes, seconds: float = DEADLINE) -> bool:
    """Tell whether something comes out of the queue in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while await queue.get() != wanted:
                pass
            return True
    return False


@BOTH
@pytest.mark.parametrize("headers", CONTROL.values(), ids=CONTROL)
async def test_an_ordered_consumer_reads_on_after_a_stored_control_message(
    kind: type[Client], headers: bytes, jetstream_server: NATSServer
) -> None:
    async with connected(kind, jetstream_server) as client:
        subjects: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: Msg) -> None:
            subjects.put_nowait(message.subject.encode())

        context = client.jetstream()
        await context.add_stream(name="S", subjects=["h.>"])
        await context.subscribe("h.>", ordered_consumer=True, cb=take)
        async with publisher(jetstream_server.url) as hostile:
            await hostile.send(hpub(b"h.hostile", headers), pub(b"h.honest"))

        assert await arrives(subjects, b"h.honest", patience(kind)) == (kind is HardenedClient)


@BOTH
async def test_a_stored_heartbeat_does_not_say_where_to_publish(
    kind: type[Client], jetstream_server: NATSServer
) -> None:
    async with connected(kind, jetstream_server) as client:
        published: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: Msg) -> None:
            published.put_nowait(message.subject.encode())

        context = client.jetstream()
        await context.add_stream(name="S", subjects=["h.>"])
        await client.subscribe("victim", cb=take)
        consumer = await context.subscribe("h.>", config=ConsumerConfig(idle_heartbeat=5))
        async with publisher(jetstream_server.url) as hostile:
            await hostile.send(hpub(b"h.hostile", CONTROL["stalled consumer"]), pub(b"h.honest"))
        while (await consumer.next_msg()).subject != "h.honest":
            pass
        await client.flush()  # what the client publishes has come back by then

        seconds = (
            DEADLINE if kind is Client else 0.2
        )  # the stock flush says nothing of what it sent
        assert await arrives(published, b"victim", seconds) == (kind is Client)
        await consumer.unsubscribe()


@BOTH
async def test_a_watcher_of_keys_reads_on_after_a_stored_control_message(
    kind: type[Client], jetstream_server: NATSServer
) -> None:
    async with connected(kind, jetstream_server) as client:
        keys: asyncio.Queue[bytes] = asyncio.Queue()
        bucket = await client.jetstream().create_key_value(bucket="B")
        watcher = await bucket.watchall()

        async def read() -> None:
            async for entry in watcher:
                if entry is not None:
                    keys.put_nowait(entry.key.encode())

        reader = asyncio.create_task(read())
        async with publisher(jetstream_server.url) as hostile:
            await hostile.send(hpub(b"$KV.B.hostile", CONTROL["flow control"]))
            await hostile.send(pub(b"$KV.B.honest", b"value"))

        assert await arrives(keys, b"honest", patience(kind)) == (kind is HardenedClient)
        reader.cancel()


async def test_a_watcher_of_keys_is_told_of_a_key_that_is_not_utf8(
    jetstream_server: NATSServer,
) -> None:
    async with connected(HardenedClient, jetstream_server) as client:
        bucket = await client.jetstream().create_key_value(bucket="B")
        watcher = await bucket.watchall()
        async with publisher(jetstream_server.url) as hostile:
            await hostile.send(pub(b"$KV.B.\xff", b"value"), pub(b"$KV.B.honest", b"value"))
        keys = []
        async with asyncio.timeout(DEADLINE):
            async for entry in watcher:
                keys += [entry.key] if entry else []
                if len(keys) == 2:
                    break

        assert keys == ["\udcff", "honest"]


@BOTH
async def test_a_forged_status_costs_no_other_message_of_its_batch(
    kind: type[Client], jetstream_server: NATSServer
) -> None:
    async with connected(kind, jetstream_server) as client:
        context = client.jetstream()
        await context.add_stream(name="S", subjects=["h.>"])
        pull = await context.pull_subscribe("h.>", durable="d", stream="S")
        async with publisher(jetstream_server.url) as hostile:
            await hostile.send(pub(b"h.first"))
            await hostile.send(hpub(b"h.hostile", b"NATS/1.0\r\nStatus: 503\r\n\r\n"))
            await hostile.send(pub(b"h.last"))
        async with asyncio.timeout(DEADLINE):  # a PONG does not mean that a stream has it
            while (await context.stream_info("S")).state.messages < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        subjects: list[str] = []
        seconds = patience(kind)
        with contextlib.suppress(nats.errors.Error):
            subjects = [message.subject for message in await pull.fetch(3, timeout=seconds)]

        assert subjects == (["h.first", "h.hostile", "h.last"] if kind is HardenedClient else [])


INTO_THE_INBOX = {
    "reply that is no acknowledgement": lambda inbox: pub(inbox, b"x", reply=b"not.an.ack"),
    "reply that is not UTF-8": lambda inbox: pub(inbox, b"x", reply=b"\xff"),
    "heartbeat with letters for numbers": lambda inbox: hpub(
        inbox, b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: one\r\n\r\n"
    ),
}


@BOTH
@pytest.mark.parametrize("forge", INTO_THE_INBOX.values(), ids=INTO_THE_INBOX)
async def test_an_ordered_consumer_reads_on_after_a_message_to_its_inbox(
    kind: type[Client], forge: Callable[[bytes], bytes], jetstream_server: NATSServer
) -> None:
    async with connected(kind, jetstream_server) as client:
        subjects: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: Msg) -> None:
            subjects.put_nowait(message.subject.encode())

        context = client.jetstream()
        await context.add_stream(name="S", subjects=["h.>"])
        consumer = await context.subscribe("h.>", ordered_consumer=True, cb=take)
        async with publisher(jetstream_server.url) as hostile:
            await hostile.send(pub(b"h.first"))
            assert await arrives(subjects, b"h.first")
            await hostile.send(forge(consumer.subject.encode()), pub(b"h.honest"))

        assert await arrives(subjects, b"h.honest", patience(kind)) == (kind is HardenedClient)


@BOTH
async def test_flow_control_from_a_stranger_does_not_say_where_to_publish(
    kind: type[Client], jetstream_server: NATSServer
) -> None:
    request = b"NATS/1.0 100 FlowControl Request\r\n\r\n"
    async with connected(kind, jetstream_server) as client:
        context = client.jetstream()
        await context.add_stream(name="S", subjects=["h.>"])
        published: asyncio.Queue[bytes] = asyncio.Queue()

        async def take(message: Msg) -> None:
            published.put_nowait(message.subject.encode())

        await client.subscribe("victim", cb=take)
        consumer = await context.subscribe("h.>", config=ConsumerConfig(idle_heartbeat=5))
        asked = hpub(consumer.subject.encode(), request, reply=b"victim")
        async with publisher(jetstream_server.url) as hostile:
            await hostile.send(asked)
            await hostile.send(pub(b"h.honest"))
            while (await consumer.next_msg()).subject != "h.honest":
                pass
            await client.flush()
            if kind is not Client:
                assert not await arrives(published, b"victim", 0.2)
            else:  # the stock client may answer a later request only
                async with asyncio.timeout(DEADLINE):
                    while not await arrives(published, b"victim", 1.0):
                        await hostile.send(asked)
        await consumer.unsubscribe()


async def test_flow_control_of_the_server_is_answered(jetstream_server: NATSServer) -> None:
    """A consumer with flow control stalls unless its requests are answered."""
    async with connected(HardenedClient, jetstream_server) as client:
        context = client.jetstream()
        await context.add_stream(name="S", subjects=["h.>"])
        payload = bytes(64 << 10)
        for _ in range(64):  # several times what the server sends ahead of an answer
            await context.publish("h.bulk", payload)
        consumer = await context.subscribe("h.>", ordered_consumer=True)
        async with asyncio.timeout(DEADLINE):
            for _ in range(64):
                assert len((await consumer.next_msg(None)).data) == len(payload)
        await consumer.unsubscribe()


ANSWERS = {
    "headers of eight bytes": lambda inbox: hpub(inbox, b"NATS/1.0", b"answer"),
    "status not UTF-8": lambda inbox: hpub(inbox, b"NATS/1.0 \xff\xff\xff\r\n\r\n", b"answer"),
    "description not UTF-8": lambda inbox: hpub(inbox, b"NATS/1.0 200 \xff\r\n\r\n", b"answer"),
    "reply not UTF-8": lambda inbox: pub(inbox, b"answer", reply=b"\xff"),
    "reply with a vertical tab": lambda inbox: pub(inbox, b"answer", reply=b"r.\x0b5"),
}


@BOTH
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_a_request_gets_its_answer_from_a_hostile_responder(
    kind: type[Client], answer: Callable[[bytes], bytes], server: NATSServer
) -> None:
    async with connected(kind, server) as client, publisher(server.url) as hostile:
        await hostile.subscribe(b"service")
        request = asyncio.create_task(client.request("service", b"question", patience(kind)))
        await hostile.send(answer(await hostile.request()))
        answered = False
        with contextlib.suppress(nats.errors.TimeoutError):
            answered = (await request).data == b"answer"

        assert answered == (kind is HardenedClient)


async def test_strange_tokens_on_the_inbox_disturb_no_request(server: NATSServer) -> None:
    async with connected(HardenedClient, server) as client, publisher(server.url) as hostile:
        await hostile.subscribe(b"service")
        for token in (b"\xff", b"\x0b1", b"nobody"):
            request = asyncio.create_task(client.request("service", timeout=DEADLINE))
            inbox = await hostile.request()
            prefix, _, _ = inbox.rpartition(b".")
            await hostile.send(pub(prefix + b"." + token, b"forged"), pub(inbox, b"answer"))

            assert (await request).data == b"answer"


@pytest.mark.parametrize("reply", [b"r.\xff", b"\xed\xa0\x80"])
async def test_an_answer_to_a_reply_that_is_not_utf8_is_an_error_of_nats(
    reply: bytes, server: NATSServer
) -> None:
    async with connected(HardenedClient, server) as client, publisher(server.url) as hostile:
        subscription = await client.subscribe("h.>")
        await client.flush()
        await hostile.send(pub(b"h.a", b"question", reply=reply))
        message = await subscription.next_msg()

        with pytest.raises(nats.errors.BadSubjectError):
            await message.respond(b"answer")
        with pytest.raises(nats.errors.BadSubjectError):
            await client.publish("h.a", reply=message.reply)


@BOTH
async def test_a_pong_that_comes_after_its_flush_gave_up_does_no_harm(
    kind: type[Client], server: NATSServer
) -> None:
    async with connected(kind, server) as client:
        subscription = await client.subscribe("h.>")
        await client.flush()
        with frozen(server), pytest.raises(nats.errors.FlushTimeoutError):
            await client.flush(timeout=0.05)  # type: ignore[arg-type]
        async with publisher(server.url) as honest:
            await honest.send(pub(b"h.honest", HONEST))
        arrived = False
        with contextlib.suppress(nats.errors.TimeoutError):
            arrived = (await subscription.next_msg(patience(kind))).data == HONEST

        assert arrived == (kind is HardenedClient)


async def test_flushes_after_a_late_pong_wait_for_their_own(server: NATSServer) -> None:
    async with connected(HardenedClient, server) as client:
        with frozen(server):
            with pytest.raises(nats.errors.FlushTimeoutError):
                await client.flush(timeout=0.05)  # type: ignore[arg-type]
            second = asyncio.create_task(client.flush())
            await asyncio.sleep(0)

        await asyncio.wait_for(second, DEADLINE)
        await client.rtt()


@pytest.fixture
def small_server() -> Iterator[NATSServer]:
    with NATSServer("max_payload: 1000") as running:
        yield running


HEADERS = {"name": "value", "other": "ü"}
HEADERS_SIZE = len("NATS/1.0\r\nname: value\r\nother: ü\r\n\r\n".encode())


@BOTH
async def test_headers_that_make_a_message_too_large_do_not_cost_the_connection(
    kind: type[Client], small_server: NATSServer
) -> None:
    closed = asyncio.Event()

    async def on_closed() -> None:
        closed.set()

    client = kind()
    await client.connect(small_server.url, closed_cb=on_closed)
    refused = False
    try:
        await client.publish("h.a", bytes(1000 - HEADERS_SIZE + 1), headers=HEADERS)
        await asyncio.wait_for(closed.wait(), DEADLINE)
    except nats.errors.MaxPayloadError:
        refused = True
        await client.flush()

    assert refused == (kind is HardenedClient)
    assert client.is_connected == (kind is HardenedClient)
    await client.close()


@pytest.mark.parametrize(
    ("headers", "size"),
    [(HEADERS, 1000 - HEADERS_SIZE), ({}, 1000), (None, 1000)],
    ids=["two headers", "no headers", "None"],
)
async def test_a_message_of_exactly_the_limit_is_delivered(
    headers: dict[str, str] | None, size: int, small_server: NATSServer
) -> None:
    async with connected(HardenedClient, small_server) as client:
        subscription = await client.subscribe("h.>")
        await client.publish("h.a", bytes(size), headers=headers)

        message = await subscription.next_msg()
        assert len(message.data) == size
        assert message.headers == (headers or None)
