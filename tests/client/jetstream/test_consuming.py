"""Consuming: each message opened, handled once where nothing fails, and acknowledged after that."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from typing import Any

import pytest

from tests.client.jetstream.conftest import Stage, on_stage, options
from tests.client.jetstream.inside import api_of, inbox_of, puller_of
from tests.running import DEADLINE
from tests.servers import needs_server
from tests.transport.raw import frozen
from xkeymsg.client.jetstream import intake
from xkeymsg.client.jetstream.acks import IN_PROGRESS
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import DurableOptions, find_durable
from xkeymsg.client.jetstream.puller import Puller
from xkeymsg.envelope.message import Message
from xkeymsg.errors import ConfigurationError, DeliveryError
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import Link, open_link


async def test_messages_are_handled_in_order_and_acknowledged(stage: Stage) -> None:
    await stage.publish(*(b"%d" % number for number in range(300)))
    async with stage.consumer() as consumer:
        await stage.until(lambda: len(stage.handled) == 300)
        await stage.settled()

    assert stage.handled == [b"%d" % number for number in range(300)]
    assert consumer.held == 0
    assert consumer.counts["handled"] == 300


@pytest.mark.parametrize("ack_sync", [False, True])
async def test_a_message_is_acknowledged_only_after_its_handler(
    stage: Stage, ack_sync: bool
) -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def handle(message: Message) -> None:
        begun.set()
        await go.wait()

    await stage.publish(b"one")
    async with stage.consumer(handle, ack_sync=ack_sync):
        await begun.wait()
        assert await stage.pending() == (1, 0)
        go.set()
        await stage.settled()


async def test_a_large_message_is_opened_too(stage: Stage) -> None:
    large = bytes(900_000)
    await stage.publish(b"before", large, b"after")
    async with stage.consumer(prefetch_bytes=1000):
        await stage.until(lambda: len(stage.handled) == 3)
        await stage.settled()

    assert stage.handled == [b"before", large, b"after"]


async def test_a_redelivery_is_no_replay(stage: Stage) -> None:
    failures = 2

    async def handle(message: Message) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise ValueError
        await stage.handle(message)

    await stage.publish(b"one")
    async with stage.consumer(handle):
        await stage.until(lambda: stage.handled)
        await stage.settled()

    assert stage.handled == [b"one"]
    assert stage.kinds("retry") == ["handler", "handler"]
    assert await stage.messages("XKM_PROVEN") == 0


async def test_a_slow_handler_gets_its_time(stage: Stage) -> None:
    answers = await stage.link.subscribe("$JS.ACK.S.d.>")
    calls = 0
    asked: Counter[bytes] = Counter()

    async def handle(message: Message) -> None:
        # The consumer asks for time after each third of `ack_wait`, for the message in the handler
        # and for the one behind it: four times take longer than the server would wait.
        nonlocal calls
        calls += 1
        while asked[b"1"] < 4 or asked[b"2"] < 4 * calls:
            raw = await answers.next(DEADLINE)
            if raw.data == IN_PROGRESS:
                asked[raw.subject.split(b".")[5]] += 1

    await stage.publish(b"one", b"two")
    async with stage.consumer(handle, create=DurableOptions(ack_wait=0.5)) as consumer:
        await stage.until(lambda: consumer.counts["handled"] == 2)
        await stage.settled()

    assert calls == 2


async def test_a_slow_handler_gets_its_time_while_a_lookup_is_not_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = await stage.link.subscribe("$JS.ACK.S.d.>")
    looking = asyncio.Event()
    asked: Counter[bytes] = Counter()

    async def look(*arguments: object) -> None:
        looking.set()
        await asyncio.Event().wait()

    async def handle(message: Message) -> None:
        await looking.wait()
        while asked[b"1"] < 4 or asked[b"2"] < 4:  # the second waits behind this one
            raw = await answers.next(DEADLINE)
            if raw.data == IN_PROGRESS:
                asked[raw.subject.split(b".")[5]] += 1
        await stage.handle(message)

    await stage.publish(b"one", b"two")
    consumer = stage.consumer(handle, create=DurableOptions(ack_wait=0.5), stop_timeout=0.1)
    async with consumer:
        await stage.until(lambda: consumer.held == 2)
        monkeypatch.setattr(intake, "find_durable", look)
        puller_of(consumer).suspect = True
        await stage.until(lambda: stage.handled)

    assert stage.handled[0] == b"one"


async def test_a_redelivery_that_crosses_its_acknowledgement_is_not_handled(stage: Stage) -> None:
    """As on a busy machine: `ack_wait` passes while the event loop does not turn."""

    async def handle(message: Message) -> None:
        if not stage.handled:
            time.sleep(1.0)  # noqa: ASYNC251 - the second delivery is read after the answer
        await stage.handle(message)

    await stage.publish(b"one")
    async with stage.consumer(handle, create=DurableOptions(ack_wait=0.3)):
        await stage.until(lambda: stage.handled)
        await stage.settled()
        await stage.publish(b"two")
        await stage.until(lambda: b"two" in stage.handled)

    assert stage.handled == [b"one", b"two"]


async def test_the_order_of_a_subject_is_kept_among_many_workers(stage: Stage) -> None:
    seen: dict[str, list[int]] = {}
    running: set[str] = set()
    most = 0

    async def handle(message: Message) -> None:
        nonlocal most
        assert message.subject not in running
        running.add(message.subject)
        most = max(most, len(running))
        await asyncio.sleep(0.001 * (len(message.data) % 3))
        running.discard(message.subject)
        number = int(message.data)
        if number % 17 == 3 and number not in failed:
            failed.add(number)
            raise ValueError  # what is behind it in its lane has to wait
        seen.setdefault(message.subject, []).append(number)

    failed: set[int] = set()
    for number in range(200):
        await stage.publish(b"%d" % number, subject=f"h.{number % 7}")
    async with stage.consumer(handle, workers=8, ordered=True) as consumer:
        await stage.until(lambda: consumer.counts["handled"] == 200)

    assert failed
    assert most > 1
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert sorted(itertools.chain(*seen.values())) == list(range(200))


async def test_two_workers_share_a_durable(stage: Stage, jetstream_server: NATSServer) -> None:
    await stage.publish(*(b"%d" % number for number in range(400)))
    async with (
        open_link(options(jetstream_server)) as link,
        stage.consumer(prefetch=16) as one,
        stage.consumer(prefetch=16, link=link) as two,
    ):
        await stage.until(lambda: len(stage.handled) == 400)
        await stage.settled()

    assert sorted(stage.handled) == sorted(b"%d" % number for number in range(400))
    assert one.counts["handled"]
    assert two.counts["handled"]


async def test_a_durable_that_was_found_is_consumed_though_the_server_dies_just_then(
    stage: Stage, jetstream_server: NATSServer
) -> None:
    """Who has said that it is ready does not end because nobody answers at that moment."""
    found = await find_durable(stage.api, "S", "d", DurableOptions())
    await stage.publish(b"one")
    jetstream_server.kill()
    consumer = stage.consumer(found=found)
    api_of(consumer).timeout = 0.2
    async with consumer:
        await asyncio.sleep(0.5)  # who asks now gets no answer in time
        await asyncio.to_thread(jetstream_server.start)
        await stage.until(lambda: stage.handled)

    assert stage.handled == [b"one"]


async def test_a_server_that_is_killed_and_comes_back_costs_no_message(
    stage: Stage, jetstream_server: NATSServer
) -> None:
    async def handle(message: Message) -> None:
        await asyncio.sleep(0.002)
        await stage.handle(message)

    await stage.publish(*(b"%d" % number for number in range(200)))
    create = DurableOptions(ack_wait=1.0)
    async with stage.consumer(handle, create=create, prefetch=32):
        await stage.until(lambda: len(stage.handled) >= 50)
        jetstream_server.kill()
        await asyncio.to_thread(jetstream_server.start)
        await stage.until(lambda: stage.link.state == "connected")
        await stage.publish(b"after")
        await stage.until(lambda: b"after" in stage.handled)
        await stage.settled()

    assert {b"%d" % number for number in range(200)} <= set(stage.handled)
    assert await stage.messages("XKM_PROVEN") == await stage.messages("XKM_UNPROVEN") == 0


async def test_a_server_that_stands_still_for_a_while_is_asked_again(
    stage: Stage, jetstream_server: NATSServer
) -> None:
    async with stage.consumer():
        await stage.publish(b"one")
        await stage.until(lambda: stage.handled)
        with frozen(jetstream_server):
            await asyncio.sleep(1.2)  # some heartbeats' time
        await stage.publish(b"two")
        await stage.until(lambda: len(stage.handled) == 2)


async def test_an_idle_consumer_asks_again_when_its_request_is_over(stage: Stage) -> None:
    async with stage.consumer(expires=0.5, heartbeat=0.2):
        await asyncio.sleep(1.2)
        await stage.publish(b"one")
        await stage.until(lambda: stage.handled)


async def test_a_deleted_consumer_is_an_error(stage: Stage) -> None:
    consumer = stage.consumer()
    task = asyncio.create_task(consumer.run())
    await stage.publish(b"one")
    await stage.until(lambda: stage.handled)
    await stage.api.request("CONSUMER.DELETE.S.d")

    with pytest.raises(DeliveryError) as caught:
        await asyncio.wait_for(task, DEADLINE)
    assert caught.value.err_code == 10014


async def test_a_deleted_consumer_can_be_made_again(stage: Stage) -> None:
    async with stage.consumer(on_missing="recreate"):
        await stage.publish(b"one")
        await stage.until(lambda: stage.handled)
        await stage.api.request("CONSUMER.DELETE.S.d")
        await stage.until(lambda: stage.kinds("recreated"))
        await stage.publish(b"two")
        await stage.until(lambda: b"two" in stage.handled)

    # From the beginning, in a new scope: what was handled before is no replay.
    assert stage.handled == [b"one", b"one", b"two"]


async def test_stopping_handles_what_is_here_and_leaves_the_rest_to_others(stage: Stage) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def handle(message: Message) -> None:
        begun.set()
        await (asyncio.Event() if stage.handled else goes_on).wait()
        await stage.handle(message)

    await stage.publish(*(b"%d" % number for number in range(10)))
    create = DurableOptions(ack_wait=10 * DEADLINE)  # nobody waits for that
    async with stage.consumer(handle, create=create, stop_timeout=0.5) as consumer:
        await begun.wait()
        await stage.until(lambda: consumer.held == 10)
        consumer.stop()
        goes_on.set()
    assert stage.handled == [b"0"]
    async with stage.consumer():
        await stage.until(lambda: len(set(stage.handled)) == 10)


async def test_what_a_stop_returns_does_not_come_back_to_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server answered the open request with it, and nobody answered for it any more."""
    begun = asyncio.Event()

    async def handle(_: Message) -> None:
        begun.set()
        await asyncio.Event().wait()

    confirm = Link.confirm

    async def slowly(link: Link) -> None:
        await confirm(link)
        await asyncio.sleep(0.5)  # a busy machine
        await confirm(link)

    await stage.publish(*(b"%d" % number for number in range(10)))
    create = DurableOptions(ack_wait=10 * DEADLINE)  # nobody waits for that
    async with stage.consumer(handle, create=create, stop_timeout=0.1) as consumer:
        await begun.wait()
        await stage.until(lambda: consumer.held == 10)
        monkeypatch.setattr(Link, "confirm", slowly)
        consumer.stop()
        await consumer.wait()
    monkeypatch.undo()
    async with stage.consumer():
        await stage.until(lambda: len(set(stage.handled)) == 10)


