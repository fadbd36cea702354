"""Mistakes of operators, outages, and strangers, on a work queue: no honest message is lost."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.client.jetstream.conftest import ALICE, BOB, EVE, Stage, on_stage, options
from tests.client.jetstream.inside import answers_of, puller_of
from tests.client.jetstream.test_failures import Directory, records
from tests.running import DEADLINE
from tests.transport.inside import buffered, client_of, fill_send_buffer
from xkeymsg.ambient import now_ns
from xkeymsg.client.jetstream import holds, intake, quarantine
from xkeymsg.client.jetstream.api import API
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.quarantine import Quarantine, create_quarantine
from xkeymsg.client.jetstream.quarantine_records import QuarantineRecord
from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.message import Message
from xkeymsg.errors import KeyStoreError
from xkeymsg.keys import Keyring
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link

IMPATIENT = FailurePolicy(backoff=0.02, key_delay=0.1, patience=0)


@pytest.fixture
async def queue(jetstream_server: NATSServer) -> AsyncIterator[Stage]:
    """A stream in which termination deletes."""
    async with on_stage(jetstream_server, retention="workqueue") as stage:
        yield stage


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other sooner."""
    monkeypatch.setattr(holds, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(holds, "LONGEST_PAUSE", 0.3)
    monkeypatch.setattr(holds, "TRY_EVERY", 0.3)


async def emptied(stage: Stage) -> None:
    async with asyncio.timeout(DEADLINE):
        while await stage.messages():  # noqa: ASYNC110 - the server's
            await asyncio.sleep(0.02)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


# --- a wrong key, and wrong peers -----------------------------------------------------------------


@pytest.mark.parametrize("mistake", ["key", "peers"])
async def test_with_a_wrong_key_or_wrong_peers_each_message_is_recorded_and_one_trouble_reported(
    queue: Stage, mistake: str, caplog: pytest.LogCaptureFixture
) -> None:
    await queue.pour(*(queue.seal(each) for each in numbered(3000)))
    wrong: dict[str, Any] = {"reader": EVE} if mistake == "key" else {"senders": {EVE.public}}
    async with queue.consumer(policy=IMPATIENT, **wrong) as consumer:
        await queue.until(lambda: "unproved" in consumer.troubles)
        await emptied(queue)
        await queue.until(lambda: consumer.counts["quarantined"] == 3000)
        assert not consumer.counts["lost"]
    assert await queue.messages("XKM_UNPROVEN") == 3000
    [trouble] = [each for each in queue.events if each.kind == "trouble"]
    cause = "check the seed file" if mistake == "key" else "check the peers"
    assert cause in str(trouble.error)
    # The listener decides what is logged, so that a daemon logs nothing twice.
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


async def test_a_sender_that_is_known_at_last_ends_the_trouble(queue: Stage) -> None:
    directory = Directory()
    await queue.pour(*(queue.seal(b"early") for _ in range(200)))
    async with queue.consumer(policy=IMPATIENT, senders=directory) as consumer:
        await queue.until(lambda: queue.kinds("trouble") == ["unproved"])
        directory.known = True
        consumer.unprove()
        assert not consumer.troubles
        await queue.publish(b"late")
        await queue.until(lambda: b"late" in queue.handled)
    assert queue.kinds("recovered") == ["unproved"]


async def test_nothing_is_pushed_out_of_the_ring_before_a_message_has_opened(
    queue: Stage, soon: None
) -> None:
    """The records fill half of it; then a few are tried, given back, and handled in the end."""
    config = (await queue.api.request("STREAM.INFO.XKM_UNPROVEN"))["config"]
    await queue.api.request("STREAM.UPDATE.XKM_UNPROVEN", config | {"max_msgs": 1000})
    await queue.pour(*(queue.seal(each) for each in numbered(1500)))
    directory = Directory()
    create = DurableOptions(max_ack_pending=400)
    async with queue.consumer(policy=IMPATIENT, senders=directory, create=create) as consumer:
        await queue.until(lambda: consumer.counts["retry"] >= 300)
        kept = await queue.messages("XKM_UNPROVEN")
        assert 500 <= kept < 1000  # those that were under way are recorded, too
        assert await queue.messages() == 1500 - kept
        assert consumer.troubles
        directory.known = True
        await queue.until(lambda: len(queue.handled) == 1500 - kept)
        assert not consumer.troubles
    assert await queue.messages("XKM_UNPROVEN") == kept
    assert len(set(queue.handled)) == 1500 - kept


@pytest.mark.parametrize(
    ("headers", "data", "subject"),
    [
        (b"", b"x", b"h.a"),
        (b"NATS/1.0\r\n" + b"a: b\r\n" * 1000 + b"\r\n", b"", b"h.a"),
        (b"", b"", b"h." + b"\xff" * 2000),
        (b"", bytes(3_000_000), b"h.a"),
    ],
)
async def test_all_of_a_record_counts_as_its_share_of_the_ring(
    queue: Stage, headers: bytes, data: bytes, subject: bytes
) -> None:
    """Otherwise strangers push honest records out by what does not count."""
    keeper = Quarantine(queue.api, bytes(32))
    record = QuarantineRecord("S", "d", 1, 1, subject, "undecryptable", headers, data)
    await keeper.keep_unproven(record, must=True)
    state = (await queue.api.request("STREAM.INFO.XKM_UNPROVEN"))["state"]
    assert state["bytes"] <= keeper.share(record) * (1 << 30) <= 2 * state["bytes"]
    await keeper.close()


# --- strangers ------------------------------------------------------------------------------------


async def test_a_flood_of_strangers_is_recorded_and_honest_messages_pass(queue: Stage) -> None:
    async with queue.consumer(policy=IMPATIENT) as consumer:
        await queue.publish(b"before")
        await queue.until(lambda: queue.handled)
        for number in range(4000):  # far more than 500 a second
            await queue.link.publish("h.a", b"garbage %d" % number)
        await queue.link.publish("h.a", queue.seal(b"honest"))
        await queue.until(lambda: b"honest" in queue.handled)
        await emptied(queue)
        assert not consumer.troubles
        assert not consumer.counts["lost"]
    assert await queue.messages("XKM_UNPROVEN") == 4000


async def test_strangers_may_be_dropped_for_speed(queue: Stage) -> None:
    policy = FailurePolicy(patience=0, strangers="drop")
    await queue.pour(*(b"garbage %d" % number for number in range(4000)))
    async with queue.consumer(policy=policy, rate=0) as consumer:
        await emptied(queue)
        await queue.until(lambda: consumer.counts["lost"] + consumer.counts["quarantined"] == 4000)
        assert consumer.counts["quarantined"] == 2000  # the burst; no rate comes after it


async def test_a_full_ring_stops_nothing_and_is_told(
    queue: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quarantine, "LOOK", 0.05)
    config = (await queue.api.request("STREAM.INFO.XKM_UNPROVEN"))["config"]
    await queue.api.request("STREAM.UPDATE.XKM_UNPROVEN", config | {"max_msgs": 50})
    await queue.publish(b"first")
    async with queue.consumer(policy=IMPATIENT) as consumer:
        await queue.until(lambda: queue.handled)
        for number in range(500):
            await queue.link.publish("h.a", b"garbage %d" % number)
        await queue.publish(b"last")
        await queue.until(lambda: b"last" in queue.handled)
        await emptied(queue)
        assert not consumer.is_blocked
        await asyncio.sleep(0.1)
        await queue.send(b"garbage")
        await emptied(queue)
    assert await queue.messages("XKM_UNPROVEN") == 50
    assert caplog.text.count("XKM_UNPROVEN is half full") == 1


async def test_a_ring_that_takes_nothing_stops_consuming_and_nothing_is_deleted(
    queue: Stage,
) -> None:
    await queue.api.request("STREAM.DELETE.XKM_UNPROVEN")
    await queue.pour(*(b"garbage %d" % number for number in range(100)))
    async with queue.consumer(policy=IMPATIENT, prefetch=8) as consumer:
        await queue.until(lambda: consumer.is_blocked)
        assert await queue.messages() == 100
        await create_quarantine(queue.api)
        await emptied(queue)
        await queue.until(lambda: queue.kinds("unblocked"))
    assert await queue.messages("XKM_UNPROVEN") == 100


@pytest.mark.parametrize("limit", [-1, 10_000])
async def test_a_large_message_is_recorded_in_parts(queue: Stage, limit: int) -> None:
    """It does not fit into a record with its origin, or the ring takes only smaller ones."""
    config = (await queue.api.request("STREAM.INFO.XKM_UNPROVEN"))["config"]
    await queue.api.request("STREAM.UPDATE.XKM_UNPROVEN", config | {"max_msg_size": limit})
    size = queue.link.max_payload if limit < 0 else 50_000
    await queue.send(b"x" * size)
    async with queue.consumer(policy=IMPATIENT):
        await emptied(queue)
    kept = await records(queue, "XKM_UNPROVEN")
    assert len(kept) > 1
    assert sum(len(each.data) for each in kept) == size


# --- outages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [False, True])
async def test_an_outage_holds_everything_and_uses_up_no_deliveries(
    queue: Stage, soon: None, ordered: bool
) -> None:
    up, calls = False, 0

    async def handle(message: Message) -> None:
        nonlocal calls
        calls += 1
        if not up:
            raise ConnectionRefusedError
        await queue.handle(message)

    body = {"name": "d", "durable_name": "d", "ack_policy": "explicit", "max_deliver": 2}
    body |= {"ack_wait": 10**9}
    await queue.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": body})
    await queue.publish(*numbered(30))
    policy = FailurePolicy(deliveries=1, backoff=0.01)
    async with queue.consumer(
        handle, policy=policy, workers=4, prefetch=10, ordered=ordered
    ) as consumer:
        await queue.until(lambda: queue.kinds("trouble") == ["outage"])
        assert consumer.troubles
        await queue.until(lambda: calls >= 12)
        await asyncio.sleep(2)  # beyond ack_wait: what is held stays here
        assert not queue.kinds("quarantined")
        info = await queue.info()
        assert info["num_redelivered"] == 0
        assert info["num_ack_pending"] <= 20
        up = True
        await queue.until(lambda: len(queue.handled) == 30)
        await emptied(queue)
        assert not consumer.troubles
    assert sorted(queue.handled) == sorted(numbered(30))
    assert await queue.messages("XKM_PROVEN") == 0


async def test_one_message_that_never_passes_stops_nothing_and_is_kept_in_the_end(
    queue: Stage,
) -> None:
    async def handle(message: Message) -> None:
        if message.data == b"bad":
            raise TimeoutError
        await queue.handle(message)

    await queue.publish(b"bad", *numbered(20))
    policy = FailurePolicy(deliveries=3, backoff=0.05, backoff_most=0.05)
    async with queue.consumer(handle, policy=policy) as consumer:
        await queue.until(lambda: len(queue.handled) == 20)
        for number in range(1000):
            if queue.kinds("quarantined"):
                break
            await queue.publish(b"more %d" % number)
            await asyncio.sleep(0.02)
        assert not consumer.troubles
        await queue.until(lambda: queue.kinds("quarantined") == ["handler"])
        await emptied(queue)
    [record] = await records(queue, "XKM_PROVEN")
    assert record.reason == "handler"


async def test_one_message_alone_is_tried_again_until_it_passes(queue: Stage) -> None:
    calls = 0

    async def handle(message: Message) -> None:
        nonlocal calls
        calls += 1
        if calls < 12:
            raise TimeoutError
        await queue.handle(message)

    await queue.publish(b"one")
    policy = FailurePolicy(backoff=0.02, backoff_most=0.05)
    async with queue.consumer(handle, policy=policy):
        await queue.until(lambda: queue.handled)
        await emptied(queue)
    assert await queue.messages("XKM_PROVEN") == 0


async def test_a_handler_that_raises_anything_else_has_its_attempts_as_before(
    queue: Stage,
) -> None:
    async def handle(message: Message) -> None:
        raise ValueError

    await queue.publish(*numbered(5))
    async with queue.consumer(handle) as consumer:
        await queue.until(lambda: len(queue.kinds("quarantined")) == 5)
        assert not consumer.troubles
    assert await queue.messages("XKM_PROVEN") == 5


async def test_a_stop_during_an_outage_returns_what_is_held(queue: Stage) -> None:
    async def handle(message: Message) -> None:
        raise ConnectionResetError

    await queue.publish(*numbered(5))
    async with queue.consumer(handle):
        await queue.until(lambda: queue.kinds("trouble"))
    async with queue.consumer():
        await queue.until(lambda: len(queue.handled) == 5)
    assert Counter(queue.handled) == Counter(numbered(5))


# --- our own threads and memory -------------------------------------------------------------------


@contextlib.contextmanager
def no_threads() -> Iterator[None]:
    """No thread can be started, and none is idle."""

    def none(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", none)
        yield


@pytest.mark.parametrize("count", [1, 5])
async def test_without_threads_large_messages_wait(queue: Stage, soon: None, count: int) -> None:
    """However many small ones pass meanwhile: that they fail is the fault of none."""
    policy = FailurePolicy(deliveries=1, backoff=0.02, backoff_most=0.1)
    large = [queue.seal(b"%d" % number + b"x" * 200_000) for number in range(count)]
    async with queue.consumer(policy=policy) as consumer:
        with no_threads():
            await queue.pour(*large)
            await queue.until(lambda: consumer.counts["retry"] >= 3)
            await queue.publish(*numbered(20))
            if count == 1:
                await queue.until(lambda: len(queue.handled) == 20)
            await asyncio.sleep(0.5)
            assert not any(len(each) > 100 for each in queue.handled)
        await queue.until(lambda: len(queue.handled) == 20 + count)
        assert not consumer.troubles
    for stream in ("XKM_PROVEN", "XKM_UNPROVEN"):
        assert await queue.messages(stream) == 0


@pytest.mark.parametrize("error", [MemoryError(), KeyStoreError("token gone")])
async def test_without_memory_or_key_no_message_is_at_fault(
    queue: Stage, soon: None, error: Exception
) -> None:
    short = True

    class Short(OpeningScope):
        def open(self, *arguments: Any) -> Any:
            if short:
                raise error
            return super().open(*arguments)

    await queue.publish(*numbered(10))
    whom = ClientTrust({ALICE.public})
    async with queue.consumer(
        opening=lambda: Short(Keyring(BOB), whom, subjects="h.>"), policy=IMPATIENT
    ) as consumer:
        await queue.until(lambda: queue.kinds("trouble") == ["outage"])
        short = False
        await queue.until(lambda: len(queue.handled) == 10)
        assert not consumer.troubles
    for stream in ("XKM_PROVEN", "XKM_UNPROVEN"):
        assert await queue.messages(stream) == 0


async def test_an_outage_ends_although_all_that_was_held_has_left(queue: Stage, soon: None) -> None:
    """Strangers' messages for which memory was short are all that was held: none is handled."""
    short = True

    class Short(OpeningScope):
        def open(self, *arguments: Any) -> Any:
            if short:
                raise MemoryError
            return super().open(*arguments)

    await queue.pour(*(b"garbage %d" % number for number in range(5)))
    whom = ClientTrust({ALICE.public})
    async with queue.consumer(
        opening=lambda: Short(Keyring(BOB), whom, subjects="h.>"), policy=IMPATIENT
    ) as consumer:
        await queue.until(lambda: queue.kinds("trouble") == ["outage"])
        short = False
        await queue.until(lambda: consumer.counts["quarantined"] == 5)
        await asyncio.sleep(3)  # beyond `expires`: what was requested before is forgotten
        await queue.publish(*numbered(10))
        await queue.until(lambda: len(queue.handled) == 10)
        assert not consumer.troubles


async def test_an_outage_ends_although_the_durable_was_reset_meanwhile(
    queue: Stage, soon: None
) -> None:
    up = False

    async def handle(message: Message) -> None:
        if not up:
            raise ConnectionRefusedError
        await queue.handle(message)

    await queue.publish(*numbered(3))
    policy = FailurePolicy(backoff=0.01)
    async with queue.consumer(handle, policy=policy) as consumer:
        await queue.until(lambda: queue.kinds("trouble") == ["outage"])
        config = (await queue.info())["config"]
        await queue.api.request("CONSUMER.DELETE.S.d")
        await queue.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": config})
        puller_of(consumer).suspect = True  # sooner than by a missing heartbeat
        await queue.until(lambda: consumer.counts["rewound"])
        up = True
        await queue.until(lambda: set(queue.handled) == set(numbered(3)))
        assert not consumer.troubles


# --- clocks, permissions, durables ----------------------------------------------------------------


async def test_a_message_stored_later_than_our_clock_says_waits(
    queue: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = 100 * 10**9
    monkeypatch.setattr(intake, "now_ns", lambda: now_ns() - behind)
    await queue.publish(b"one")
    async with queue.consumer(skew=30.0) as consumer:
        await queue.until(lambda: "clock" in consumer.troubles)
        assert not queue.handled
        behind = 0
        await queue.until(lambda: queue.handled)
        assert not consumer.troubles
    assert await queue.messages("XKM_PROVEN") == 0


async def test_a_consumer_may_stop_while_it_waits_for_its_clock(
    queue: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "now_ns", lambda: 10**18)
    await queue.publish(b"one")
    async with queue.consumer(skew=30.0) as consumer:
        await queue.until(lambda: "clock" in consumer.troubles)
    assert await queue.messages() == 1


USERS = """authorization {{ users = [{{ user: a, password: x, permissions: {{
    publish: {{ deny: ["{denied}"] }} }} }}] }}"""


async def test_without_the_permission_to_acknowledge_nothing_is_taken_and_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "AGAIN", 0.2)
    with NATSServer(USERS.format(denied="$JS.ACK.>"), jetstream=True) as server:
        async with open_link(options(server, user="a", password="x")) as link:
            stage = Stage(server, link, API(link, timeout=DEADLINE))
            await stage.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["h.>"]})
            await stage.publish(b"one")
            async with stage.consumer() as consumer:
                await stage.until(lambda: "permission" in consumer.troubles)
                assert "permit publishing on $JS.ACK.S.d.>" in consumer.troubles["permission"]
                assert not stage.handled
                server.reload(USERS.format(denied="other"))
                await stage.until(lambda: stage.handled)
                assert not consumer.troubles
                await stage.settled()
                server.reload(USERS.format(denied="$JS.ACK.>"))
                async with asyncio.timeout(DEADLINE):  # the server may take its time to reload
                    while "permission" not in consumer.troubles:
                        await stage.publish(b"two")  # its acknowledgement is refused
                        await asyncio.sleep(0.1)


