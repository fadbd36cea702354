"""A durable that is created again behind a consumer: no delivery passes from one to the other.

JetStream reads the stream sequence in the subject of an acknowledgement, and nothing that tells two
durables of the same name apart. A late acknowledgement of the old durable's delivery therefore
acknowledges what the new one has delivered at the same sequence, to whichever worker. If the stream
was created again, too, that is a different message, and it is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.client.jetstream.conftest import ALICE, BOB, Stage, options
from tests.client.jetstream.inside import api_of, ignore_statuses, inbox_of, puller_of
from tests.running import DEADLINE
from tests.transport.inside import abort, client_of
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.consumer import Consumer
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.scope import LARGE, OpeningScope
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.message import Message
from xkeymsg.envelope.replay import StreamPosition
from xkeymsg.errors import DeliveryError
from xkeymsg.keys import Keyring
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.raw import Raw

Handler = Callable[[Message], Awaitable[None]]

pytestmark = pytest.mark.timeout(300)
LONG = DEADLINE
"""Seconds that something may take on a busy machine."""
PATIENT = DurableOptions(ack_wait=600.0)
"""Nothing is delivered again because time has passed."""
OLD = [b"old %d" % number for number in range(6)]
NEW = [b"new %d" % number for number in range(6)]


def gated(stage: Stage) -> tuple[asyncio.Event, Handler]:
    """An event, and a handler that waits for it."""
    opened = asyncio.Event()

    async def handle(message: Message) -> None:
        await opened.wait()
        await stage.handle(message)

    return opened, handle


async def delete_durable(stage: Stage) -> list[bytes]:
    await stage.api.request("CONSUMER.DELETE.S.d")
    return OLD


async def recreate_durable(stage: Stage) -> list[bytes]:
    config = (await stage.info())["config"]
    await stage.api.request("CONSUMER.DELETE.S.d")
    await stage.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": config})
    return OLD


async def recreate_stream(stage: Stage) -> list[bytes]:
    durable = (await stage.info())["config"]
    stream = (await stage.api.request("STREAM.INFO.S"))["config"]
    await stage.api.request("STREAM.DELETE.S")
    await stage.api.request("STREAM.CREATE.S", stream)
    await stage.publish(*NEW)
    await stage.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": durable})
    return NEW


def noticed(consumer: Consumer[Message]) -> int:
    return consumer.counts["rewound"] + consumer.counts["recreated"]


@contextlib.asynccontextmanager
async def another_worker(stage: Stage, count: int) -> AsyncIterator[None]:
    """Take everything that the durable delivers; in the end give it back."""
    inbox = await stage.link.subscribe("another")
    request = b'{"batch":%d,"expires":60000000000}' % count
    await stage.link.publish("$JS.API.CONSUMER.MSG.NEXT.S.d", request, reply="another")
    taken = [await inbox.next(LONG) for _ in range(count)]
    assert await stage.pending() == (count, 0)
    yield
    for raw in taken:
        await stage.link.publish(raw.reply_text, b"-NAK")
    await inbox.unsubscribe()


async def lose_connection(link: Link) -> None:
    reconnects = link.reconnects
    abort(client_of(link))
    async with asyncio.timeout(LONG):
        while link.state == "connected" and link.reconnects == reconnects:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def assert_all_unacknowledged(stage: Stage, count: int, *links: Link) -> None:
    """The other worker, which has them all, has answered for none."""
    for link in links:
        with contextlib.suppress(DeliveryError):  # which tells of the connection that was lost
            await link.confirm()
    for link in (stage.link, *links):
        await link.confirm()
    assert await stage.pending() == (count, 0)


class Slow(OpeningScope):
    """A scope in which a large message takes its time; another thread opens it meanwhile."""

    gate: threading.Event

    def __init__(self) -> None:
        super().__init__(Keyring(BOB), ClientTrust({ALICE.public}), subjects="h.>")

    def open(self, raw: Raw, position: StreamPosition | None = None) -> Any:
        if len(raw.data) >= LARGE:
            assert self.gate.wait(LONG)
        return super().open(raw, position)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    Slow.gate = threading.Event()
    yield Slow.gate
    Slow.gate.set()


@contextlib.contextmanager
def paused(consumer: Consumer[Message]) -> Iterator[None]:
    """Have the consumer ask for nothing, so that others get what there is."""
    puller_of(consumer).paused = True
    yield
    puller_of(consumer).paused = False


@pytest.mark.parametrize("begin_again", [delete_durable, recreate_durable, recreate_stream])
async def test_a_delivery_of_the_old_durable_that_waits_to_be_opened_is_dropped(
    stage: Stage, gate: threading.Event, begin_again: Any
) -> None:
    large = bytes(LARGE)
    await stage.publish(large, *OLD)
    consumer = stage.consumer(opening=Slow, create=PATIENT, on_missing="recreate", prefetch=16)
    async with consumer:
        await stage.until(lambda: consumer.held == 1, LONG)
        subscription = inbox_of(stage.link, consumer)
        await stage.until(lambda: subscription.pending >= len(OLD), LONG)
        with paused(consumer):
            honest = await begin_again(stage)
            await stage.until(lambda: noticed(consumer), LONG)
            if honest is OLD:
                honest = [large, *OLD]
            async with another_worker(stage, len(honest)):
                gate.set()
                await stage.until(lambda: not subscription.pending and not consumer.held, LONG)
                assert stage.handled == [large]  # which was in hand
                await assert_all_unacknowledged(stage, len(honest))
        await stage.until(lambda: len(stage.handled) > len(honest), LONG)
        await stage.settled(seconds=LONG)

    assert Counter(stage.handled) == Counter([large, *honest])
    assert noticed(consumer) == 1
    assert not consumer.counts["drop"]
    assert not [kind for kind in consumer.counts if kind.startswith("refused")]


@pytest.mark.parametrize("begin_again", [delete_durable, recreate_durable, recreate_stream])
async def test_messages_in_hand_acknowledge_nothing_of_the_new_durable_though_no_request_is_open(
    stage: Stage, begin_again: Any
) -> None:
    """The consumer holds as many as it may: no request is there that the server would end."""
    opened, handle = gated(stage)
    await stage.publish(*OLD)
    consumer = stage.consumer(handle, create=PATIENT, on_missing="recreate", prefetch=4, workers=2)
    async with consumer:
        await stage.until(lambda: consumer.held == 4, LONG)
        with paused(consumer):
            honest = await begin_again(stage)
            await stage.until(lambda: noticed(consumer), LONG)
            async with another_worker(stage, len(honest)):
                opened.set()
                await stage.until(lambda: not consumer.held, LONG)
                await assert_all_unacknowledged(stage, len(honest))
        await stage.until(lambda: len(stage.handled) >= 4 + len(honest), LONG)
        await stage.settled(seconds=LONG)

    assert Counter(stage.handled) == Counter(OLD[:4] + honest)
    assert noticed(consumer) == 1
    assert not consumer.counts["drop"]


@pytest.mark.parametrize("ack_sync", [False, True])
@pytest.mark.parametrize("begin_again", [recreate_durable, recreate_stream])
async def test_a_handler_that_ends_while_the_connection_is_lost_acknowledges_nothing_unseen(
    stage: Stage, jetstream_server: NATSServer, begin_again: Any, ack_sync: bool
) -> None:
    opened, handle = gated(stage)
    await stage.publish(*OLD)
    async with open_link(options(jetstream_server)) as link:
        consumer = stage.consumer(
            handle,
            link=link,
            create=PATIENT,
            prefetch=1,
            heartbeat=LONG,
            expires=2 * LONG,
            ack_sync=ack_sync,
        )
        async with consumer:
            await stage.until(lambda: consumer.held == 1, LONG)
            with paused(consumer):
                honest = await begin_again(stage)
                async with another_worker(stage, len(honest)):
                    await lose_connection(link)
                    opened.set()
                    await stage.until(lambda: noticed(consumer) and not consumer.held, LONG)
                    await assert_all_unacknowledged(stage, len(honest), link)
            await stage.until(lambda: len(stage.handled) > len(honest), LONG)
            await stage.settled(seconds=LONG)

    assert Counter(stage.handled) == Counter(OLD[:1] + honest)
    assert noticed(consumer) == 1


async def test_a_connection_that_comes_back_to_the_same_durable_acknowledges_what_was_handled(
    stage: Stage, jetstream_server: NATSServer
) -> None:
    opened, handle = gated(stage)
    await stage.publish(*OLD)
    async with open_link(options(jetstream_server)) as link:
        consumer = stage.consumer(handle, link=link, create=PATIENT, workers=len(OLD))
        async with consumer:
            await stage.until(lambda: consumer.held == len(OLD), LONG)
            await lose_connection(link)
            opened.set()
            await stage.settled(seconds=LONG)

    assert Counter(stage.handled) == Counter(OLD)
    assert not noticed(consumer)


async def test_a_durable_that_its_count_shows_to_be_new_begins_one_scope_and_not_two(
    stage: Stage,
) -> None:
    """The count comes first, with a delivery; the time of creation with the next look."""
    await stage.publish(*OLD)
    consumer = stage.consumer(create=PATIENT, heartbeat=LONG, expires=2 * LONG)
    async with consumer:
        await stage.until(lambda: len(stage.handled) == len(OLD), LONG)
        await stage.settled(seconds=LONG)
        with pytest.MonkeyPatch.context() as patch, paused(consumer):
            puller_of(consumer).forget()
            ignore_statuses(patch, consumer)
            await recreate_durable(stage)
            await stage.link.confirm()
        await stage.until(lambda: len(stage.handled) == 2 * len(OLD), LONG)
        await stage.settled(seconds=LONG)
        await stage.until(lambda: not puller_of(consumer).suspect, LONG)
        puller_of(consumer).suspect = True
        await stage.until(lambda: not puller_of(consumer).suspect, LONG)
        await stage.publish(*NEW)
        await stage.until(lambda: len(stage.handled) >= 2 * len(OLD) + len(NEW), LONG)

    assert Counter(stage.handled) == Counter(OLD * 2 + NEW)
    assert consumer.counts["rewound"] == 1


async def test_a_server_before_an_election_does_not_begin_a_new_scope(
    stage: Stage, jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a cluster that has just started reports a count of 0, and names no leader."""
    before_election = 0

    async def request(what: str, *arguments: Any, **more: Any) -> dict[str, Any]:
        nonlocal before_election
        reply = await API.request(api, what, *arguments, **more)
        if not what.startswith("CONSUMER."):
            return reply
        if before_election:
            before_election -= 1
            nothing = {"consumer_seq": 0, "stream_seq": 0}
            return reply | {"delivered": nothing, "ack_floor": nothing}
        return reply | {"cluster": {"name": "c", "leader": "n1"}}

    await stage.publish(*OLD)
    async with open_link(options(jetstream_server)) as link:
        gate, handle = gated(stage)
        gate.set()
        consumer = stage.consumer(handle, link=link, create=DurableOptions(ack_wait=1.0))
        api = api_of(consumer)
        monkeypatch.setattr(api, "request", request)
        async with consumer:
            await stage.until(lambda: len(stage.handled) == len(OLD), LONG)
            await stage.settled(seconds=LONG)
            gate.clear()
            await stage.publish(b"held")
            await stage.until(lambda: consumer.held, LONG)
            before_election = 3
            await lose_connection(link)
            gate.set()
            await stage.publish(b"after")
            await stage.until(lambda: b"after" in stage.handled, LONG)
            await stage.settled(seconds=LONG)

    assert stage.handled == [*OLD, b"held", b"after"]
    assert not noticed(consumer)
    assert not before_election


