"""What strangers, malicious senders and failing handlers do to a consumer: they do not stop it."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from tests.client.jetstream.conftest import ALICE, BOB, EVE, QUICK, Stage, on_stage
from tests.client.jetstream.inside import inbox_of, puller_of
from tests.envelope.inside import seal_at
from tests.running import DEADLINE
from tests.transport.raw import publisher
from tests.transport.test_hostile_publishers import CASES
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.events import Reject
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.quarantine import create_quarantine
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord, parse_record
from xkeymsg.envelope.admission import Admission
from xkeymsg.envelope.message import Message
from xkeymsg.errors import SenderRevokedError
from xkeymsg.keys import XKey
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer

IMPATIENT = FailurePolicy(backoff=0.02, key_delay=0.1, patience=0)
SECRET = b"4 8 15 16 23 42"


async def records(stage: Stage, stream: str) -> list[QuarantineRecord]:
    found, sequence = [], 1
    while (stored := await stage.api.next_message(stream, sequence, f"{stream}.>")) is not None:
        found.append(parse_record(stored).record)
        sequence = stored.sequence + 1
    return found


async def raising(message: Message) -> None:
    raise ValueError(message.data)


async def test_a_handler_may_end_a_message_and_nothing_is_kept_of_it(stage: Stage) -> None:
    advisories = await stage.link.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.d")

    async def handle(message: Message) -> None:
        if message.data == SECRET:
            raise Reject("field_denied")
        await stage.handle(message)

    await stage.publish(SECRET, b"another")
    async with stage.consumer(handle) as consumer:
        assert b'"reason":"field_denied"' in (await advisories.next(DEADLINE)).data
        await stage.settled()
        assert consumer.counts["rejected"] == consumer.counts["handled"] == 1
    assert stage.handled == [b"another"]
    assert stage.kinds("rejected") == ["field_denied"]
    assert await stage.messages("XKM_PROVEN") == await stage.messages("XKM_UNPROVEN") == 0
    assert await stage.messages("S") == 2


async def test_every_poison_passes_and_the_honest_messages_behind_it_are_handled(
    stage: Stage, jetstream_server: NATSServer
) -> None:
    async with publisher(jetstream_server.url) as hostile:
        for number, case in enumerate(CASES):
            await hostile.send(case.frame)
            await stage.publish(b"%d" % number)
    async with stage.consumer():
        await stage.until(lambda: len(stage.handled) == len(CASES))
        await stage.settled()
        await stage.until(lambda: len(stage.kinds("quarantined")) == len(CASES))

    # Several are stored at the same time: their records have no order, but the place of each.
    kept = sorted(await records(stage, "XKM_UNPROVEN"), key=lambda record: record.sequence)
    # To the byte: what was in the stream, its subject and its place.
    assert [record.data for record in kept] == [case.payload for case in CASES]
    assert [record.subject for record in kept] == [case.subject for case in CASES]
    assert [record.sequence for record in kept] == list(range(1, 2 * len(CASES), 2))
    assert {record.reason for record in kept} == {"undecryptable"}
    assert await stage.messages("XKM_PROVEN") == 0


@pytest.mark.parametrize("quarantine", [True, False], ids=["kept", "no quarantine"])
@pytest.mark.parametrize("kind", ["garbage", "a stranger's", "for somebody else"])
async def test_no_honest_message_waits_until_a_flood_has_its_keys(
    jetstream_server: NATSServer, quarantine: bool, kind: str
) -> None:
    async with on_stage(jetstream_server, quarantine=quarantine) as stage:
        stranger = Sealer(EVE)
        flood = []
        for _ in range(1500):
            match kind:
                case "garbage":
                    flood.append(b"xkm1 or something like it")
                case "a stranger's":
                    flood.append(stranger.seal(b"", to=[BOB.public], subject="h.a"))
                case _:
                    flood.append(stage.seal(b"", to=EVE))
        policy = FailurePolicy(key_delay=10 * DEADLINE, patience=100 * DEADLINE)
        async with stage.consumer(policy=policy) as consumer:
            await stage.publish(b"before")
            await stage.until(lambda: stage.handled)
            for each in flood:
                await stage.link.publish("h.a", each)
            await stage.link.publish("h.a", stage.seal(b"honest"))
            await stage.link.confirm()
            await stage.until(lambda: b"honest" in stage.handled)
            counts = consumer.counts
            await stage.until(lambda: counts["quarantined"] + counts["lost"] >= 1450)
            async with asyncio.timeout(DEADLINE):
                while True:
                    pending, left = await stage.pending()
                    if pending <= 50 and not left:  # 5 % of what may be pending wait for a key
                        break
            if quarantine:
                assert not counts["lost"]
            else:
                assert not counts["quarantined"]


async def test_a_handler_that_fails_gets_its_tries_and_then_the_message_is_kept(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await stage.publish(SECRET)
    async with stage.consumer(raising):
        await stage.until(lambda: stage.kinds("quarantined"))
        await stage.settled()

    assert stage.kinds("retry") == ["handler"] * (QUICK.deliveries - 1)
    [record] = await records(stage, "XKM_PROVEN")
    original = await stage.api.message("S", 1)
    assert record.data == original.data
    assert record == QuarantineRecord(
        "S", "d", 1, original.stored_ms, b"h.a", "handler", b"", original.data
    )
    assert SECRET not in record.data
    assert SECRET.decode() not in caplog.text


async def test_what_an_admitted_sender_seals_for_another_subject_is_proven(stage: Stage) -> None:
    await stage.send(stage.seal(b"x", "elsewhere"))
    async with stage.consumer() as consumer:
        await stage.until(lambda: stage.kinds("quarantined"))

    assert consumer.counts["refused.subject_mismatch"] == 1
    [record] = await records(stage, "XKM_PROVEN")
    assert record.reason == "refused"  # and not the code: that is for the local log
    assert stage.kinds("quarantined") == ["subject_mismatch"]


async def test_a_termination_says_outside_words_only(stage: Stage) -> None:
    advisories = await stage.link.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>")
    await stage.send(b"garbage")
    await stage.send(stage.seal(b"x", "elsewhere"))
    await stage.publish(b"fails")
    said = []
    async with stage.consumer(raising):
        for _ in range(3):
            raw = await advisories.next(DEADLINE)
            said.append(raw.data)

    assert all(b'"reason":"undecryptable"' in d or b'"reason":"refused"' in d for d in said)
    assert sum(b'"reason":"refused"' in d for d in said) == 2
    assert not any(b"subject_mismatch" in d or b"handler" in d for d in said)


async def test_a_replay_is_acknowledged_dropped_and_counted(stage: Stage) -> None:
    envelope = stage.seal(b"pay 100")
    for _ in range(3):
        await stage.send(envelope)
    async with stage.consumer():
        await stage.until(lambda: len(stage.kinds("drop")) == 2)
        await stage.settled()

    assert stage.handled == [b"pay 100"]
    assert stage.kinds("drop") == ["replay", "replay"]
    assert await stage.messages("XKM_PROVEN") == await stage.messages("XKM_UNPROVEN") == 0


async def test_a_replay_waits_while_the_first_is_pending(stage: Stage) -> None:
    go = asyncio.Event()

    async def handle(message: Message) -> None:
        await go.wait()
        await stage.handle(message)

    envelope = stage.seal(b"pay 100")
    await stage.send(envelope)
    await stage.send(envelope)
    async with stage.consumer(handle, workers=2):
        await stage.until(lambda: stage.kinds("retry"))
        assert await stage.pending() == (2, 0)
        go.set()
        await stage.until(lambda: stage.kinds("drop"))
        await stage.settled()

    assert stage.handled == [b"pay 100"]
    assert await stage.messages("XKM_PROVEN") == 0


async def test_copies_of_a_message_that_is_handled_slowly_do_not_stop_consuming(
    stage: Stage,
) -> None:
    """Whoever captures it can publish any number: they must not fill what stops us when full."""
    gate = asyncio.Event()

    async def wait(message: Message) -> None:
        await gate.wait()
        await stage.handle(message)

    sealed = stage.seal(b"slow")
    async with stage.consumer(wait, create=DurableOptions(max_ack_pending=100)):
        await stage.send(sealed)
        for _ in range(50):
            await stage.send(sealed)
        async with asyncio.timeout(DEADLINE):
            while await stage.messages("XKM_UNPROVEN") < 40:  # noqa: ASYNC110 - the server's
                await asyncio.sleep(0.02)
        gate.set()
        await stage.settled()
    assert stage.handled == [b"slow"]
    assert await stage.messages("XKM_PROVEN") == 0


async def test_a_forged_position_is_no_licence_to_replay(stage: Stage) -> None:
    # E-80: where it stands in the stream is what the delivery says, whatever its headers claim.
    envelope = stage.seal(b"pay 100")
    await stage.send(envelope)
    forged = {
        "Xkm-Stream": "S",
        "Xkm-Consumer": "d",
        "Xkm-Sequence": "1",
        "Xkm-Stored": str(time.time_ns() // 1_000_000),
        "Xkm-Reason": "refused",
        "Nats-Stream": "S",
        "Nats-Sequence": "1",
        "Nats-Time-Stamp": "2020-01-01T00:00:00Z",
    }
    old = seal_at(Sealer(ALICE), time.time_ns() - 3600 * 10**9, b"old", BOB.public, "h.a")
    long_ago = time.time_ns() // 1_000_000 - 3_600_000
    await stage.send(envelope, headers=forged)
    await stage.send(old, headers=forged | {"Xkm-Stored": str(long_ago)})
    async with stage.consumer():
        await stage.until(lambda: stage.kinds("drop") and stage.kinds("quarantined"))
        await stage.settled()

    assert stage.handled == [b"pay 100"]
    assert stage.kinds("quarantined") == ["stale"]


async def test_what_is_sent_to_the_inbox_is_no_message_of_the_stream(stage: Stage) -> None:
    await stage.publish(b"honest")
    consumer = stage.consumer()
    async with consumer:
        await stage.until(lambda: stage.handled)
        reply = f"$JS.ACK.S.d.1.7.7.{time.time_ns()}.0"
        inbox = f"{puller_of(consumer).inbox}.1"
        await stage.link.publish(inbox, stage.seal(b"injected"), reply=reply)
        await stage.link.publish("h.b", stage.seal(b"next", "h.b"))
        await stage.until(lambda: b"next" in stage.handled)

    assert stage.handled == [b"honest", b"next"]


@pytest.mark.parametrize("ack_sync", [False, True])
async def test_a_place_to_answer_that_no_server_names_ends_nothing(
    stage: Stage, ack_sync: bool
) -> None:
    """A broker may write what it likes there: it is answered as it is, or the loss is reported."""
    consumer = stage.consumer(ack_sync=ack_sync)
    await stage.publish(b"honest")
    async with consumer:
        await stage.until(lambda: stage.handled)
        subscription = inbox_of(stage.link, consumer)
        reply = b"$JS.ACK.\xff.a.S.d.1.7.7.%d.0.x" % time.time_ns()
        subscription.deliver(b"h.b", reply, b"", stage.seal(b"odd", "h.b"))
        lost = ["malformed"] if ack_sync else []
        await stage.until(lambda: stage.kinds("delivery") == lost)
        await stage.publish(b"next")
        await stage.until(lambda: b"next" in stage.handled)

    assert stage.handled == [b"honest", b"odd", b"next"]
    assert stage.kinds("delivery") == lost


class Directory:
    """Trust that learns of ALICE late."""

    def __init__(self) -> None:
        self.known = False

    def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
        return Admission() if self.known and sender == ALICE.public else None


async def test_a_message_whose_sender_becomes_known_is_handled(stage: Stage) -> None:
    directory = Directory()
    await stage.publish(b"early")
    async with stage.consumer(senders=directory):
        await stage.until(lambda: stage.kinds("retry"))
        directory.known = True
        await stage.until(lambda: stage.handled)
        await stage.settled()

    assert set(stage.kinds("retry")) == {"sender_not_admitted"}
    assert not stage.kinds("quarantined")


async def test_waiting_for_a_key_ends(stage: Stage) -> None:
    await stage.publish(b"early")
    async with stage.consumer(senders=Directory()):
        await stage.until(lambda: stage.kinds("quarantined"))

    assert len(await records(stage, "XKM_UNPROVEN")) == 1
    # It waits for one second, a fifth of it each time; on a busy machine each takes longer.
    assert 1 <= len(stage.kinds("retry")) <= 6


async def test_no_message_waits_for_a_revoked_sender(stage: Stage) -> None:
    class Revoking:
        def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
            raise SenderRevokedError("revoked")

    await stage.publish(b"stolen")
    policy = FailurePolicy(key_delay=10 * DEADLINE, patience=100 * DEADLINE)
    async with stage.consumer(senders=Revoking(), policy=policy):
        await stage.until(lambda: stage.kinds("quarantined"))

    assert stage.kinds("quarantined") == ["sender_revoked"]
    assert len(await records(stage, "XKM_UNPROVEN")) == 1


async def test_trust_that_raises_does_not_end_consuming(stage: Stage) -> None:
    class Broken:
        def admit(self, sender: XKey, subject: str, _at: int) -> Admission | None:
            raise RuntimeError("a bug of the application's")

    await stage.publish(b"one")
    async with stage.consumer(senders=Broken(), policy=IMPATIENT) as consumer:
        await stage.until(lambda: stage.kinds("quarantined"))

    assert consumer.counts["refused.error"] == IMPATIENT.deliveries


async def test_the_servers_own_limit_of_deliveries_counts(stage: Stage) -> None:
    body = {"durable_name": "d", "ack_policy": "explicit", "max_deliver": 2}
    body |= {"name": "d"}
    await stage.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": body})
    await stage.publish(b"fails")
    async with stage.consumer(raising):
        await stage.until(lambda: stage.kinds("quarantined"))

    # One more failure, and it would have stayed in the stream, unanswered for ever.
    assert stage.kinds("retry") == ["handler"]
    assert len(await records(stage, "XKM_PROVEN")) == 1


async def test_a_limit_of_deliveries_loses_what_its_last_process_does_not_survive_and_is_said(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"name": "d", "durable_name": "d", "ack_policy": "explicit", "max_deliver": 1}
    body |= {"ack_wait": 100_000_000}
    await stage.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": body})
    await stage.publish(b"lost")
    begun = asyncio.Event()

    async def handle(message: Message) -> None:
        begun.set()
        await asyncio.Event().wait()

    dying = asyncio.create_task(stage.consumer(handle).run())
    await begun.wait()
    dying.cancel()
    await asyncio.wait([dying])
    await stage.publish(b"next")
    async with stage.consumer():
        await stage.until(lambda: stage.handled)
        await asyncio.sleep(0.3)  # beyond ack_wait
        await stage.publish(b"last")
        await stage.until(lambda: len(stage.handled) > 1)
    assert stage.handled == [b"next", b"last"]
    assert await stage.messages("XKM_PROVEN") == 0
    assert "max_deliver" in caplog.text


async def test_a_message_that_ends_the_process_each_time_is_kept_in_the_end(stage: Stage) -> None:
    await stage.publish(b"deadly")
    calls = 0

    async def handle(message: Message) -> None:
        nonlocal calls
        calls += 1
        consumers[-1].cancel()
        await asyncio.Event().wait()

    consumers: list[asyncio.Task[None]] = []
    create = DurableOptions(ack_wait=0.1)
    for _ in range(20):
        policy = FailurePolicy(deliveries=3, patience=0)
        one = stage.consumer(handle, create=create, policy=policy)
        consumers.append(asyncio.create_task(one.run()))
        await stage.until(lambda: consumers[-1].done() or stage.kinds("quarantined"))
        if stage.kinds("quarantined"):
            consumers[-1].cancel()
            break
    await asyncio.wait(consumers)

    assert 1 <= calls <= 3  # fewer where a delivery took longer than `ack_wait`
    assert [record.reason for record in await records(stage, "XKM_PROVEN")] == ["handler"]


@pytest.mark.parametrize("how", ["full", "not there"])
async def test_where_nothing_proven_can_be_kept_consuming_stands_still(
    stage: Stage, how: str
) -> None:
    if how == "full":
        config = (await stage.api.request("STREAM.INFO.XKM_PROVEN"))["config"]
        await stage.api.request("STREAM.UPDATE.XKM_PROVEN", config | {"max_msgs": 1})
        await stage.link.request("XKM_PROVEN.x.y", b"", timeout=DEADLINE)
    else:
        await stage.api.request("STREAM.DELETE.XKM_PROVEN")
    await stage.send(stage.seal(b"x", "elsewhere"))
    async with stage.consumer(prefetch=4) as consumer:
        await stage.until(lambda: stage.kinds("blocked"))
        assert consumer.is_blocked
        await stage.publish(*(b"%d" % number for number in range(20)))
        await asyncio.sleep(0.3)
        assert len(stage.handled) <= 8  # what was asked for before
        assert (await stage.pending())[0] >= 1

        if how == "full":
            await stage.api.request("STREAM.PURGE.XKM_PROVEN")
        else:
            await create_quarantine(stage.api)
        await stage.until(lambda: stage.kinds("unblocked"))
        await stage.until(lambda: len(stage.handled) == 20)
        await stage.settled()

    assert set(stage.kinds("blocked")) == {"delivery"}
    said = {str(each.error) for each in stage.events if each.kind == "blocked"}
    missing = "cannot write to XKM_PROVEN: the stream does not exist: run xkeymsg quarantine init"
    assert (said == {missing}) == (how == "not there")
    assert [record.sequence for record in await records(stage, "XKM_PROVEN")] == [1]


async def test_a_full_unproven_quarantine_discards_the_oldest(stage: Stage) -> None:
    config = (await stage.api.request("STREAM.INFO.XKM_UNPROVEN"))["config"]
    await stage.api.request("STREAM.UPDATE.XKM_UNPROVEN", config | {"max_msgs": 5})
    for number in range(12):
        await stage.send(b"%d" % number)
    async with stage.consumer():
        await stage.until(lambda: len(stage.kinds("quarantined")) == 12)
        await stage.settled()

    assert [r.data for r in await records(stage, "XKM_UNPROVEN")] == [
        b"%d" % number for number in range(7, 12)
    ]


async def test_an_unproven_quarantine_that_refuses_is_counted_and_passed(stage: Stage) -> None:
    config = (await stage.api.request("STREAM.INFO.XKM_UNPROVEN"))["config"]
    full = config | {"max_msgs": 1, "discard": "new"}
    await stage.api.request("STREAM.UPDATE.XKM_UNPROVEN", full)
    for number in range(5):
        await stage.send(b"%d" % number)
    await stage.publish(b"honest")
    async with stage.consumer() as consumer:
        await stage.until(lambda: stage.handled)
        await stage.settled()
        await stage.until(lambda: len(stage.kinds("lost")) == 4)

    assert consumer.counts["quarantined"] == 1


async def test_a_message_that_fills_max_payload_is_kept_in_pieces(stage: Stage) -> None:
    overhead = len(stage.seal(b""))
    large = stage.seal(bytes(stage.link.max_payload - overhead - 16), "elsewhere")
    assert stage.link.max_payload - 64 < len(large) <= stage.link.max_payload
    await stage.send(large)
    async with stage.consumer():
        await stage.until(lambda: stage.kinds("quarantined"))

    assert b"".join(r.data for r in await records(stage, "XKM_PROVEN")) == large