async def test_what_is_under_way_at_a_stop_is_returned(stage: Stage) -> None:
    create = DurableOptions(ack_wait=10 * DEADLINE)
    for number in range(20):
        await stage.publish(*(b"%d" % each for each in range(10 * number, 10 * number + 10)))
        async with stage.consumer(create=create, stop_timeout=0.0) as consumer:
            await asyncio.sleep(number / 1000)
            consumer.stop()
    async with stage.consumer():
        await stage.until(lambda: len(set(stage.handled)) == 200)


async def test_a_stop_returns_no_message_that_is_handled(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its acknowledgement waits for a lookup; if returned, it would be handled again at once."""
    create = DurableOptions(ack_wait=10 * DEADLINE)
    await stage.publish(b"1", b"2", b"3")

    async def handle(message: Message) -> None:
        monkeypatch.setattr(Puller, "is_certain", False)
        await stage.handle(message)

    async with stage.consumer(handle, create=create, workers=3, stop_timeout=0.2) as consumer:
        await stage.until(lambda: len(stage.handled) == 3)
        consumer.stop()
        await consumer.wait()
    monkeypatch.undo()
    await stage.publish(b"4")
    async with stage.consumer():
        await stage.until(lambda: b"4" in stage.handled)
    assert stage.handled == [b"1", b"2", b"3", b"4"]


async def test_a_stop_ends_while_nobody_knows_the_durable(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of a handled message waits for its last answer, and blocks what comes behind it."""
    create = DurableOptions(ack_wait=10 * DEADLINE)
    sealed = stage.seal(b"1", "h.a")
    await stage.send(sealed, "h.a")
    async with stage.consumer(create=create, stop_timeout=0.2) as consumer:
        await stage.until(lambda: stage.handled == [b"1"])
        await stage.until(lambda: consumer.held == 0)
        monkeypatch.setattr(Puller, "is_certain", False)
        await stage.send(sealed, "h.a")
        await stage.publish(b"2")
        await stage.until(lambda: consumer.held > 0)
        consumer.stop()
        async with asyncio.timeout(DEADLINE):
            await consumer.wait()


@pytest.mark.usefixtures("nothing_is_left_behind")
async def test_a_cancelled_consumer_leaves_nothing_running(jetstream_server: NATSServer) -> None:
    async with on_stage(jetstream_server) as stage:
        started = asyncio.Event()

        async def handle(message: Message) -> None:
            started.set()
            await asyncio.Event().wait()

        await stage.publish(b"one")
        task = asyncio.create_task(stage.consumer(handle).run())
        await started.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert await stage.pending() == (1, 0)


@pytest.mark.parametrize(
    "config",
    [
        {"ack_policy": "none"},
        {"deliver_subject": "x"},
        {"headers_only": True},
        pytest.param(
            {"priority_groups": ["a"], "priority_policy": "overflow"},
            marks=needs_server(2, 11, "a priority group"),
        ),
    ],
    ids=lambda config: next(iter(config)),
)
async def test_a_durable_that_cannot_serve_is_refused(stage: Stage, config: dict[str, Any]) -> None:
    whole = {"durable_name": "d", "ack_policy": "explicit", **config}
    body = {"stream_name": "S", "config": whole}
    await stage.api.request("CONSUMER.DURABLE.CREATE.S.d", body)
    await stage.publish(b"to be kept")

    with pytest.raises(ConfigurationError):
        await stage.consumer().run()
    assert await stage.messages("XKM_UNPROVEN") == 0


@pytest.mark.parametrize(
    "config",
    [
        {"max_batch": 2},
        {"max_expires": 400_000_000},
        {"max_bytes": 10},
        {"max_waiting": 1},
        {"ack_wait": 1_000_000},
    ],
    ids=lambda config: next(iter(config)),
)
async def test_a_durable_is_asked_for_no_more_than_it_grants(
    stage: Stage, config: dict[str, int]
) -> None:
    """What asks for more is refused each time, and a consumer that stood still said nothing."""
    whole = {"name": "d", "durable_name": "d", "ack_policy": "explicit", **config}
    await stage.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": whole})
    async with stage.consumer():
        await stage.publish(*(b"%d" % number for number in range(20)))
        await stage.until(lambda: len(stage.handled) >= 20)
        await asyncio.sleep(0.5)  # longer than a request is kept
        await stage.publish(b"last")
        await stage.until(lambda: b"last" in stage.handled)


async def test_a_durable_that_may_not_be_asked_is_told_from_a_quiet_one() -> None:
    users = """authorization {{ users = [{{ user: a, password: x, permissions: {{
        publish: {{ deny: [{denied}] }} }} }}] }}"""
    with NATSServer(users.format(denied="other"), jetstream=True) as server:
        async with open_link(options(server, user="a", password="x")) as link:
            stage = Stage(server, link, API(link))
            await stage.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["h.>"]})
            async with stage.consumer() as consumer:
                await stage.publish(b"one")
                await stage.until(lambda: stage.handled)
                heartbeats = await link.subscribe(f"{puller_of(consumer).inbox}.*")
                for _ in range(3):  # it is quiet: heartbeats alone
                    await heartbeats.next(DEADLINE)
                await stage.until(lambda: not consumer.is_unserved)
                server.reload(users.format(denied='"$JS.API.CONSUMER.MSG.NEXT.>"'))
                await stage.until(lambda: consumer.is_unserved)
                server.reload(users.format(denied="other"))
                await stage.until(lambda: not consumer.is_unserved)
                await stage.publish(b"two")
                await stage.until(lambda: b"two" in stage.handled)


