"""Replay marks of a consumer: handled once in a scope, and nothing unhandled acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client.jetstream.conftest import ALICE, BOB, EVE, QUICK, Stage, options
from tests.client.jetstream.inside import answers_of, inbox_of, puller_of, queued_in
from tests.envelope.inside import seal_at
from tests.running import DEADLINE
from tests.servers import needs_server
from tests.transport.inside import abort, client_of
from xkeymsg.client.jetstream.acks import ACK
from xkeymsg.client.jetstream.consumer import Consumer
from xkeymsg.client.jetstream.durables import DurableOptions
from xkeymsg.client.jetstream.events import Reject
from xkeymsg.client.jetstream.failures import FailurePolicy
from xkeymsg.client.jetstream.pending import PendingMessage
from xkeymsg.client.scope import OpeningScope
from xkeymsg.client.trust import ClientTrust
from xkeymsg.envelope.message import Message
from xkeymsg.errors import DeliveryError
from xkeymsg.keys import Keyring
from xkeymsg.limits import Limits
from xkeymsg.sealer import Sealer
from xkeymsg.testing import NATSServer
from xkeymsg.transport.link import open_link

pytestmark = pytest.mark.timeout(300)
LONG = DEADLINE
"""Seconds that something may take on a busy machine."""


class Recorded(OpeningScope):
    """A scope that notes what it is told of which message."""

    def __init__(self, **more: Any) -> None:
        super().__init__(Keyring(BOB), ClientTrust({ALICE.public}), subjects="h.>", **more)
        self.told: list[tuple[str, bytes]] = []

    def settle(self, message: Message, *, handled: bool = True) -> None:
        self.told.append(("handled" if handled else "forgotten", message.data))
        super().settle(message, handled=handled)

    def release(self, message: Message) -> None:
        if self.replay_state().pending:  # what is settled before is none of its business
            self.told.append(("released", message.data))
        super().release(message)


@contextlib.contextmanager
def losing(consumer: Consumer[Message], what: bytes) -> Iterator[list[int]]:
    """Lose the answers of a consumer that begin with `what`, without its knowledge."""
    lost: list[int] = []
    give = answers_of(consumer).give

    async def lossy(item: PendingMessage[Any], answer: bytes) -> bool:
        if answer.startswith(what):
            lost.append(item.where.sequence)
            return True
        return await give(item, answer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers_of(consumer), "give", lossy)
        yield lost


# --- when a message is marked ---------------------------------------------------------------------


async def test_a_message_is_pending_in_its_handler_and_marked_when_that_returns(
    stage: Stage,
) -> None:
    scope, pending = Recorded(), []

    async def handle(message: Message) -> None:
        pending.append((scope.replay_state().pending, list(scope.told)))
        await stage.handle(message)

    await stage.publish(b"one")
    async with stage.consumer(handle, opening=lambda: scope):
        await stage.until(lambda: stage.handled, LONG)
        await stage.settled(seconds=LONG)

    assert pending == [(1, [])]
    assert scope.told == [("handled", b"one")]
    assert scope.replay_state().pending == 0


async def test_a_rejected_message_counts_as_handled(stage: Stage) -> None:
    scope = Recorded()

    async def reject(message: Message) -> None:
        raise Reject("unwanted")

    await stage.publish(b"one")
    async with stage.consumer(reject, opening=lambda: scope):
        await stage.until(lambda: scope.told, LONG)
        await stage.settled(seconds=LONG)

    assert scope.told == [("handled", b"one")]


async def test_a_message_that_is_tried_again_stays_pending_out_of_hand(stage: Stage) -> None:
    scope, failures = Recorded(), 2

    async def handle(message: Message) -> None:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise ValueError
        await stage.handle(message)

    await stage.publish(b"one")
    async with stage.consumer(handle, opening=lambda: scope):
        await stage.until(lambda: stage.handled, LONG)
        await stage.settled(seconds=LONG)

    assert scope.told == [("released", b"one")] * 2 + [("handled", b"one")]


async def test_a_message_is_marked_when_its_record_is_kept_and_not_before(stage: Stage) -> None:
    scope = Recorded()

    async def fail(message: Message) -> None:
        raise ValueError

    await stage.api.request("STREAM.DELETE.XKM_PROVEN")
    await stage.publish(b"one")
    policy = FailurePolicy(deliveries=1)
    async with stage.consumer(fail, opening=lambda: scope, policy=policy) as consumer:
        await stage.until(lambda: stage.kinds("blocked"), LONG)
        assert consumer.is_blocked
        assert scope.told == []
        assert scope.replay_state().pending == 1
        await stage.api.request(
            "STREAM.CREATE.XKM_PROVEN", {"name": "XKM_PROVEN", "subjects": ["XKM_PROVEN.>"]}
        )
        await stage.until(lambda: scope.told, LONG)
        await stage.settled(seconds=LONG)

    assert scope.told == [("handled", b"one")]
    assert await stage.messages("XKM_PROVEN") == 1


@pytest.mark.parametrize("end", ["stop", "cancel"])
async def test_messages_of_a_stopped_or_cancelled_consumer_stay_pending_out_of_hand(
    stage: Stage, end: str
) -> None:
    scope, begun = Recorded(), asyncio.Event()

    async def handle(message: Message) -> None:
        begun.set()
        await asyncio.Event().wait()

    await stage.publish(b"a", b"b")
    consumer = stage.consumer(handle, opening=lambda: scope, stop_timeout=0.1)
    task = asyncio.create_task(consumer.run())
    await begun.wait()
    await stage.until(lambda: consumer.held == 2, LONG)
    if end == "stop":
        consumer.stop()
    else:
        task.cancel()
    await asyncio.wait([task])

    assert sorted(scope.told) == [("released", b"a"), ("released", b"b")]
    assert scope.replay_state().pending == 2


@pytest.mark.parametrize("ack_sync", [False, True])
async def test_a_message_whose_acknowledgement_is_lost_is_dropped_when_it_comes_again(
    stage: Stage, ack_sync: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.publish(*(b"%d" % number for number in range(5)))
    create = DurableOptions(ack_wait=0.5)
    consumer = stage.consumer(create=create, ack_sync=ack_sync)

    async def lose(item: PendingMessage[Any]) -> bool:
        return False

    monkeypatch.setattr(answers_of(consumer), "acknowledge", lose)
    async with consumer:
        await stage.until(lambda: len(stage.kinds("drop")) == 5, LONG)
        monkeypatch.undo()
        await stage.settled(seconds=LONG)

    assert stage.handled == [b"%d" % number for number in range(5)]
    assert consumer.counts["handled"] == 5
    assert consumer.counts["refused.replay"] == consumer.counts["drop"] == 5
    assert await stage.messages("XKM_PROVEN") == await stage.messages("XKM_UNPROVEN") == 0


@pytest.mark.parametrize("how", ["rejected", "quarantined"])
async def test_a_message_whose_termination_is_lost_is_dropped_when_it_comes_again(
    stage: Stage, how: str
) -> None:
    calls = 0

    async def handle(message: Message) -> None:
        nonlocal calls
        calls += 1
        raise Reject("x") if how == "rejected" else ValueError

    await stage.publish(b"one")
    create, policy = DurableOptions(ack_wait=0.5), FailurePolicy(deliveries=1)
    consumer = stage.consumer(handle, create=create, policy=policy)
    with losing(consumer, b"+TERM") as lost:
        async with consumer:
            await stage.until(lambda: stage.kinds("drop"), LONG)
            await stage.settled(seconds=LONG)

    assert lost == [1]
    assert calls == 1
    assert await stage.messages("XKM_PROVEN") == (how == "quarantined")


async def test_a_redelivery_that_the_broker_invents_opens_nothing_that_was_handled(
    stage: Stage,
) -> None:
    """Settled is final, at every place and with every count of deliveries."""
    envelope = stage.seal(b"pay 100")
    await stage.send(envelope)
    async with stage.consumer() as consumer:
        await stage.until(lambda: stage.handled, LONG)
        await stage.settled(seconds=LONG)
        subscription = inbox_of(stage.link, consumer)
        for number, (delivered, sequence) in enumerate([(2, 1), (1, 1), (1, 9), (7, 10)], 2):
            stamp = time.time_ns()
            reply = b"$JS.ACK.S.d.%d.%d.%d.%d.0" % (delivered, sequence, number, stamp)
            subscription.deliver(b"h.a", reply, b"", envelope)
        await stage.until(lambda: len(stage.kinds("drop")) == 4, LONG)

    assert stage.handled == [b"pay 100"]
    assert not stage.kinds("rewound")


# --- nothing honest is lost -----------------------------------------------------------------------


async def test_what_a_dead_worker_held_is_handled_by_one_that_has_drained_many_others(
    stage: Stage,
) -> None:
    """The other worker knows nothing of them, and is far ahead when they come again."""
    begun = asyncio.Event()

    async def hang(message: Message) -> None:
        begun.set()
        await asyncio.Event().wait()

    held, others = 20, 4000
    await stage.publish(*(b"held %d" % number for number in range(held)))
    create = DurableOptions(ack_wait=3.0)
    dead = stage.consumer(hang, prefetch=held, create=create)
    dying = asyncio.create_task(dead.run())
    await begun.wait()
    await stage.until(lambda: dead.held == held, LONG)
    dying.cancel()
    await asyncio.wait([dying])
    await stage.pour(*(stage.seal(b"%d" % number) for number in range(others)))

    # 4,020 marks fit into 16 KiB: of one session, they take a little more than a byte each.
    async with stage.consumer(limits=Limits(replay_bytes=16 << 10), workers=4) as consumer:
        await stage.until(lambda: len(stage.handled) >= others + held, LONG)
        await stage.settled(seconds=LONG)
        assert consumer.replay_state().dropped == 0

    assert Counter(stage.handled) == Counter(
        [b"held %d" % number for number in range(held)]
        + [b"%d" % number for number in range(others)]
    )
    assert await stage.messages("XKM_PROVEN") == 0


async def test_a_sender_whose_clock_is_ahead_makes_no_message_of_another_stale(
    stage: Stage,
) -> None:
    fast, budget = Sealer(EVE), Limits(replay_bytes=6000)
    ahead = time.time_ns() + 20 * 10**9
    flood = [
        seal_at(fast, ahead + number * 10**6, b"fast", BOB.public, "h.a") for number in range(6000)
    ]
    async with stage.consumer(senders={ALICE.public, EVE.public}, limits=budget) as consumer:
        await stage.publish(b"before")
        await stage.until(lambda: stage.handled, LONG)
        await stage.pour(*flood)
        await stage.until(lambda: len(stage.handled) == 6001, LONG)
        assert consumer.replay_state().dropped > 0
        assert consumer.replay_state().covers is not None

        await stage.publish(*(b"after %d" % number for number in range(50)))
        await stage.until(lambda: len(stage.handled) == 6051, LONG)
        await stage.settled(seconds=LONG)

    assert set(stage.handled[6001:]) == {b"after %d" % number for number in range(50)}
    assert await stage.messages("XKM_PROVEN") == await stage.messages("XKM_UNPROVEN") == 0


async def test_a_message_that_is_forgotten_is_refused_and_kept_not_dropped(stage: Stage) -> None:
    """Only a mark acknowledges; a message that is `stale` goes to the proven quarantine."""
    early = stage.seal(b"early")
    later = [Sealer(ALICE).seal(b"later", to=[BOB.public], subject="h.a") for _ in range(50)]
    await stage.pour(*later)
    async with stage.consumer(limits=Limits(replay_bytes=6000)) as consumer:
        await stage.until(lambda: len(stage.handled) == 50, LONG)
        assert consumer.replay_state().dropped > 0
        await stage.send(early)
        await stage.until(lambda: stage.kinds("quarantined"), LONG)
        await stage.settled(seconds=LONG)

    assert stage.kinds("quarantined") == ["stale"]
    assert await stage.messages("XKM_PROVEN") == 1


async def test_a_poison_fails_at_one_worker_is_handled_by_another_and_wedges_neither(
    stage: Stage, jetstream_server: NATSServer
) -> None:
    failed: Counter[bytes] = Counter()

    async def fail(message: Message) -> None:
        failed[message.data] += 1
        if message.data.startswith(b"bad"):
            raise ValueError
        await stage.handle(message)

    policy = FailurePolicy(deliveries=1000, backoff=0.05, backoff_most=0.1)
    few = Limits(replay_pending=8)
    async with open_link(options(jetstream_server)) as link:
        async with stage.consumer(fail, policy=policy, limits=few, prefetch=4) as weak:
            await stage.publish(*(b"bad %d" % number for number in range(40)))
            await stage.until(lambda: len(failed) == 40, LONG)
            async with stage.consumer(link=link, policy=policy, prefetch=16):
                await stage.until(lambda: len(stage.handled) == 40, LONG)
                await stage.settled(seconds=LONG)
            # Its memory is full of messages that others have handled: it goes on all the same.
            assert weak.replay_state().pending == 8
            await stage.publish(*(b"good %d" % number for number in range(40)))
            await stage.until(lambda: len(stage.handled) == 80, LONG)
            await stage.settled(seconds=LONG)

    assert len(set(stage.handled)) == 80
    assert await stage.messages("XKM_PROVEN") == 0


# --- a durable that begins again ------------------------------------------------------------------


async def reset(stage: Stage) -> None:
    await stage.api.request("CONSUMER.RESET.S.d", {"seq": 1})


needs_reset = needs_server(2, 14, "resetting a consumer")
RESET = pytest.param(reset, marks=needs_reset)


async def recreate(stage: Stage) -> None:
    config = (await stage.info())["config"]
    await stage.api.request("CONSUMER.DELETE.S.d")
    await stage.api.request("CONSUMER.CREATE.S.d", {"stream_name": "S", "config": config})


@pytest.mark.parametrize("rewind", [RESET, recreate])
@pytest.mark.parametrize("count", [1, 30])
async def test_a_rewind_handles_everything_again(stage: Stage, rewind: Any, count: int) -> None:
    names = [b"%d" % number for number in range(count)]
    await stage.publish(*names)
    async with stage.consumer() as consumer:
        await stage.until(lambda: len(stage.handled) == count, LONG)
        await stage.settled(seconds=LONG)
        await rewind(stage)
        await stage.until(lambda: len(stage.handled) == 2 * count, LONG)
        await stage.settled(seconds=LONG)

    assert stage.handled == names * 2
    assert consumer.counts["rewound"] == 1
    assert not consumer.counts["drop"]


@pytest.mark.parametrize("rewind", [RESET, recreate])
async def test_a_rewind_is_noticed_by_each_of_several_workers(
    stage: Stage, jetstream_server: NATSServer, rewind: Any
) -> None:
    names = [b"%d" % number for number in range(60)]
    await stage.publish(*names)
    async with (
        open_link(options(jetstream_server)) as link,
        stage.consumer(prefetch=8) as one,
        stage.consumer(prefetch=8, link=link) as two,
    ):
        await stage.until(lambda: len(stage.handled) == 60, LONG)
        await stage.settled(seconds=LONG)
        assert one.counts["handled"]
        assert two.counts["handled"]
        await rewind(stage)
        await stage.until(lambda: len(stage.handled) == 120, LONG)
        await stage.settled(seconds=LONG)

    assert Counter(stage.handled) == Counter(names * 2)


@needs_reset
async def test_within_a_new_scope_a_message_opens_once_again(stage: Stage) -> None:
    envelope = stage.seal(b"pay 100")
    await stage.send(envelope)
    await stage.send(envelope)
    async with stage.consumer():
        await stage.until(lambda: len(stage.kinds("drop")) == 1, LONG)
        await stage.settled(seconds=LONG)
        await reset(stage)
        await stage.until(lambda: len(stage.kinds("drop")) == 2, LONG)
        await stage.settled(seconds=LONG)

    assert stage.handled == [b"pay 100"] * 2


@needs_reset
async def test_a_message_in_hand_at_a_reset_acknowledges_no_delivery_of_the_new_scope(
    stage: Stage,
) -> None:
    """The server takes an acknowledgement for that of the place, whichever delivery it answers."""
    gates = [asyncio.Event(), asyncio.Event()]
    begun: list[asyncio.Event] = []

    async def handle(message: Message) -> None:
        gate = gates[len(begun)]
        begun.append(gate)
        await gate.wait()
        await stage.handle(message)

    await stage.publish(b"one")
    scopes: list[Recorded] = []

    def begin() -> Recorded:
        scopes.append(Recorded())
        return scopes[-1]

    async with stage.consumer(handle, opening=begin, workers=2):
        await stage.until(lambda: len(begun) == 1, LONG)
        await reset(stage)
        await stage.until(lambda: len(begun) == 2, LONG)
        gates[0].set()
        await stage.until(lambda: len(stage.handled) == 1, LONG)
        await stage.link.confirm()
        assert await stage.pending() == (1, 0)
        # It settles in the scope in which it was opened.
        assert [scope.told for scope in scopes] == [[("handled", b"one")], []]
        gates[1].set()
        await stage.settled(seconds=LONG)

    assert stage.handled == [b"one"] * 2
    assert [scope.told for scope in scopes] == [[("handled", b"one")]] * 2


@needs_reset
async def test_what_fails_after_a_reset_is_not_tried_twice_for_it(stage: Stage) -> None:
    """A handler of the old scope that fails has nobody to ask for another delivery."""
    gate, calls = asyncio.Event(), 0

    async def handle(message: Message) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await gate.wait()
            raise ValueError
        await stage.handle(message)

    await stage.publish(b"one")
    async with stage.consumer(handle, workers=2) as consumer:
        await stage.until(lambda: calls == 1, LONG)
        await reset(stage)
        await stage.until(lambda: stage.handled, LONG)
        gate.set()
        await stage.settled(seconds=LONG)
        await stage.until(lambda: not consumer.held, LONG)

    assert calls == 2
    assert not consumer.counts["retry"]
    assert await stage.messages("XKM_PROVEN") == 0


async def test_a_connection_that_comes_back_to_the_same_durable_begins_no_scope(
    stage: Stage, jetstream_server: NATSServer
) -> None:
    async with stage.consumer() as consumer:
        await stage.publish(*(b"%d" % number for number in range(20)))
        await stage.until(lambda: len(stage.handled) == 20, LONG)
        await stage.settled(seconds=LONG)
        await asyncio.to_thread(jetstream_server.restart)
        await stage.until(lambda: stage.link.state == "connected", LONG)
        await stage.publish(b"after")
        await stage.until(lambda: b"after" in stage.handled, LONG)
        await stage.settled(seconds=LONG)

    assert consumer.counts["handled"] == 21
    assert not consumer.counts["rewound"]


async def test_a_durable_that_was_created_again_while_nobody_was_connected_is_noticed(
    stage: Stage, jetstream_server: NATSServer
) -> None:
    await stage.publish(*(b"%d" % number for number in range(20)))
    async with open_link(options(jetstream_server)) as link:
        consumer = stage.consumer(link=link)
        async with consumer:
            await stage.until(lambda: len(stage.handled) == 20, LONG)
            await stage.settled(seconds=LONG)
            abort(client_of(link))
            await recreate(stage)
            await stage.until(lambda: len(stage.handled) == 40, LONG)

    assert consumer.counts["rewound"] == 1
    assert not consumer.counts["drop"]


async def test_a_durable_that_was_created_again_is_noticed_though_its_count_is_ahead(
    stage: Stage,
) -> None:
    """Another worker took the first deliveries of the new durable, and gave them back."""
    names = [b"%d" % number for number in range(5)]
    await stage.publish(*names)
    async with stage.consumer() as consumer:
        await stage.until(lambda: len(stage.handled) == 5, LONG)
        await stage.settled(seconds=LONG)
        puller_of(consumer).paused = True
        await recreate(stage)
        other = await stage.link.subscribe("other")
        await stage.link.publish(
            "$JS.API.CONSUMER.MSG.NEXT.S.d", b'{"batch":5,"expires":20000000000}', reply="other"
        )
        for _ in names:
            raw = await other.next(LONG)
            await stage.link.publish(raw.reply_text, b"-NAK")
        puller_of(consumer).paused = False
        await stage.until(lambda: len(stage.handled) == 10, LONG)
        await stage.settled(seconds=LONG)

    assert Counter(stage.handled) == Counter(names * 2)
    assert consumer.counts["rewound"] == 1


async def test_no_stranger_begins_a_new_scope(stage: Stage, jetstream_server: NATSServer) -> None:
    """What counts is the server's word on our own inbox; a publisher writes none of that.

    The stranger here knows the inbox, which takes the right to see our requests.
    """
    envelope = stage.seal(b"pay 100")
    await stage.publish(*(b"%d" % number for number in range(5)))
    await stage.send(envelope)
    async with open_link(options(jetstream_server)) as stranger, stage.consumer() as consumer:
        await stage.until(lambda: len(stage.handled) == 6, LONG)
        inbox, now = puller_of(consumer).inbox, time.time_ns()
        first = f"$JS.ACK.S.d.1.6.1.{now}.0"
        # He sends to the inbox, with the reply subject of a first delivery.
        await stranger.publish(f"{inbox}.1", envelope, reply=first)
        # He has the stream store it with that reply subject.
        await stranger.publish("h.a", envelope, reply=first)
        with contextlib.suppress(DeliveryError):  # this server permits nobody such a reply
            await stranger.confirm()
        await stranger.publish("h.a", envelope)
        # He has a consumer of his own deliver to the inbox: it counts from 1.
        config = {"durable_name": "own", "name": "own", "ack_policy": "explicit"}
        await stage.api.request("CONSUMER.CREATE.S.own", {"stream_name": "S", "config": config})
        await stranger.publish(
            "$JS.API.CONSUMER.MSG.NEXT.S.own", b'{"batch":10}', reply=f"{inbox}.2"
        )
        # And he has the durable itself deliver what is next, which is as good as our asking.
        await stranger.publish("$JS.API.CONSUMER.MSG.NEXT.S.d", b'{"batch":1}', reply=f"{inbox}.3")
        await stranger.confirm()
        await stage.until(lambda: puller_of(consumer).strays >= 7, LONG)
        await stage.until(lambda: stage.kinds("drop"), LONG)
        await stage.publish(b"next")
        await stage.until(lambda: b"next" in stage.handled, LONG)

    assert stage.handled == [b"%d" % number for number in range(5)] + [b"pay 100", b"next"]
    assert not stage.kinds("rewound")
    assert stage.kinds("drop") == ["replay"]


async def test_a_broker_that_resets_again_and_again_fills_no_memory(stage: Stage) -> None:
    gate = asyncio.Event()

    async def handle(message: Message) -> None:
        await gate.wait()
        await stage.handle(message)

    async with stage.consumer(handle, prefetch=8) as consumer:
        await stage.publish(b"honest")
        await stage.until(lambda: consumer.held, LONG)
        subscription = inbox_of(stage.link, consumer)
        now = time.time_ns()
        for number in range(2, 300):  # each time the first delivery of another count
            reply = b"$JS.ACK.S.d.1.%d.1.%d.0" % (number, now)
            sealed = stage.seal(b"%d" % number)
            if (wait := subscription.deliver(b"h.a", reply, b"", sealed)) is not None:
                await wait
        await stage.until(lambda: not subscription.pending, LONG)
        assert consumer.held == 16
        assert queued_in(consumer) <= 16
        gate.set()
        await stage.until(lambda: not consumer.held, LONG)
        await stage.publish(b"next")
        await stage.until(lambda: b"next" in stage.handled, LONG)


async def test_retries_of_a_copy_take_no_acknowledgement_from_the_first(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first is pending its copy is answered with a delay, and never acknowledged."""
    gate, answers = asyncio.Event(), []

    async def handle(message: Message) -> None:
        await gate.wait()
        await stage.handle(message)

    envelope = stage.seal(b"pay 100")
    await stage.send(envelope)
    await stage.send(envelope)
    consumer = stage.consumer(handle, policy=QUICK)
    give = answers_of(consumer).give

    async def note(item: PendingMessage[Any], answer: bytes) -> bool:
        answers.append((item.where.sequence, answer, gate.is_set()))
        return await give(item, answer)

    monkeypatch.setattr(answers_of(consumer), "give", note)
    async with consumer:
        await stage.until(lambda: len(stage.kinds("retry")) >= 3, LONG)
        gate.set()
        await stage.until(lambda: stage.kinds("drop"), LONG)
        await stage.settled(seconds=LONG)

    assert all(answer.startswith(b"-NAK") for _, answer, handled in answers if not handled)
    assert [sequence for sequence, answer, _ in answers if answer == ACK] == [1, 2]
    assert stage.handled == [b"pay 100"]