async def test_a_reply_from_before_an_interruption_says_nothing_about_what_came_after(
    stage: Stage, jetstream_server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its count may be older than deliveries that have arrived, and than the loss of a part."""
    asked, replied, lookups = asyncio.Event(), asyncio.Event(), 0

    async def request(what: str, *arguments: Any, **more: Any) -> dict[str, Any]:
        nonlocal lookups
        reply = await API.request(api, what, *arguments, **more)
        if what.startswith("CONSUMER.INFO.") and asked.is_set():
            lookups += 1
        elif what.startswith("CONSUMER.INFO."):
            asked.set()
            await replied.wait()
        return reply

    async with open_link(options(jetstream_server)) as link:
        consumer = stage.consumer(link=link, create=PATIENT, heartbeat=0.2, expires=0.5)
        api = api_of(consumer)
        async with consumer:
            monkeypatch.setattr(api, "request", request)
            await asyncio.wait_for(asked.wait(), LONG)
            await stage.publish(*OLD)
            await stage.until(lambda: len(stage.handled) == len(OLD), LONG)
            status = b"NATS/1.0 409 Leadership Change\r\n\r\n"
            await stage.link.publish(f"{puller_of(consumer).inbox}.1", b"", headers=status)
            await stage.until(lambda: puller_of(consumer).unknown, LONG)
            replied.set()
            await stage.until(lambda: not puller_of(consumer).unknown, LONG)
            assert lookups  # after the interruption, and before anything is requested
            await stage.publish(*NEW)
            await stage.settled(seconds=LONG)

    assert Counter(stage.handled) == Counter(OLD + NEW)
    assert not noticed(consumer)