async def test_a_worker_requests_at_most_a_quarter_of_what_may_be_unacknowledged(
    queue: Stage,
) -> None:
    go = asyncio.Event()

    async def wait(message: Message) -> None:
        await go.wait()
        await queue.handle(message)

    await queue.publish(*numbered(60))
    create = DurableOptions(max_ack_pending=40)
    async with queue.consumer(wait, create=create) as consumer:
        await queue.until(lambda: consumer.held >= 10)
        assert (await queue.pending())[0] == 10
        async with queue.consumer():  # others have room
            await queue.until(lambda: len(queue.handled) >= 50)
        go.set()
        await queue.until(lambda: len(queue.handled) == 60)


async def test_a_durable_of_new_messages_that_is_created_again_skips_none(
    queue: Stage,
) -> None:
    create = DurableOptions(deliver="all")
    body = create.config("d") | {"deliver_policy": "new"}
    await queue.api.request("STREAM.DELETE.S")
    await queue.api.request("STREAM.CREATE.S", {"name": "S", "subjects": ["h.>"]})
    await queue.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": body})
    async with queue.consumer(on_missing="recreate") as consumer:
        await queue.publish(b"one")
        await queue.until(lambda: queue.handled)
        await queue.api.request("CONSUMER.DELETE.S.d")
        await queue.publish(b"between")
        await queue.until(lambda: consumer.counts["recreated"])
        await queue.publish(b"two")
        await queue.until(lambda: {b"between", b"two"} <= set(queue.handled))


