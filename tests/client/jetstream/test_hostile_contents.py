"""Nothing that a message, its handler or a broker does ends a consumer, or answers for another."""

from __future__ import annotations

import asyncio

import pytest

from tests.client.jetstream.conftest import ALICE, BOB, EVE, Stage
from tests.client.jetstream.inside import inbox_of, note_cleanups
from xkeymsg.client.jetstream.acks import term
from xkeymsg.client.jetstream.events import Reject
from xkeymsg.client.jetstream.failures import FailurePolicy, Failures
from xkeymsg.envelope.admission import Admission
from xkeymsg.envelope.message import Message
from xkeymsg.errors import SenderNotAdmittedError
from xkeymsg.keys import XKey
from xkeymsg.sealer import Sealer

HASTY = FailurePolicy(deliveries=2, backoff=0.02)


@pytest.mark.parametrize(
    "reason",
    ["\ud800", "a\r\nb\0", "x" * 2_000_000, "", 7],
    ids=["a surrogate", "lines", "too long", "nothing", "no text"],
)
async def test_whatever_a_handler_says_of_a_message_the_next_one_is_handled(
    stage: Stage, reason: object
) -> None:
    # As JSON in the message can have it: '{"kind": "\ud800"}'.
    async def handle(message: Message) -> None:
        if message.data == b"bad":
            raise Reject(reason)  # type: ignore[arg-type]
        await stage.handle(message)

    await stage.publish(b"bad", b"good")
    async with stage.consumer(handle) as consumer:
        await stage.until(lambda: stage.handled == [b"good"])
        await stage.settled()
        assert consumer.counts["rejected"] == 1


def test_a_reason_is_one_short_line_in_ascii() -> None:
    assert term("field_denied") == b"+TERM field_denied"
    assert term("a\r\n\ud800\0é") == b"+TERM a?????"
    assert len(term("x" * 1000)) < 250


class Panic(BaseException):
    """As extension modules raise it, which is no Exception."""


@pytest.mark.parametrize("error", [SystemExit(3), Panic(), GeneratorExit()], ids=repr)
async def test_a_handler_that_wants_to_end_the_program_fails(
    stage: Stage, error: BaseException
) -> None:
    async def handle(message: Message) -> None:
        if message.data == b"bad":
            raise error
        await stage.handle(message)

    await stage.publish(b"bad", b"good")
    async with stage.consumer(handle, policy=HASTY):
        await stage.until(lambda: stage.handled == [b"good"])
        await stage.until(lambda: stage.kinds("quarantined") == ["handler"])


@pytest.mark.parametrize("name", [b"\xff", b"\xc3("])
async def test_a_reply_that_cannot_be_answered_does_not_end_consuming(
    stage: Stage, name: bytes
) -> None:
    forged = b"$JS.ACK.%b.account.S.d.1.99.99.1760000000000000000.0.x" % name
    async with stage.consumer() as consumer:
        await stage.publish(b"one")
        await stage.until(lambda: stage.handled == [b"one"])
        subscription = inbox_of(stage.link, consumer)
        subscription.deliver(b"h.a", forged, b"", b"garbage")
        await stage.until(lambda: consumer.counts["refused.malformed"])
        await stage.publish(b"two")
        await stage.until(lambda: stage.handled == [b"one", b"two"])


async def test_a_stream_that_is_made_anew_does_not_have_its_messages_answered_by_old_handlers(
    stage: Stage,
) -> None:
    goes_on = asyncio.Event()

    async def handle(message: Message) -> None:
        if message.data == b"old":
            await goes_on.wait()
        await stage.handle(message)

    await stage.publish(b"old")
    async with stage.consumer(handle, workers=2) as consumer:
        await stage.until(lambda: consumer.held)
        await stage.api.request("STREAM.DELETE.S")
        await stage.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["h.>"]})
        body = {"name": "d", "durable_name": "d", "ack_policy": "explicit", "max_deliver": -1}
        await stage.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": body})
        await stage.publish(b"new")
        await stage.until(lambda: stage.handled == [b"new"])
        goes_on.set()
        await stage.until(lambda: stage.handled == [b"new", b"old"])
        await stage.settled()
        assert consumer.held == 0


async def test_a_failure_while_stopping_lets_nothing_overtake_it(stage: Stage) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def handle(message: Message) -> None:
        if message.data == b"1":
            begun.set()
            await goes_on.wait()
            raise ValueError
        await stage.handle(message)

    await stage.publish(b"1", b"2", b"3")
    async with stage.consumer(handle, ordered=True, stop_timeout=0.5) as consumer:
        await stage.until(lambda: begun.is_set() and consumer.held == 3)
        consumer.stop()
        goes_on.set()
        await consumer.wait()
    assert stage.handled == []
    async with stage.consumer(ordered=True):
        await stage.until(lambda: len(stage.handled) == 3)
    assert stage.handled == [b"1", b"2", b"3"]


async def test_stopping_keeps_what_the_server_would_not_deliver_again(stage: Stage) -> None:
    body = {"name": "d", "durable_name": "d", "ack_policy": "explicit", "max_deliver": 1}
    await stage.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": body})
    await stage.publish(b"last")

    async def handle(_: Message) -> None:
        await asyncio.sleep(60)

    async with stage.consumer(handle, stop_timeout=0.1) as consumer:
        await stage.until(lambda: consumer.held)
    assert stage.kinds("quarantined") == ["handler"]
    assert await stage.messages("XKM_PROVEN") == 1


def test_refusing_costs_the_same_however_many_wait_for_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge = Failures(FailurePolicy(), max_ack_pending=100_000, max_deliver=0)
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    note_cleanups(monkeypatch, judge, look)
    for sequence in range(20_000):
        judge.refused(SenderNotAdmittedError("x"), sequence, 1, sequence / 10_000)
    assert judge.waiting == 5000
    assert looks <= 2


class Careless:
    """Trust that looks somebody up as `next(…)` does: it raises what ends iterations."""

    def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
        return next(Admission() for known in [ALICE.public] if known == sender)


@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "in a thread"])
async def test_trust_that_raises_what_no_future_takes_does_not_hang_a_consumer(
    stage: Stage, size: int
) -> None:
    await stage.send(Sealer(EVE).seal(bytes(size), to=[BOB.public], subject="h.a"))
    await stage.publish(b"good")
    async with stage.consumer(senders=Careless(), policy=HASTY) as consumer:
        await stage.until(lambda: stage.handled == [b"good"])
        await stage.until(lambda: stage.kinds("quarantined") == ["error"])
        assert consumer.counts["refused.error"] == 2
