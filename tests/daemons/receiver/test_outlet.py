"""Batches: how large, how soon, and who is to blame when one is not taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.running import DEADLINE, until
from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.receiver.batches import Outlet
from xkeymsg.daemons.receiver.sinks.sink import RefusedError, SinkGoneError, UnavailableError
from xkeymsg.errors import DeliveryError


def record(number: int, size: int = 1) -> Record:
    return Record(bytes([number] * 16), "s", b"x" * size)


class Sink:
    """Keeps the numbers of each batch, and does what a test says."""

    def __init__(self, act: Callable[[list[int]], None] = lambda _: None) -> None:
        self.batches: list[list[int]] = []
        self.act = act
        self.closed = False

    async def deliver(self, batch: Sequence[Record]) -> None:
        numbers = [each.id[0] for each in batch]
        self.batches.append(numbers)
        await asyncio.sleep(0)
        self.act(numbers)

    async def close(self) -> None:
        self.closed = True


@asynccontextmanager
async def outlet(sink: Sink, **settings: Any) -> AsyncIterator[Outlet]:
    made = Outlet(sink, **settings)
    try:
        yield made
    finally:
        await made.close()
        assert sink.closed


async def offer(to: Outlet, *records: Record) -> list[str]:
    """Offer records at once; return the code of what each comes to."""
    done = await asyncio.gather(*(to.deliver(each) for each in records), return_exceptions=True)
    return [type(each).__name__ if isinstance(each, BaseException) else "taken" for each in done]


async def test_a_batch_goes_when_it_is_full_in_messages_or_bytes_and_in_order() -> None:
    sink = Sink()
    async with outlet(sink, batch=3, linger=60.0) as to:
        assert await offer(to, *map(record, range(6))) == ["taken"] * 6
    assert sink.batches == [[0, 1, 2], [3, 4, 5]]
    sink = Sink()
    async with outlet(sink, batch=100, batch_bytes=10, linger=60.0) as to:
        await offer(to, record(0, 4), record(1, 4), record(2, 4), record(3, 50), record(4, 10))
    assert sink.batches == [[0, 1], [2], [3], [4]]


async def test_one_that_is_not_full_goes_when_its_time_has_come() -> None:
    sink = Sink()
    async with outlet(sink, batch=100, linger=0.05) as to:
        async with asyncio.timeout(DEADLINE):
            await offer(to, record(0), record(1))
    assert sink.batches == [[0, 1]]


async def test_one_message_that_is_refused_does_not_spoil_the_others() -> None:
    def act(numbers: list[int]) -> None:
        if 1 in numbers:
            raise RefusedError("no")

    sink = Sink(act)
    async with outlet(sink, batch=3) as to:
        assert await offer(to, *map(record, range(3))) == ["taken", "RefusedError", "taken"]
    assert sink.batches == [[0, 1, 2], [0], [1], [2]]


async def test_a_sink_that_is_down_is_not_asked_for_each_and_rests_as_it_wants() -> None:
    def act(numbers: list[int]) -> None:
        if len(sink.batches) == 1:
            raise UnavailableError("down", retry_after=0.1)

    sink = Sink(act)
    loop = asyncio.get_running_loop()
    async with outlet(sink, batch=3) as to:
        assert await offer(to, *map(record, range(3))) == ["UnavailableError"] * 3
        begun = loop.time()
        assert await offer(to, record(1)) == ["taken"]
        assert loop.time() - begun > 0.08
    assert len(sink.batches) == 2


async def test_a_fault_of_ours_is_a_failure_and_not_the_end() -> None:
    def act(numbers: list[int]) -> None:
        if numbers == [0]:
            raise ZeroDivisionError("c4n4ry")

    async with outlet(Sink(act)) as to:
        with pytest.raises(DeliveryError) as caught:
            await to.deliver(record(0))
        assert "c4n4ry" not in str(caught.value)
        await to.deliver(record(1))


async def test_a_sink_that_is_gone_is_told() -> None:
    gone: list[Exception] = []

    def act(numbers: list[int]) -> None:
        raise SinkGoneError("gone")

    async with outlet(Sink(act), on_gone=gone.append) as to:
        assert await offer(to, record(0)) == ["SinkGoneError"]
    assert len(gone) == 1


async def test_who_has_given_up_waiting_is_left_out() -> None:
    go = asyncio.Event()

    class Slow(Sink):
        async def deliver(self, batch: Sequence[Record]) -> None:
            await go.wait()
            await super().deliver(batch)

    sink = Slow()
    async with outlet(sink, batch=1) as to:
        tasks = [asyncio.create_task(to.deliver(record(number))) for number in range(3)]
        await asyncio.sleep(0.01)
        tasks[1].cancel()
        go.set()
        await asyncio.gather(tasks[0], tasks[2])
    assert sink.batches == [[0], [2]]


async def test_what_waits_at_the_end_is_cancelled() -> None:
    class Never(Sink):
        async def deliver(self, batch: Sequence[Record]) -> None:
            await asyncio.Event().wait()

    async with outlet(Never(), batch=1) as to:
        tasks = [asyncio.create_task(to.deliver(record(number))) for number in range(3)]
        await asyncio.sleep(0.01)
    done, waiting = await asyncio.wait(tasks, timeout=DEADLINE)
    assert (len(done), len(waiting)) == (3, 0)


async def test_several_batches_can_be_under_way() -> None:
    under_way = most = 0

    class Busy(Sink):
        async def deliver(self, batch: Sequence[Record]) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1

    async with outlet(Busy(), batch=1, parallel=3) as to:
        await offer(to, *map(record, range(9)))
    assert most == 3


async def test_a_call_that_takes_longer_than_its_bound_shows_until_it_ends() -> None:
    go_on = asyncio.Event()

    class Slow(Sink):
        async def deliver(self, batch: Sequence[Record]) -> None:
            await go_on.wait()

    async with outlet(Slow(), parallel=2, bound=0.05) as to:
        assert not to.is_stuck
        waiting = asyncio.create_task(offer(to, record(1), record(2)))
        await until(lambda: to.is_stuck)
        go_on.set()
        assert await waiting == ["taken"] * 2
        assert not to.is_stuck


async def test_a_record_for_which_the_sink_is_unavailable_does_not_stop_its_batch() -> None:
    def act(numbers: list[int]) -> None:
        if 2 in numbers:
            raise UnavailableError("killed")

    sink = Sink(act)
    async with outlet(sink, batch=5, linger=60.0) as to:
        done = await offer(to, *map(record, range(5)))
    assert done == ["taken", "taken", "UnavailableError", "taken", "taken"]
    assert sink.batches == [[0, 1, 2, 3, 4], [0], [1], [2], [3], [4]]


@pytest.mark.parametrize(("rest", "calls"), [(0.0, 3), (5.0, 1)])
async def test_a_sink_that_is_unavailable_is_not_asked_for_each_record(
    rest: float, calls: int
) -> None:
    def act(_: list[int]) -> None:
        raise UnavailableError("no room", rest)

    sink = Sink(act)
    async with outlet(sink, batch=50, linger=60.0) as to:
        done = await offer(to, *map(record, range(50)))
    assert done == ["UnavailableError"] * 50
    assert len(sink.batches) == calls