async def test_an_acknowledgement_does_not_wait_in_a_full_send_buffer(queue: Stage) -> None:
    """There it would be sent on the next connection, perhaps to another durable of that name."""
    await queue.publish(b"one")
    client = client_of(queue.link)
    make_room: list[Callable[[], None]] = []

    async def handle(message: Message) -> None:
        make_room.append(fill_send_buffer(client))  # full from now on
        await queue.handle(message)

    async with queue.consumer(handle) as consumer:
        await queue.until(lambda: queue.handled)
        before = buffered(client)
        await asyncio.sleep(0.3)
        assert buffered(client) == before
        assert consumer.held == 1
        make_room[0]()
        await emptied(queue)


async def test_deliveries_of_a_message_that_is_held_are_no_attempts(queue: Stage) -> None:
    """A process that stands still asks for more time too late, as often as that may be."""
    go = asyncio.Event()

    async def handle(message: Message) -> None:
        if message.data == b"0":
            await go.wait()
        await queue.handle(message)

    create = DurableOptions(ack_wait=0.1)
    await queue.publish(*numbered(3))
    async with queue.consumer(handle, create=create, policy=IMPATIENT) as consumer:
        await queue.until(lambda: consumer.held == 3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(answers_of(consumer), "give", lambda *_: asyncio.sleep(0, True))
            await queue.until(lambda: consumer.counts["redelivered"] >= 60)
        go.set()
        await queue.until(lambda: len(queue.handled) == 3)
    assert await queue.messages("XKM_PROVEN") == 0