@needs_server(2, 11, "a paused durable")
async def test_a_paused_durable_is_told_from_a_quiet_one(stage: Stage) -> None:
    async def pause(until: str) -> None:
        answer = await stage.api.request(
            "CONSUMER.PAUSE.S.d", {"pause_until": until or "0001-01-01T00:00:00Z"}
        )
        assert answer.get("paused") is bool(until)

    async with stage.consumer(expires=0.4, heartbeat=0.2) as consumer:
        await stage.publish(b"one")
        await stage.until(lambda: stage.handled)
        await pause("2999-01-01T00:00:00Z")
        await stage.until(lambda: consumer.is_unserved)
        assert consumer.troubles == {
            "paused": "the durable is paused, and delivers nothing: nats consumer resume S d"
        }
        await stage.publish(b"two")
    async with stage.consumer() as consumer:
        assert [each.code for each in stage.events if each.kind == "trouble"] == ["paused"]
        await stage.until(lambda: consumer.is_unserved)  # from the start
        await pause("")
        await stage.until(lambda: b"two" in stage.handled)
        await stage.until(lambda: not consumer.is_unserved)


async def test_a_broker_that_delivers_what_nobody_asked_for_fills_no_memory(stage: Stage) -> None:
    gate = asyncio.Event()

    async def handle(message: Message) -> None:
        await gate.wait()
        await stage.handle(message)

    async with stage.consumer(handle, prefetch=8) as consumer:
        await stage.publish(b"honest")
        await stage.until(lambda: consumer.held)
        subscription = inbox_of(stage.link, consumer)
        now = time.time_ns()
        for number in range(2, 300):
            reply = b"$JS.ACK.S.d.1.%d.%d.%d.0" % (number, number, now)
            sealed = stage.seal(b"%d" % number)
            if (wait := subscription.deliver(b"h.a", reply, b"", sealed)) is not None:
                await wait
        await stage.until(lambda: not subscription.pending)
        assert consumer.held == 16
        gate.set()
        await stage.until(lambda: len(stage.handled) == 16)
        await stage.publish(b"next")
        await stage.until(lambda: b"next" in stage.handled)


async def test_a_stream_that_is_not_there_is_an_error(stage: Stage) -> None:
    await stage.api.request("STREAM.DELETE.S")

    with pytest.raises(DeliveryError) as caught:
        await stage.consumer().run()
    assert caught.value.err_code == 10059


async def test_what_a_handler_cancels_is_not_the_worker(stage: Stage) -> None:
    calls = 0

    async def handle(message: Message) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        await stage.handle(message)

    await stage.publish(b"one")
    async with stage.consumer(handle):
        await stage.until(lambda: stage.handled)
