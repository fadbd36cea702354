"""What a link promises to those who publish, listen and ask over it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import re
import tracemalloc
from typing import Any

import nats.errors
import pytest
from nats.aio.client import Client

from tests.running import DEADLINE, until
from tests.transport.inside import client_of, replies_awaited, takers_of
from tests.transport.links import Events, fill, linked, stock, take, to
from tests.transport.raw import Session, broker, frozen, hpub, pub, publisher
from xkeymsg.errors import (
    ConnectionFailedError,
    DeliveryError,
    MalformedError,
    PayloadTooLargeError,
)
from xkeymsg.testing import NATSServer
from xkeymsg.transport import link as link_module
from xkeymsg.transport import raw
from xkeymsg.transport.headers import encode_block
from xkeymsg.transport.lean_client import PENDING
from xkeymsg.transport.link import Link, open_link
from xkeymsg.transport.raw import Raw

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")


async def serve(session: Session) -> None:
    await session.welcome()
    await session.serve()


async def read_nothing(session: Session) -> None:
    await session.welcome()
    await asyncio.Event().wait()


# --- publishing ---------------------------------------------------------------------------------


async def test_a_message_arrives_as_it_was_sent(server: NATSServer) -> None:
    block = encode_block({"sender": "X", "a": "ö"})
    async with linked(server) as (link, _):
        subscription = await link.subscribe("a.>")
        await link.publish("a.ö", b"data", headers=block, reply="r.s")
        await link.publish("a.b", b"")
        await link.publish("a.c", b"", headers=block)
        messages = await take(subscription, 3)

    assert messages[0] == Raw("a.ö".encode(), b"r.s", block, b"data")
    assert (messages[0].subject_text, messages[0].reply_text) == ("a.ö", "r.s")
    assert messages[1:] == [Raw(b"a.b", b"", b"", b""), Raw(b"a.c", b"", block, b"")]


async def test_a_message_of_exactly_the_limit_is_taken_and_a_larger_one_is_not() -> None:
    block = encode_block({"a": "b"})
    with NATSServer("max_payload: 1000") as server:
        async with linked(server) as (link, events):
            subscription = await link.subscribe("a")
            await link.publish("a", bytes(1000 - len(block)), headers=block)
            with pytest.raises(PayloadTooLargeError) as caught:
                await link.publish("a", bytes(1001 - len(block)), headers=block)
            with pytest.raises(PayloadTooLargeError):
                await link.request("a", bytes(1001), timeout=DEADLINE)
            await link.confirm()
            await take(subscription, 1)
            assert not events.all
    assert (caught.value.size, caught.value.limit) == (1001, 1000)


@pytest.mark.parametrize(
    "subject",
    [
        *["", " ", "a b", "a\r\nPUB x 0", "a\tb", "a\x0bb", "a\x00", "a\x7f"],
        *[".", "a..b", "a.", ".a", "*", "a.*", ">", "a.>", "a\udcff", "a" * 2001],
    ],
)
async def test_what_is_no_subject_is_not_sent(subject: str) -> None:
    async with broker(serve) as server, linked(server.url) as (link, _):
        sent = len(server.sessions[0].received)
        with pytest.raises(MalformedError):
            await link.publish(subject, b"x")
        with pytest.raises(MalformedError):
            await link.request(subject, b"x", timeout=DEADLINE)
        if subject:
            with pytest.raises(MalformedError):
                await link.publish("a", b"x", reply=subject)
            with pytest.raises(MalformedError):
                await link.subscribe("a", queue=subject)
        await link.confirm()
        said = bytes(server.sessions[0].received[sent:])
    assert not re.search(rb"^(?:H?PUB|SUB (?!_INBOX))", said, re.MULTILINE)


@pytest.mark.parametrize("pattern", ["", "a b", ">.a", "a.>.b", "a..b", "a\r\n", "a*", "a\udcff"])
async def test_what_is_no_pattern_is_not_listened_on(pattern: str, server: NATSServer) -> None:
    async with linked(server) as (link, _):
        with pytest.raises(MalformedError):
            await link.subscribe(pattern)


async def test_text_in_the_place_of_bytes_is_a_type_error(server: NATSServer) -> None:
    async with linked(server) as (link, events):
        with pytest.raises(TypeError):
            await link.publish("a", "text")  # type: ignore[arg-type]
        await link.confirm()
        assert not events.all


async def test_publishing_waits_for_the_connection(server: NATSServer) -> None:
    async with linked(server) as (link, events):
        subscription = await link.subscribe("a")
        await asyncio.to_thread(server.kill)
        await events.wait("disconnected")
        sending = asyncio.create_task(fill(link, "a", 2000))
        done, _ = await asyncio.wait({sending}, timeout=0.1)
        assert not done

        server.start()
        await asyncio.wait_for(sending, DEADLINE)
        assert len(await take(subscription, 2000)) == 2000


async def test_the_stock_client_refuses_most_while_there_is_no_connection(
    server: NATSServer,
) -> None:
    async with stock(server.url, pending_size=1 << 16) as it:
        await asyncio.to_thread(server.kill)
        await asyncio.wait_for(it.lost.wait(), DEADLINE)
        taken = 0
        with contextlib.suppress(nats.errors.OutboundBufferLimitError):
            for _ in range(2000):
                await it.client.publish("a", bytes(100))
                taken += 1
    assert taken < 1000


async def test_publishing_gives_up_in_time_without_a_connection(server: NATSServer) -> None:
    async with linked(server, timeout=1.0) as (link, events):
        await asyncio.to_thread(server.kill)
        await events.wait("disconnected")
        with pytest.raises(DeliveryError, match=r"no connection to a server \(waited 1 s\)"):
            await link.publish("a", b"x")
        assert link.state == "reconnecting"


async def test_publishing_gives_up_in_time_when_the_server_does_not_read() -> None:
    async with broker(read_nothing) as server, linked(server.url, timeout=1.0) as (link, _):
        with pytest.raises(DeliveryError, match=r"the server reads nothing \(waited 1 s\)"):
            await _publish_for_ever(link)
        assert client_of(link).pending <= PENDING + (1 << 19)
        async with asyncio.timeout(DEADLINE):
            await link.drain(0.3)


async def test_the_stock_client_waits_without_end_when_the_server_does_not_read() -> None:
    async with broker(read_nothing) as server, stock(server.url) as it:
        publishing = asyncio.create_task(_publish_for_ever(it.client))
        done, _ = await asyncio.wait({publishing}, timeout=0.5)
        assert not done
        publishing.cancel()
        closing = asyncio.create_task(it.client.close())
        done, _ = await asyncio.wait({closing}, timeout=0.5)
        assert not done
        server.sessions[0].writer.transport.abort()
        await asyncio.wait({closing})
        publishing.cancel()
        await asyncio.wait({publishing})
        assert publishing.exception() is not None


async def test_confirm_tells_that_messages_were_lost_with_a_connection(server: NATSServer) -> None:
    async with linked(server) as (link, events):
        with frozen(server):
            for number in range(100):
                await link.publish("a", b"%d" % number)
            await asyncio.sleep(0)
            assert server.process is not None
            server.process.kill()
        await events.wait("disconnected")
        await asyncio.to_thread(server.restart)
        await events.wait("connected")
        with pytest.raises(DeliveryError):
            await link.confirm()
        await link.confirm()


async def test_a_connection_that_was_lost_while_nothing_was_under_way_is_no_loss(
    server: NATSServer,
) -> None:
    async with linked(server) as (link, events):
        await link.publish("a", b"x")
        await link.confirm()
        await asyncio.to_thread(server.restart)
        await events.wait("connected")
        await link.confirm()


async def test_the_stock_client_does_not_tell_that_messages_were_lost(server: NATSServer) -> None:
    async with stock(server.url) as it:
        with frozen(server):
            for number in range(100):
                await it.client.publish("a", b"%d" % number)
            await asyncio.sleep(0.01)
            assert server.process is not None
            server.process.kill()
        await asyncio.to_thread(server.restart)
        await asyncio.wait_for(it.back.wait(), DEADLINE)
        await it.client.flush()


GUARDED = """authorization { users: [ { user: ada, password: x,
  permissions: { publish: { deny: [closed, "closed.>"] },
                 subscribe: { deny: [closed, "closed.>"] } } } ] }"""


async def test_what_the_server_refuses_is_told_once_and_ends_nothing() -> None:
    with NATSServer(GUARDED) as server:
        async with linked(server, user="ada", password="x") as (link, events):
            await link.subscribe("closed")
            for _ in range(10):
                await link.publish("closed", b"x")
            with pytest.raises(DeliveryError, match="permissions violation for subscription"):
                await link.confirm()
            await link.publish("open", b"x")
            await link.confirm()
            assert len(events.of("error")) == 11
            assert not events.of("disconnected")


async def test_a_question_that_the_server_refuses_is_not_waited_for() -> None:
    with NATSServer(GUARDED) as server:
        async with linked(server, user="ada", password="x") as (link, _):
            async with asyncio.timeout(DEADLINE):
                with pytest.raises(DeliveryError, match="does not permit publishing on closed"):
                    await link.request("closed", b"x", timeout=DEADLINE)
                with pytest.raises(DeliveryError, match="nobody listens"):
                    await link.request("open", b"x", timeout=DEADLINE)


async def test_nor_is_one_whose_answer_the_server_lets_nobody_hear() -> None:
    mute = GUARDED.replace(
        'subscribe: { deny: [closed, "closed.>"] }', 'subscribe: { deny: "_INBOX.>" }'
    )
    assert mute != GUARDED
    with NATSServer(mute) as server:
        async with linked(server, user="ada", password="x") as (link, events):
            for _ in range(2):  # told while it waits, and known before
                async with asyncio.timeout(DEADLINE):
                    with pytest.raises(
                        DeliveryError, match=r"permit listening .* inbox for replies"
                    ):
                        await link.request("open", b"x", timeout=DEADLINE)
            server.config = GUARDED
            await asyncio.to_thread(server.restart)
            await events.wait("connected")
            with pytest.raises(DeliveryError, match="nobody listens"):
                await link.request("open", b"x", timeout=DEADLINE)


@pytest.mark.parametrize("known", [False, True], ids=["at once", "already told"])
async def test_a_refused_subscription_is_not_hidden_by_another_refusal(known: bool) -> None:
    with NATSServer(GUARDED) as server:
        async with linked(server, user="ada", password="x") as (link, events):
            await link.publish("closed.first", b"")
            if known:
                await events.wait("error")
            await link.subscribe("closed.second")
            await link.publish("closed.third", b"")
            with pytest.raises(DeliveryError) as caught:
                await link.confirm()
            for name in ("first", "second", "third"):
                assert f'"closed.{name}"' in str(caught.value)
            await link.confirm()


async def test_what_was_refused_is_told_to_all_who_wait_for_it() -> None:
    with NATSServer(GUARDED) as server:
        async with linked(server, user="ada", password="x") as (link, _):

            async def listen() -> None:
                await link.subscribe("closed.one")
                await link.confirm()

            async def publish() -> None:
                await link.publish("closed.two", b"")
                await link.confirm()

            both = await asyncio.gather(publish(), listen(), return_exceptions=True)
            assert all("closed.one" in str(error) for error in both)
            await link.confirm()


async def test_a_cancelled_confirmation_leaves_what_was_refused_to_the_next() -> None:
    with NATSServer(GUARDED) as server:
        async with linked(server, user="ada", password="x") as (link, events):
            await link.publish("closed", b"")
            await events.wait("error")
            confirming = asyncio.create_task(link.confirm())
            await asyncio.sleep(0)
            confirming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await confirming
            with pytest.raises(DeliveryError, match="closed"):
                await link.confirm()


async def test_any_number_of_refusals_costs_little() -> None:
    with NATSServer(GUARDED) as server:
        async with linked(server, user="ada", password="x") as (link, _):
            for number in range(1000):
                await link.publish(f"closed.{number}", b"")
            with pytest.raises(DeliveryError) as caught:
                await link.confirm()
            assert len(str(caught.value)) < 2000


# --- listening ----------------------------------------------------------------------------------


async def test_a_queue_shares_its_messages(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        shared = [await link.subscribe("a", queue="q") for _ in range(2)]
        alone = await link.subscribe("a")
        await fill(link, "a", 50)
        assert sum(each.pending for each in shared) == alone.pending == 50


async def test_several_tasks_may_take_from_one_subscription(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        subscription = await link.subscribe("a")
        taken: list[bytes] = []

        async def work() -> None:
            async for message in subscription:
                taken.append(message.data[:6])
                await asyncio.sleep(0)

        workers = [asyncio.create_task(work()) for _ in range(5)]
        await fill(link, "a", 200)
        await link.drain(DEADLINE)
        await asyncio.wait_for(asyncio.gather(*workers), DEADLINE)
    assert sorted(taken) == [b"%06d" % number for number in range(200)]


async def test_a_task_that_is_cancelled_has_taken_nothing(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        subscription = await link.subscribe("a")
        await link.confirm()
        for number in range(20):
            waiting = [asyncio.create_task(anext(subscription)) for _ in range(2)]
            await asyncio.sleep(0)
            if number % 2:
                subscription.deliver(b"a", b"", b"", b"%d" % number)
            waiting[0].cancel()
            if not number % 2:
                subscription.deliver(b"a", b"", b"", b"%d" % number)
            done = await asyncio.wait_for(waiting[1], DEADLINE)
            assert done.data == b"%d" % number
            with pytest.raises(asyncio.CancelledError):
                await waiting[0]
        assert not takers_of(subscription)


async def test_next_gives_up_in_time_and_loses_nothing(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        subscription = await link.subscribe("a")
        with pytest.raises(DeliveryError, match=r"no message within 0\.05 s"):
            await subscription.next(0.05)
        await link.publish("a", b"x")
        assert (await subscription.next(DEADLINE)).data == b"x"


async def test_no_more_comes_after_unsubscribing(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        subscription, other = await link.subscribe("a"), await link.subscribe("a")
        waiting = asyncio.create_task(anext(subscription))
        await asyncio.sleep(0)
        await subscription.unsubscribe()
        with pytest.raises(StopAsyncIteration):
            await waiting
        await link.publish("a", b"x")
        await take(other, 1)
        with pytest.raises(ConnectionFailedError):
            await subscription.next(1)
        assert [message async for message in subscription] == []
        await subscription.unsubscribe()
        await subscription.drain()


async def test_a_drained_subscription_gives_what_has_come(server: NATSServer) -> None:
    async with linked(server) as (link, _), publisher(server.url) as sender:
        subscription = await link.subscribe("a")
        await link.confirm()
        await sender.send(*[pub(b"a", b"%d" % number) for number in range(100)])
        await subscription.drain()
        await sender.send(pub(b"a", b"too late"))
        assert [each.data async for each in subscription] == [b"%d" % n for n in range(100)]


async def test_an_iteration_that_is_left_ends_nothing(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        subscription = await link.subscribe("a")
        await fill(link, "a", 3)
        async for message in subscription:
            assert message.data.startswith(b"000000")
            break
        gc.collect(1)
        assert len(await take(subscription, 2)) == 2


async def test_others_have_their_turn_while_messages_are_taken(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        subscription = await link.subscribe("a")
        await fill(link, "a", 1000)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        for _ in range(1000):
            await anext(subscription)
        counting.cancel()
        assert turns >= 10


# --- more than can be taken ---------------------------------------------------------------------


async def test_a_publisher_who_is_faster_for_a_while_loses_nothing(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "STALL", 10 * DEADLINE)
    async with linked(server) as (link, events), publisher(server.url) as sender:
        subscription = await link.subscribe("a", max_messages=100)
        await link.confirm()
        sending = asyncio.create_task(sender.send(*[pub(b"a", b"%d" % n) for n in range(5000)]))
        await until(lambda: subscription.pending == 100)
        for number in range(5000):
            assert (await subscription.next(DEADLINE)).data == b"%d" % number
            if not number % 50:
                await asyncio.sleep(0)
        await sending
        assert (subscription.dropped, link.dropped) == (0, 0)
        assert not events.all


async def test_the_stock_client_drops_at_once_and_tells_each_time(server: NATSServer) -> None:
    async with stock(server.url) as it:
        subscription = await it.client.subscribe("a", pending_msgs_limit=100)
        await it.client.flush()
        async with publisher(server.url) as sender:
            await sender.send(*[pub(b"a", b"%d" % number) for number in range(5000)])
        await it.client.flush()
        assert subscription.pending_msgs == 100
        assert len(it.told) == 4900


@pytest.mark.parametrize("bound", [{"max_messages": 100}, {"max_bytes": 100 * 1024}])
async def test_what_nobody_takes_is_dropped_counted_and_reported(
    bound: dict[str, Any], server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "STALL", 0.1)
    monkeypatch.setattr(link_module, "REPORTS", DEADLINE)
    async with linked(server) as (link, events):
        subscription, other = await link.subscribe("a", **bound), await link.subscribe("b")
        await link.confirm()
        async with publisher(server.url) as sender:
            await sender.send(*[pub(b"a", bytes(1024))] * 5000, pub(b"b", b"x"))
        assert (await other.next(DEADLINE)).data == b"x"

        assert (subscription.pending, subscription.dropped, link.dropped) == (100, 4900, 4900)
        [slow] = events.all
        assert (slow.kind, slow.subject, slow.dropped) == ("slow", "a", 1)
        assert len(await take(subscription, 100)) == 100
        await link.publish("a", b"x")
        assert (await subscription.next(DEADLINE)).data == b"x"


async def test_a_flood_that_nobody_takes_costs_no_memory(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "STALL", 0.01)
    frames = pub(b"a", bytes(10_000)) * 100
    async with linked(server) as (link, _), publisher(server.url) as sender:
        subscription = await link.subscribe("a", max_bytes=1 << 20)
        await link.confirm()
        tracemalloc.start()
        for _ in range(20):
            await sender.send(frames)
        await link.confirm()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert subscription.pending + subscription.dropped == 2000
    assert most < 6 << 20


async def test_one_message_may_be_larger_than_the_bound(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        subscription = await link.subscribe("a", max_bytes=10)
        await link.publish("a", bytes(1000))
        assert len((await subscription.next(DEADLINE)).data) == 1000


async def test_a_handler_that_asks_over_the_connection_that_waits_for_it_gets_its_answer(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "STALL", 10 * DEADLINE)
    async with linked(server) as (link, _), linked(server) as (responder, _):
        subscription = await link.subscribe("a", max_messages=10)
        questions = await responder.subscribe("q")
        await link.confirm()
        await responder.confirm()

        async def respond() -> None:
            async for question in questions:
                await responder.publish(question.reply_text, question.data)

        responding = asyncio.create_task(respond())
        async with publisher(server.url) as sender:
            await sender.send(pub(b"a", bytes(1000)) * 5000)
        for _ in range(10):
            message = await subscription.next(DEADLINE)
            await link.request("q", message.data, timeout=DEADLINE)
            await link.confirm()
        await responder.drain(DEADLINE)
        await responding


async def test_unsubscribing_ends_a_wait_for_room(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "STALL", 10 * DEADLINE)
    async with linked(server) as (link, events):
        subscription, other = await link.subscribe("a", max_messages=1), await link.subscribe("b")
        await link.confirm()
        async with publisher(server.url) as sender:
            await sender.send(*[pub(b"a")] * 10, pub(b"b"))
        await until(lambda: subscription.pending)
        await subscription.unsubscribe()
        await take(other, 1)
        assert not events.all


# --- asking -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def echo(link: Link) -> Any:
    """Answer on `echo`."""
    questions = await link.subscribe("echo")

    async def respond() -> None:
        async for question in questions:
            await link.publish(question.reply_text, question.data, headers=question.headers)

    task = asyncio.create_task(respond())
    await link.confirm()
    try:
        yield
    finally:
        await questions.unsubscribe()
        await task


async def test_each_question_gets_its_own_answer(server: NATSServer) -> None:
    block = encode_block({"a": "b"})
    async with linked(server) as (link, _), echo(link):
        answers = await asyncio.gather(
            *(link.request("echo", b"%d" % n, headers=block, timeout=DEADLINE) for n in range(100))
        )
    assert [answer.data for answer in answers] == [b"%d" % number for number in range(100)]
    assert {answer.headers for answer in answers} == {block}


async def test_nobody_to_answer_is_told_at_once(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        with pytest.raises(DeliveryError, match="nobody listens"):
            await link.request("nobody", b"x", timeout=DEADLINE)


async def test_no_answer_is_told_in_time_and_a_late_one_does_no_harm(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        questions = await link.subscribe("slow")
        with pytest.raises(DeliveryError, match=r"no answer within 0\.05 s"):
            await link.request("slow", b"x", timeout=0.05)
        await link.publish((await anext(questions)).reply_text, b"late")
        async with echo(link):
            assert (await link.request("echo", b"x", timeout=DEADLINE)).data == b"x"
        assert not replies_awaited(link)


async def test_a_cancelled_question_leaves_nothing(server: NATSServer) -> None:
    async with linked(server) as (link, _):
        await link.subscribe("slow")
        asking = asyncio.create_task(link.request("slow", b"x", timeout=DEADLINE))
        await asyncio.sleep(0.02)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not replies_awaited(link)
        assert not link.is_asking()
        await link.confirm()


async def test_a_question_outlives_a_connection(server: NATSServer) -> None:
    async with linked(server) as (link, events):
        await asyncio.to_thread(server.kill)
        await events.wait("disconnected")
        async with linked_later(server, link):
            assert (await link.request("echo", b"x", timeout=DEADLINE)).data == b"x"


@contextlib.asynccontextmanager
async def linked_later(server: NATSServer, link: Link) -> Any:
    """Answer on `echo`, from when the server is there again."""
    questions = await link.subscribe("echo")

    async def respond() -> None:
        question = await anext(questions)
        await link.publish(question.reply_text, question.data)

    task = asyncio.create_task(respond())
    server.start()
    yield
    await task


async def test_inboxes_cannot_be_guessed_and_have_the_prefix_that_was_asked_for(
    server: NATSServer,
) -> None:
    async with linked(server, inbox_prefix="_ADA.b") as (link, _):
        inboxes = {link.new_inbox() for _ in range(100)}
        questions = await link.subscribe("q")
        asking = asyncio.create_task(link.request("q", b"x", timeout=DEADLINE))
        replies = [(await questions.next(DEADLINE)).reply_text]
        await link.publish(replies[0], b"")
        await asking
    assert len(inboxes) == 100
    for inbox in inboxes:
        token = inbox.removeprefix("_ADA.b.")
        assert len(base64.urlsafe_b64decode(token + "==")) == 16
    prefix, inbox, token = replies[0].rsplit(".", 2)
    assert (prefix, len(inbox), len(token)) == ("_ADA.b", 22, 22)


@pytest.mark.parametrize(
    "frame",
    [
        hpub(b"%b", b"NATS/1.0 503\r\n\r\n", b"with a payload it is an answer"),
        hpub(b"%b", b"NATS/1.0 \xff\xff\xff\r\n\r\n"),
        hpub(b"%b", b"NATS/1.0"),
        hpub(b"%b", b"NATS/1.0\r\nStatus: 503\r\n\r\n"),
        pub(b"%b", reply=b"\xff"),
    ],
)
async def test_a_hostile_answer_is_an_answer(frame: bytes, server: NATSServer) -> None:
    async with linked(server) as (link, events), publisher(server.url) as responder:
        await responder.subscribe(b"q")
        asking = asyncio.create_task(link.request("q", b"x", timeout=DEADLINE))
        await responder.send(frame.replace(b"%b", await responder.request()))
        await asking
        await link.confirm()
        assert not events.all


async def test_a_program_may_say_that_it_waits_for_an_answer(
    server: NATSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw, "STALL", 10 * DEADLINE)
    async with linked(server) as (link, _):
        full, acks = await link.subscribe("a", max_messages=1), await link.subscribe("acks")
        await link.confirm()
        async with publisher(server.url) as sender:
            await sender.send(*[pub(b"a")] * 100, pub(b"acks", b"ack"))
        with link.asking():
            assert link.is_asking()
            assert (await acks.next(DEADLINE)).data == b"ack"
        assert not link.is_asking()
        assert full.pending == 1


# --- the end ------------------------------------------------------------------------------------


async def test_draining_lets_what_came_be_taken_and_what_was_sent_arrive(
    server: NATSServer,
) -> None:
    async with linked(server) as (other, _):
        results = await other.subscribe("done")
        await other.confirm()
        async with linked(server) as (link, _):
            subscription = await link.subscribe("a")

            async def work() -> None:
                async for message in subscription:
                    await link.publish("done", message.data)
                    await asyncio.sleep(0)

            working = asyncio.create_task(work())
            await link.confirm()
            await fill(other, "a", 500)
            await subscription.drain()
            await asyncio.wait_for(working, DEADLINE)
            await link.drain(DEADLINE)
            assert link.state == "closed"
        assert len(await take(results, 500)) == 500


async def test_draining_while_there_is_no_connection_is_no_error(server: NATSServer) -> None:
    async with linked(server) as (link, events):
        subscription = await link.subscribe("a")
        await fill(link, "a", 3)
        await asyncio.to_thread(server.kill)
        await events.wait("disconnected")
        draining = asyncio.create_task(link.drain(10 * DEADLINE))
        assert len([message async for message in subscription]) == 3
        await asyncio.wait_for(draining, DEADLINE)
        assert link.state == "closed"


async def test_the_stock_client_cannot_drain_while_there_is_no_connection(
    server: NATSServer,
) -> None:
    async with stock(server.url) as it:
        await asyncio.to_thread(server.kill)
        await asyncio.wait_for(it.lost.wait(), DEADLINE)
        with pytest.raises(nats.errors.ConnectionReconnectingError):
            await it.client.drain()


@pytest.mark.parametrize("state", ["connected", "frozen", "untaken"])
async def test_draining_takes_no_longer_than_it_may(state: str, server: NATSServer) -> None:
    async with linked(server) as (link, _), contextlib.AsyncExitStack() as stack:
        await link.subscribe("a")
        if state == "untaken":
            await fill(link, "a", 3)
        if state == "frozen":
            stack.enter_context(frozen(server))
            await link.publish("a", b"x")
        async with asyncio.timeout(DEADLINE):
            await link.drain(0.3)
        assert link.state == "closed"
        await link.drain(0.1)


async def test_a_link_that_is_closed_says_so_everywhere(server: NATSServer) -> None:
    async with linked(server) as (link, events):
        subscription = await link.subscribe("a")
    assert link.state == "closed"
    assert [message async for message in subscription] == []
    for attempt in (
        link.publish("a", b"x"),
        link.request("a", b"x", timeout=DEADLINE),
        link.subscribe("a"),
        link.confirm(),
        subscription.next(1),
    ):
        with pytest.raises(ConnectionFailedError):
            await attempt
    assert not events.all


async def test_closing_ends_those_who_wait() -> None:
    async with broker(read_nothing) as server:
        async with linked(server.url) as (link, _):
            subscription = await link.subscribe("a")
            waiting = [
                asyncio.create_task(subscription.next(DEADLINE)),
                asyncio.create_task(link.request("a", b"x", timeout=DEADLINE)),
                asyncio.create_task(_publish_for_ever(link)),
            ]
            await asyncio.sleep(0.1)
            await link.drain(0.1)
        done, _ = await asyncio.wait(waiting, timeout=DEADLINE)
        assert len(done) == 3
        for task in done:
            assert isinstance(task.exception(), ConnectionFailedError)


async def _publish_for_ever(client: Link | Client) -> None:
    while True:
        await client.publish("b", bytes(1 << 18))


async def test_what_was_published_in_the_block_arrives(server: NATSServer) -> None:
    async with linked(server) as (receiver, _):
        subscription = await receiver.subscribe("a")
        await receiver.confirm()
        async with linked(server) as (link, _):
            for number in range(1000):
                await link.publish("a", b"%d" % number)
        messages = await take(subscription, 1000)
    assert [each.data for each in messages] == [b"%d" % number for number in range(1000)]


async def test_a_block_is_left_in_time_when_the_server_does_not_read() -> None:
    async with broker(read_nothing) as server:
        async with asyncio.timeout(DEADLINE), linked(server.url) as (link, _):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await _publish_for_ever(link)


@pytest.mark.parametrize("wait", ["publish", "confirm", "request", "next", "drain"])
async def test_cancelling_leaves_a_link_that_can_be_used(wait: str, server: NATSServer) -> None:
    async with linked(server) as (link, events):
        subscription = await link.subscribe("a")
        await link.confirm()
        with frozen(server):
            calls: dict[str, Any] = {
                "publish": lambda: _publish_for_ever(link),
                "confirm": link.confirm,
                "request": lambda: link.request("b", b"x", timeout=DEADLINE),
                "next": lambda: subscription.next(DEADLINE),
                "drain": subscription.drain,
            }
            task = asyncio.create_task(calls[wait]())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        other = await link.subscribe("c")
        await link.publish("c", b"x")
        await link.confirm()
        assert (await other.next(DEADLINE)).data == b"x"
        assert not link.is_asking()
        assert not events.all


async def test_cancelling_the_first_connection_leaves_nothing() -> None:
    async def say_nothing(session: Session) -> None:
        await session.listen()

    async def open_and_wait() -> None:
        async with open_link(to(server.url), Events()):
            raise AssertionError

    async with broker(say_nothing) as server:
        opening = asyncio.create_task(open_and_wait())
        await until(lambda: server.sessions)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await server.session()


async def test_closing_while_another_connection_is_made_leaves_nothing(
    server: NATSServer,
) -> None:
    async def say_nothing(session: Session) -> None:
        await session.listen()

    async with broker(Session.welcome, say_nothing) as scripted:
        async with linked(scripted.url) as (link, events):
            await events.wait("disconnected")
            while len(scripted.sessions) < 2:  # noqa: ASYNC110 - a list
                await asyncio.sleep(0.01)
        assert link.state == "closed"
        await scripted.session(1)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xkeymsg.transport.keeper.FIRST_PAUSE", 0.02)
    monkeypatch.setattr("xkeymsg.transport.keeper.LONGEST_PAUSE", 0.1)
