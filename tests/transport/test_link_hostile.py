"""What anybody who may publish can do to a link: nothing, on the lean path either."""

from __future__ import annotations

import asyncio

import pytest

from tests.running import DEADLINE
from tests.transport.inside import subscriptions_of
from tests.transport.links import linked, take
from tests.transport.raw import hpub, pub, publisher
from tests.transport.test_hostile_publishers import CASES, Case
from xkeymsg.errors import MalformedError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.headers import parse_block, parse_status

pytestmark = pytest.mark.usefixtures("nothing_is_left_behind")

HONEST = pub(b"h.honest", b"honest")


async def test_each_hostile_message_arrives_as_it_is_and_the_honest_ones_too(
    server: NATSServer,
) -> None:
    async with linked(server) as (link, events), publisher(server.url) as sender:
        subscription, other = await link.subscribe("h.>"), await link.subscribe("private")
        assert subscriptions_of(link) == [b"2", b"3"]  # at which some aim
        await link.confirm()
        for case in CASES:
            await sender.send(case.frame, HONEST)
            hostile, honest = await take(subscription, 2)

            assert hostile == (case.subject, case.reply, case.headers or b"", case.payload)
            assert hostile.subject_text.encode("utf-8", "surrogateescape") == case.subject
            assert hostile.reply_text.encode("utf-8", "surrogateescape") == case.reply
            assert honest.data == b"honest"
            parse_block(hostile.headers)
            parse_status(hostile.headers)
        assert not other.pending
        assert not events.all


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_no_answer_to_a_hostile_message_costs_the_connection(
    case: Case, server: NATSServer
) -> None:
    async with linked(server) as (link, events):
        try:
            await link.publish("a", b"x", reply=case.reply.decode("utf-8", "surrogateescape"))
            await link.publish(case.subject.decode("utf-8", "surrogateescape"), b"x")
        except MalformedError:
            pass
        await link.confirm()
        assert not events.all


async def test_the_longest_reply_that_a_publisher_may_name_does_not_cost_the_connection(
    server: NATSServer,
) -> None:
    """The line that answers would be longer than the one that asked, which the server just took."""
    async with linked(server) as (link, events), publisher(server.url) as sender:
        subscription = await link.subscribe("a")
        await link.confirm()
        await sender.send(pub(b"a", b"", b"r" * 4080))
        message = await subscription.next(DEADLINE)
        assert len(message.reply) == 4080
        with pytest.raises(MalformedError):
            await link.publish(message.reply_text, bytes(1000))
        await link.confirm()
        assert not events.all


async def test_strange_tokens_on_the_inbox_disturb_no_request(server: NATSServer) -> None:
    async with linked(server) as (link, events), publisher(server.url) as responder:
        await responder.subscribe(b"q")
        asking = asyncio.create_task(link.request("q", b"x", timeout=DEADLINE))
        inbox = await responder.request()
        prefix = inbox.rpartition(b".")[0]
        for token in (b"\xff", b"*", b">", b"\x0b2", b"x" * 1000, inbox[-22:-1]):
            await responder.send(pub(prefix + b"." + token, b"not this"))
        assert not asking.done()
        await responder.send(pub(inbox, b"this"), pub(inbox, b"too late"))
        assert (await asking).data == b"this"
        await link.confirm()
        assert not events.all


async def test_a_status_of_the_server_is_not_taken_for_one_where_it_comes_from_anybody(
    server: NATSServer,
) -> None:
    async with linked(server) as (link, events), publisher(server.url) as sender:
        subscription = await link.subscribe("a")
        await link.confirm()
        frames = [
            hpub(b"a", b"NATS/1.0 %d x\r\nNats-Consumer-Stalled: b\r\n\r\n" % code)
            for code in (100, 404, 408, 409, 503)
        ]
        await sender.send(*frames)
        messages = await take(subscription, 5)
        statuses = [parse_status(message.headers) for message in messages]
        assert [status.code for status in statuses if status] == [100, 404, 408, 409, 503]
        assert not events.all
