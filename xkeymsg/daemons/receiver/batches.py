"""Batching between routes and a sink; isolates the record at fault when a batch is refused."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from xkeymsg.daemons.common.futures import settle
from xkeymsg.daemons.common.logs import reason
from xkeymsg.daemons.common.records import Record
from xkeymsg.daemons.receiver.sinks.nats import NATS
from xkeymsg.daemons.receiver.sinks.sink import Sink, SinkGoneError, UnavailableError
from xkeymsg.errors import DeliveryError

__all__ = ("Outlet",)

_LONGEST: Final = 60.0
_ALONE: Final = 2
"""Records in a row for which the sink must be unavailable until the rest are not offered."""


class _WaitingRecord(NamedTuple):
    record: Record
    taken: asyncio.Future[None]


class Outlet:
    """Offers records to a sink in order of arrival.

    A batch is delivered when it is full, or when its first record has waited for `linger` seconds.
    If the sink refuses a batch, each record is offered alone, so one cannot spoil the others. So it
    is if the sink is unavailable for a batch, until it is for two records in a row.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        batch: int = 1,
        batch_bytes: int = 1 << 20,
        linger: float = 0.0,
        parallel: int = 1,
        bound: float = 30.0,
        on_gone: Callable[[SinkGoneError], None] = lambda _: None,
    ) -> None:
        self._sink = sink
        self._batch = batch
        self._batch_bytes = batch_bytes
        self._linger = linger
        self._bound = bound
        self._on_gone = on_gone
        self._since: list[float] = []
        self._waiting: deque[_WaitingRecord] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._rest_until = 0.0
        self._tasks = [asyncio.create_task(self._work()) for _ in range(parallel)]

    async def deliver(self, record: Record) -> None:
        """Deliver a record; return when the sink has accepted it.

        Raises:
            DeliveryError: If the sink did not accept it.
        """
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_WaitingRecord(record, taken))
        self._bytes += len(record.line)
        self._arrived.set()
        await taken

    @property
    def is_stuck(self) -> bool:
        """Whether a call of the sink has taken longer than `bound` seconds."""
        now = asyncio.get_running_loop().time()
        return any(now - begun > self._bound for begun in self._since)

    async def close(self) -> None:
        """Stop; cancel the records that are still queued."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in self._waiting:
            each.taken.cancel()
        self._waiting.clear()
        await self._sink.close()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            if not self._is_full and self._linger:
                await self._await_more(loop.time() + self._linger)
            if (rest := self._rest_until - loop.time()) > 0:
                await asyncio.sleep(rest)
            if batch := self._take():
                try:
                    await self._offer(batch)
                except BaseException:  # cancelled: the outcome of these is unknown
                    for each in batch:
                        each.taken.cancel()
                    raise

    @property
    def _is_full(self) -> bool:
        return len(self._waiting) >= self._batch or self._bytes >= self._batch_bytes

    async def _await_more(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                while not self._is_full:
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            pass

    def _take(self) -> list[_WaitingRecord]:
        batch: list[_WaitingRecord] = []
        size = 0
        while self._waiting and len(batch) < self._batch:
            length = len(self._waiting[0].record.line)
            if batch and size + length > self._batch_bytes:
                break
            each = self._waiting.popleft()
            self._bytes -= length
            if not each.taken.done():  # the caller may have been cancelled
                batch.append(each)
                size += length
        return batch

    async def _offer(self, batch: Sequence[_WaitingRecord]) -> None:
        error = await self._attempt(batch)
        resting = isinstance(error, UnavailableError) and error.retry_after > 0
        if len(batch) == 1 or error is None or resting or isinstance(error, SinkGoneError):
            settle([each.taken for each in batch], error)
            return
        failed = 0
        for number, each in enumerate(batch):
            error = await self._attempt([each])
            failed = failed + 1 if isinstance(error, UnavailableError) else 0
            settle([each.taken], error)
            if failed == _ALONE:
                settle([other.taken for other in batch[number + 1 :]], error)
                return

    async def duplicate_window(self) -> float:
        """Return for how many seconds the sink recognizes a message; inf if it always does."""
        return await self._sink.duplicate_window() if isinstance(self._sink, NATS) else math.inf

    async def _attempt(self, batch: Sequence[_WaitingRecord]) -> DeliveryError | None:
        begun = asyncio.get_running_loop().time()
        self._since.append(begun)
        try:
            await self._sink.deliver([each.record for each in batch])
        except SinkGoneError as error:
            self._on_gone(error)
            return error
        except DeliveryError as error:
            if isinstance(error, UnavailableError) and error.retry_after > 0:
                rest = min(_LONGEST, error.retry_after)
                self._rest_until = asyncio.get_running_loop().time() + rest
            return error
        except Exception as error:  # noqa: BLE001 - a bug of ours must not stop deliveries
            return UnavailableError(reason(error))
        finally:
            self._since.remove(begun)
        return None
